"""The model and the place of a request, and how much it stores there."""

from dataclasses import dataclass

from chat import storage
from chat.attachments.prompts import NONE_ATTACHED, Attached
from chat.generations.request import GenerationRequest
from chat.models import TITLE_CHARS, Conversation, Message
from chat.screening.incoming import Screened
from providers.snapshot import ModelConfig


@dataclass(frozen=True, slots=True)
class Target:
    """A request's model and place: conversation, question to regenerate for, message to continue."""

    config: ModelConfig
    conversation: Conversation | None = None
    parent_id: int | None = None
    question: Message | None = None
    continued: Message | None = None
    attached: Attached = NONE_ATTACHED


def has_room(request: GenerationRequest, target: Target, screened: Screened, *, reads_only: bool) -> bool:
    """Count the texts to be stored, and return whether there is room."""
    size = _stored_size(request, target, screened) if request.kept else 0
    return not request.kept or (storage.has_room if reads_only else storage.take)(request.user_id, size)


def _stored_size(request: GenerationRequest, target: Target, screened: Screened) -> int:
    """Return the bytes of what a kept request stores before its completion."""
    if request.continues is not None:
        return 0
    if request.regenerate is not None:
        return storage.ROW_BYTES
    prompt_text, system_prompt = screened.texts
    size = 2 * storage.ROW_BYTES + storage.size_of(prompt_text)
    if target.conversation is None:
        return size + storage.ROW_BYTES + storage.size_of(prompt_text[:TITLE_CHARS], system_prompt)
    if request.system_prompt is None:
        return size
    return size + storage.size_of(system_prompt) - storage.size_of(target.conversation.system_prompt)
