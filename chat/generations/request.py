"""What is asked of the use case, and what it has begun: the values that go in and out of `generation.start`."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.utils.translation import get_language

from chat.models import Generation
from providers.routing import Attempts
from providers.wire.base import PromptMessage
from quotas.ledger import ReservedUnit


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants answered. `regenerate` names the assistant message that is to get a sibling.

    What is not `kept` makes no conversation, and its text expires: its whole prompt is `messages`, of which `prompt` is
    the new text; without a `model` the first that can answer is asked. `extras` is what the upstream gets as it is.
    What is not `counted` is no active generation. `language` is the one that is active where this is made.
    """

    user_id: int
    model: str = ""
    prompt: str = ""
    conversation: int | None = None
    parent: int | None = None
    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    regenerate: int | None = None
    idempotency_key: str | None = None
    # A repeated GET of the same query joins the answer that is still running.
    joins_running: bool = False
    kept: bool = True
    counted: bool = True
    messages: tuple[PromptMessage, ...] = ()
    # A text tool's; it is put before the prompt and makes the whole of what is sent.
    instruction: str = ""
    extras: dict[str, Any] = field(default_factory=dict)
    language: str | None = field(default_factory=get_language)

    def digest(self) -> str:
        """Return what makes two requests the same one."""
        parts = (
            "join" if self.joins_running else "",
            self.model,
            self.prompt,
            self.conversation,
            self.parent,
            self.system_prompt,
            self.parameters,
            self.regenerate,
            *(() if self.kept else (self.messages, self.instruction, self.extras)),
        )
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation that was stored now (`held` says so), or found under its key."""

    row: Generation
    held: ReservedUnit | None = None
    attempts: Attempts | None = None
