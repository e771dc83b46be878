"""Searching conversations, and the pages of a search's results."""

import base64
import binascii
from datetime import UTC, datetime

import orjson
from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Collate, Lower, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation, Message
from web.refusals import InvalidRequest

# Characters of a searched text that SQLite looks for first.
FILTER_CHARS = 3


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
    folded = Value(text.encode().lower().decode())
    if connection.vendor != "sqlite":
        return Q(GreaterThan(StrIndex(Lower(Collate(F(field), "C")), folded), 0))
    filtered = Q(**{f"{field}__icontains": text[:FILTER_CHARS]})
    return filtered & Q(GreaterThan(StrIndex(Lower(field), folded), 0)) if len(text) > FILTER_CHARS else filtered


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
