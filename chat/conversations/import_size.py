"""Limit how many conversations and messages an imported file has.

The limit is checked before objects are made of them, because a message of a few bytes takes kilobytes of memory until
it is stored, and all messages of a file are stored in one transaction.
"""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from web.refusals import InvalidRequest

# Conversations and messages of one file, nodes of other products included. Of 32 MiB this leaves 335 bytes for each.
MOST_ROWS = 100_000
# Fields of one object; none of an export has as many.
MOST_FIELDS = 100


class Rows:
    """Counts the conversations and messages of one file."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> None:
        """Count more rows; raise InvalidRequest beyond the limit."""
        self._count += count
        if self._count > MOST_ROWS:
            text = _("An import has at most %(most)d conversations and messages; this file has more.")
            raise InvalidRequest(details={"body": [text % {"most": MOST_ROWS}]})


def check(file: object) -> None:
    """Refuse a file of our own shape that is too large to be validated."""
    rows = Rows()
    _check_fields("body", file)
    conversations = _list_in(file, "conversations")
    rows.add(len(conversations))
    for number, conversation in enumerate(conversations):
        where = f"conversations.{number}"
        _check_fields(where, conversation)
        messages = _list_in(conversation, "messages")
        rows.add(len(messages))
        for place, message in enumerate(messages):
            _check_fields(f"{where}.messages.{place}", message)


def _list_in(value: object, name: str) -> list[Any]:
    """Return a list within an object, or an empty one; validation refuses what is wrong."""
    inner = value.get(name) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, list) else []


def _check_fields(where: str, value: object) -> None:
    """Refuse an object with many unknown fields, because each is a problem of its own."""
    if isinstance(value, Mapping) and len(value) > MOST_FIELDS:
        raise InvalidRequest(details={where: [_("This value is not valid.")]})
