"""Finding a user's own generation by its id."""

import re

from django.db.models import QuerySet

from chat.models import Generation
from web.refusals import NotFound

GENERATION_ID = re.compile(r"[0-9a-f]{32}")


def owned(user_id: int, generation_id: str) -> Generation:
    """Return a generation of this user with its texts; raise NotFound for any other."""
    return _one(Generation.objects.owned_by(user_id).select_related("message"), generation_id)


def owned_without_text(user_id: int, generation_id: str) -> Generation:
    """Return the same row without its texts, which may be megabytes, for its many readers."""
    return _one(Generation.objects.owned_by(user_id).defer("content", "reasoning"), generation_id)


def _one(rows: QuerySet[Generation], generation_id: str) -> Generation:
    row = rows.filter(id=generation_id).first() if GENERATION_ID.fullmatch(generation_id) else None
    if row is None:
        raise NotFound
    return row
