"""Put attachments into prompts: texts in labelled blocks, images as parts."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from django.utils.translation import gettext_lazy as _

from chat.attachments import store
from chat.attachments.models import Attachment
from providers.wire.base import JSON, PromptMessage, Role, estimate_tokens
from web.refusals import InvalidRequest, NotFound

if TYPE_CHECKING:
    from chat.models import Message

# Bytes of the images of one prompt: in base64 20 MiB, which most vendors take. Images of earlier turns that exceed
# them are only named.
MAX_IMAGE_BYTES = 15 * 2**20
FIELD = "attachments"


@dataclass(frozen=True, slots=True)
class Attached:
    """The attachments of a new prompt, and those of a conversation's messages by message."""

    new: Sequence[Attachment] = ()
    earlier: Mapping[int, Sequence[Attachment]] = field(default_factory=dict)

    def of(self, message_id: int | None) -> Sequence[Attachment]:
        return self.earlier.get(message_id or 0, ())

    @property
    def has_images(self) -> bool:
        return has_images(self.new) or any(map(has_images, self.earlier.values()))


NONE_ATTACHED = Attached()


def has_images(rows: Iterable[Attachment]) -> bool:
    return any(row.kind == Attachment.Kind.IMAGE for row in rows)


def find(user_id: int, ids: Sequence[int], conversation_id: int | None) -> Attached:
    """Return what a prompt has; raise NotFound or InvalidRequest, which name the field."""
    earlier = store.of_conversation(conversation_id) if conversation_id else {}
    if not ids:
        return Attached((), earlier)
    found = Attachment.objects.owned_by(user_id).in_bulk([*ids])
    if len(found) < len(ids):
        raise _unknown()
    new = [found[each] for each in ids]
    if sum(row.size for row in new if row.kind == Attachment.Kind.IMAGE) > MAX_IMAGE_BYTES:
        raise InvalidRequest(details={FIELD: [_("The images are too large together.")]})
    return Attached(new, earlier)


def names_of(rows: Iterable[Attachment]) -> str:
    return ", ".join(row.name for row in rows)


def link(message_id: int, rows: Sequence[Attachment]) -> None:
    """Store that a message has these attachments; raise NotFound when one was deleted meanwhile."""
    if store.link(message_id, [row.pk for row in rows]) < len(rows):
        raise _unknown()


def _unknown() -> NotFound:
    return NotFound(details={FIELD: [_("There is no such attachment.")]})


def texts_of(user_id: int, ids: Sequence[int]) -> list[str]:
    """Return the names and texts of a user's attachments, to be screened like a prompt."""
    rows = [*Attachment.objects.owned_by(user_id).filter(pk__in=ids)]
    content = store.content_of(row.pk for row in rows if row.kind == Attachment.Kind.TEXT)
    return [*(row.name for row in rows), *(data.decode() for data in content.values())]


def turns(
    branch: Sequence["Message"], attached: Attached, *, takes_images: bool, context_tokens: int
) -> list[PromptMessage]:
    """Return a branch's turns with their attachments.

    Turns that cannot fit into the context any more are left out, so that their attachments are not read.
    """
    if not attached.new and not attached.earlier:
        return [PromptMessage(cast("Role", turn.role), turn.content) for turn in branch]
    kept: list[tuple[Message, Sequence[Attachment]]] = []
    tokens, images, shown = 0, 0, set[int]()
    for turn in reversed(branch):
        rows = attached.of(turn.pk)
        tokens += estimate_tokens(turn.content) + sum(row.tokens for row in rows)
        if kept and tokens > context_tokens:
            break
        kept.append((turn, rows))
        for row in rows:
            images += row.size if row.kind == Attachment.Kind.IMAGE else 0
            if row.kind == Attachment.Kind.TEXT or (takes_images and images <= MAX_IMAGE_BYTES):
                shown.add(row.pk)
    while len(branch) > len(kept) > 1 and kept[-1][0].role != "user":
        kept.pop()  # several vendors refuse a prompt that begins otherwise
    return _turns([*reversed(kept)], store.content_of(shown))


def _turns(
    branch: Sequence[tuple["Message", Sequence[Attachment]]], content: Mapping[int, bytes]
) -> list[PromptMessage]:
    """Return turns with their attachments.

    Images that a model made go with the next prompt, because most vendors take images in turns of the user only.
    """
    turns: list[PromptMessage] = []
    made: list[Attachment] = []
    for turn, rows in branch:
        if turn.role == "assistant":
            made += rows
            turns.append(_turn(turn, (), content))
        else:
            turns.append(_turn(turn, [*made, *rows], content))
            made = []
    return turns


def _turn(turn: "Message", rows: Sequence[Attachment], content: Mapping[int, bytes]) -> PromptMessage:
    text = "".join(_block(row, content) for row in rows) + turn.content
    pictures = [row for row in rows if row.kind == Attachment.Kind.IMAGE and row.pk in content]
    if not pictures:
        return PromptMessage(cast("Role", turn.role), text)
    # Images first, as vendors recommend for questions about them.
    parts: list[dict[str, JSON]] = [
        {"type": "image_url", "image_url": {"url": _address(row, content[row.pk])}} for row in pictures
    ]
    if text.strip():  # several vendors refuse an empty part
        parts.append({"type": "text", "text": text})
    return PromptMessage(cast("Role", turn.role), text, tuple(parts))


def _block(row: Attachment, content: Mapping[int, bytes]) -> str:
    """Return the text that stands for an attachment; an image that is sent needs none."""
    name = row.name.replace('"', "'")
    if row.kind == Attachment.Kind.IMAGE:
        return "" if row.pk in content else f'<image name="{name}">(not included)</image>\n\n'
    text = content.get(row.pk, b"").decode()
    return f'<attachment name="{name}">\n{text}\n</attachment>\n\n'


def _address(row: Attachment, content: bytes) -> str:
    return f"data:{row.media_type};base64,{base64.b64encode(content).decode()}"
