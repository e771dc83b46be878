"""The branch of a conversation that a page shows, and the versions of its turns."""

from collections.abc import Mapping, Sequence

from chat.attachments import store
from chat.models import Conversation, Message

Versions = Mapping[int, Sequence[int]]


def shown(conversation: Conversation, through: int | None) -> tuple[list[Message], Versions]:
    """Return the branch through a message to the newest one below, and its turns' versions.

    Without such a message, return the branch of the newest one. Versions are the ids of a turn and its siblings.
    """
    rows = Message.objects.filter(conversation=conversation).order_by("id").values_list("id", "parent_id")
    siblings: dict[int | None, list[int]] = {}
    below, leaf, last = {through}, None, None
    for last, parent in rows:
        siblings.setdefault(parent, []).append(last)
        # Children have higher ids than their parents, so one pass finds all descendants.
        if last == through or (parent is not None and parent in below):
            below.add(last)
            leaf = last
    leaf = leaf or last
    branch = Message.objects.branch(leaf) if leaf else []
    store.note_on(branch, conversation.pk)
    return branch, {message.pk: siblings[message.parent_id] for message in branch}
