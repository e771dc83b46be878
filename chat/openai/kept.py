"""Keep responses for retries of calls of `/v1` in the database, for ten minutes.

Any process can then respond to a retry. The bytes of each response and of each user are bounded.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from chat.errors import with_text
from chat.models import Generation, KeptResponse

# How long a response is kept.
LIFETIME = timedelta(minutes=10)
# Bytes of one response; a longer one is not kept.
MOST_BYTES = 8 * 1024 * 1024
# Bytes of all responses of a user; beyond, the oldest are deleted.
MOST_BYTES_OF_USER = 2 * MOST_BYTES
# How long after the end of a generation its response may still be missing, while its process stores it.
STORING = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Response:
    """The bytes of a response, or the data of the `error` event in their place."""

    body: bytes
    failure: dict[str, Any] | None = None


def keep(generation: str, response: Response | None, *, frees_key: bool) -> None:
    """Store a response for retries; None stands for one that is too long.

    With `frees_key` the next call with its key starts anew. Repeating is safe.
    """
    with transaction.atomic():
        rows = Generation.objects.filter(id=generation)
        row = rows.only("user_id", "language").first()
        if row is None:
            return  # deleted together with its user
        if frees_key:
            rows.update(idempotency_key=None)
        response = response or Response(b"", _not_kept(row))
        values = {"body": response.body, "size": len(response.body), "failure": response.failure}
        KeptResponse.objects.update_or_create(generation_id=generation, defaults={"user_id": row.user_id, **values})
        _bound(row.user_id)


def _bound(user_id: int) -> None:
    """Delete a user's oldest responses beyond the limit."""
    room, surplus = MOST_BYTES_OF_USER, []
    for generation, size in KeptResponse.objects.filter(user=user_id).order_by("-kept_at").values_list("pk", "size"):
        room -= size
        if room < 0:
            surplus.append(generation)
    KeptResponse.objects.filter(pk__in=surplus).delete()


def find(generation: str) -> Response | None:
    """Return the response to a retry; None while it may still come."""
    found = KeptResponse.objects.filter(pk=generation, kept_at__gte=timezone.now() - LIFETIME).first()
    if found is not None:
        return Response(bytes(found.body), found.failure)
    row = Generation.objects.filter(id=generation).defer("content", "reasoning", "sources").first()
    if row is None:
        return Response(b"", with_text({"code": "interrupted"}))
    if row.finished_at is None or row.finished_at > timezone.now() - STORING:
        return None
    if row.status == Generation.Status.COMPLETED:
        return Response(b"", _not_kept(row))
    # Its process died, so nothing was charged.
    Generation.objects.filter(id=generation).update(idempotency_key=None)
    with translation.override(row.language):
        return Response(b"", with_text({"code": "interrupted"}))


def _not_kept(row: Generation) -> dict[str, Any]:
    with translation.override(row.language):
        message = _("The response for this Idempotency-Key is not kept any more. Use another key for a new completion.")
    return {"code": "conflict", "message": message}


def is_running(generation: str) -> bool:
    return Generation.objects.running().filter(id=generation).exists()


def expire() -> None:
    """Delete the responses whose time is over."""
    KeptResponse.objects.filter(kept_at__lt=timezone.now() - LIFETIME).delete()
