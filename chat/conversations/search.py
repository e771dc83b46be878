"""Searching conversations, the excerpts around what is found, and the pages of a search's results."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Collate, Greatest, Length, Lower, StrIndex, Substr
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext_lazy as _

from chat.conversations.schemas import Match
from chat.models import Conversation, Message
from web.refusals import InvalidRequest

# Characters of a searched text that SQLite looks for first.
FILTER_CHARS = 3
# Characters of an excerpt before and after the searched text.
CONTEXT_CHARS = 60


def containing(rows: QuerySet[Conversation], text: str) -> QuerySet[Conversation]:
    """Return the conversations with `text` in their title or in a message."""
    messages = Message.objects.filter(_contains("content", text), conversation=OuterRef("pk"))
    return rows.filter(_contains("title", text) | Exists(messages))


def _contains(field: str, text: str) -> Q:
    """Match a substring, ignoring the case of ASCII letters only.

    Case folding by locale would take PostgreSQL ten times as long. The time of LIKE grows with the product of both
    lengths for texts such as "aaaa", and no deadline interrupts it within a row; for a few characters it is SQLite's
    fastest filter.
    """
    found = Q(GreaterThan(_position(field, text), 0))
    if connection.vendor != "sqlite":
        return found
    filtered = Q(**{f"{field}__icontains": text[:FILTER_CHARS]})
    return filtered & found if len(text) > FILTER_CHARS else filtered


def _position(field: str, text: str) -> StrIndex:
    """Return where `text` begins in a column, from 1; 0 if it is missing."""
    value: Combinable = F(field) if connection.vendor == "sqlite" else Collate(F(field), "C")
    return StrIndex(Lower(value), Value(text.encode().lower().decode()))


def matches(rows: Sequence[Conversation], text: str) -> dict[int, Match]:
    """Return each conversation's newest message with `text`, and an excerpt around it.

    The database cuts the excerpts, because messages may have a million characters.
    """
    newest = Message.objects.filter(_contains("content", text), conversation=OuterRef("pk")).order_by("-id")
    found = Conversation.objects.filter(pk__in=[row.pk for row in rows]).annotate(hit=Subquery(newest.values("id")[:1]))
    hits = [hit for hit in found.values_list("hit", flat=True) if hit]
    begin = Greatest(_position("content", text) - CONTEXT_CHARS, 1)
    excerpts = (
        Message.objects.filter(pk__in=hits)
        .annotate(begin=begin, piece=Substr("content", begin, len(text) + 2 * CONTEXT_CHARS), chars=Length("content"))
        .values_list("pk", "conversation_id", "begin", "piece", "chars")
    )
    return {
        conversation: Match(message=pk, excerpt=_excerpt(piece, first > 1, first - 1 + len(piece) < chars))
        for pk, conversation, first, piece, chars in excerpts
    }


def _excerpt(piece: str, cut_before: bool, cut_after: bool) -> str:
    """Return a piece of a message on one line, with dots where it was cut."""
    return f"{'…' * cut_before}{' '.join(piece.split())}{'…' * cut_after}"


def after_cursor(rows: QuerySet[Conversation], cursor: str | None) -> QuerySet[Conversation]:
    """Order the conversations, and return those after the cursor's position.

    A cursor holds the sort values of the last row shown, so that no row is skipped or repeated when others change.
    """
    if cursor:
        try:
            pinned, updated_at, last_id = orjson.loads(base64.urlsafe_b64decode(cursor))
            moment = datetime.fromisoformat(updated_at).astimezone(UTC)
            # The largest id that every database can compare.
            later = Q(updated_at__lt=moment) | Q(updated_at=moment, id__lt=max(0, min(int(last_id), 2**63 - 1)))
        except (binascii.Error, ValueError, TypeError, OverflowError) as error:
            raise InvalidRequest(details={"cursor": [_("This cursor is not valid.")]}) from error
        rows = rows.filter(Q(pinned=True) & later | Q(pinned=False)) if pinned else rows.filter(later, pinned=False)
    return rows.order_by("-pinned", "-updated_at", "-id")


def cursor_of(last: Conversation) -> str:
    """Return the cursor of the page after this conversation."""
    return base64.urlsafe_b64encode(orjson.dumps([last.pinned, last.updated_at.isoformat(), last.pk])).decode()
