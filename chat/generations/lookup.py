"""Finding a user's own generation by its id, or by an equal request."""

import re

from chat.attachments import store
from chat.errors import Conflict
from chat.generations import drafts
from chat.generations.request import GenerationRequest
from chat.models import Generation
from web.refusals import NotFound


def owned(user_id: int, generation_id: str, *, texts: bool = True) -> Generation:
    """Return a generation of this user, else raise NotFound; its texts may be megabytes."""
    own = Generation.objects.owned_by(user_id)
    rows = own.select_related("message", "part_of") if texts else own.defer("content", "reasoning", "sources")
    found = rows.filter(id=generation_id) if re.fullmatch("[0-9a-f]{32}", generation_id) else rows.none()
    row = next(iter(drafts.current(found)), None) if texts else found.first()
    if row is None:
        raise NotFound
    if texts and (message := row.text_message()):
        message.attached = store.of_message(message.pk)
    return row


def same(request: GenerationRequest) -> Generation | None:
    """Return the generation with the same key, or the running one that the request joins."""
    if request.idempotency_key:
        row = Generation.objects.by_key(request.user_id, request.idempotency_key)
        if row and row.request_digest != request.digest():
            raise Conflict
        return row
    if request.joins_running:
        running = Generation.objects.owned_by(request.user_id).running()
        return running.filter(request_digest=request.digest()).select_related("conversation").first()
    return None
