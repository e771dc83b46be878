"""The branch of a conversation that a page shows, and the versions of its turns."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from chat.attachments import store
from chat.generations import drafts
from chat.models import Conversation, Generation, Message

Versions = Mapping[int, Sequence[int]]
# Seconds between a short completion and that of the second model, which begins when the page knows the first one's id.
TOGETHER = timedelta(seconds=1)


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
    drafts.fill_messages(branch)
    return branch, {message.pk: siblings[message.parent_id] for message in branch}


def beside(branch: Sequence[Message], versions: Versions, through: int | None) -> int | None:
    """Return the sibling that another model made at the same time as the last completion.

    None when the user has chosen one of both, by the address or by going on with it.
    """
    last = branch[-1] if branch else None
    made_by: Generation | None = getattr(last, "generation", None)
    if last is None or made_by is None or len(versions[last.pk]) < 2 or through == last.pk:
        return None
    began, ended = made_by.created_at, made_by.finished_at or timezone.now()
    siblings = Generation.objects.filter(message__parent=last.parent_id, message__children=None)
    others = siblings.exclude(model=made_by.model)
    not_over = Q(finished_at=None) | Q(finished_at__gt=began - TOGETHER)
    together = others.filter(not_over, created_at__lt=ended + TOGETHER)
    found = together.order_by("-message_id").values_list("message_id", flat=True).first()
    return None if found == through else found
