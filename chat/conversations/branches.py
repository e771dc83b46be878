"""Which branch of a conversation's tree is shown, and which other versions its turns have."""

from collections.abc import Mapping, Sequence

from chat.models import Conversation, Message

Versions = Mapping[int, Sequence[int]]


def shown(conversation: Conversation, through: int | None) -> tuple[list[Message], Versions]:
    """Return the branch through a message and on to what was said last below it, and every turn's versions.

    Without such a message it is the branch of what was said last. Versions are the ids of a turn and its siblings.
    """
    rows = Message.objects.filter(conversation=conversation).order_by("id").values_list("id", "parent_id")
    siblings: dict[int | None, list[int]] = {}
    below, leaf, last = {through}, None, None
    for last, parent in rows:
        siblings.setdefault(parent, []).append(last)
        # Children come after their parents, so one pass finds all that is below.
        if last == through or (parent is not None and parent in below):
            below.add(last)
            leaf = last
    leaf = leaf or last
    branch = Message.objects.branch(leaf) if leaf else []
    return branch, {message.pk: siblings[message.parent_id] for message in branch}
