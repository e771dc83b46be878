"""Finding a user's own generation by its id."""

import re

from chat.attachments import store
from chat.generations import drafts
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
