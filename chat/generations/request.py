"""Define the argument and the result of `Generations.start`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from django.utils.translation import get_language

from accounts.token_limits import TokenLimits
from chat.models import Generation
from chat.screening.incoming import Screened, ScreenedCall
from chat.screening.live import UserWords
from providers.routing import Attempts
from providers.wire.base import PromptMessage
from quotas.ledger import ReservedUnit


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A user's request for one generation.

    `regenerate` names the assistant message that gets a sibling, `continues` one whose text goes on.

    A request that is not `kept` makes no conversation, and its text expires. Its whole prompt is `messages`, of which
    `prompt` is the new text. Without a `model` it goes to the first one that is available. The upstream gets `extras`
    unchanged. An `is_api_call` came through /v1, which has its own limits; an `is_large` one may have megabytes of
    text. With `hides_reasoning` the caller gets the content only; reasoning is then neither stored nor charged.
    """

    user_id: int
    model: str = ""
    prompt: str = ""
    conversation: int | None = None
    parent: int | None = None
    system_prompt: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    regenerate: int | None = None
    continues: int | None = None
    attachments: tuple[int, ...] = ()
    # Whether the conversation that it begins is in no list.
    temporary: bool = False
    idempotency_key: str | None = None
    # Whether it joins a running generation of an equal request: an EventSource repeats its GET to reconnect.
    joins_running: bool = False
    kept: bool = True
    is_api_call: bool = False
    is_large: bool = False
    hides_reasoning: bool = False
    messages: tuple[PromptMessage, ...] = ()
    # Of a text tool: put before the prompt, and the two are all that the upstream gets.
    instruction: str = ""
    extras: dict[str, Any] = field(default_factory=dict)
    # What equal requests have in common, in place of all fields: path and body of a call of /v1.
    body: bytes = b""
    # The limits of the API token with which the caller came.
    token: TokenLimits | None = None
    # The address of a guest, for which prompts count too; empty for other users.
    guest_address: str = ""
    # Whether the system prompt is that of a preset: words that were listed later are masked, and refuse nothing.
    has_preset_prompt: bool = False
    # The user's instructions for all conversations, sent before the system prompt.
    standing: str = ""
    # Request id and address of the caller, for the log.
    origin: Mapping[str, object] = field(default_factory=structlog.contextvars.get_contextvars)
    # The active language where the request is made: database threads have another one.
    language: str | None = field(default_factory=get_language)

    def may_use(self, model: str) -> bool:
        """Return whether the caller's API token allows a model."""
        return self.token is None or self.token.allows(model)

    @property
    def is_follow_up(self) -> bool:
        """Whether it asks for another, or a longer, completion of an earlier prompt."""
        return self.regenerate is not None or self.continues is not None

    @property
    def chosen(self) -> dict[str, Any]:
        """The parameters to store with a kept generation, for another completion of its prompt."""
        return {**self.parameters, **self.extras} if self.kept else {}

    def digest(self) -> str:
        """Return a hash that only an equal request has."""
        if self.body:
            return hashlib.sha256(self.body).hexdigest()
        # For another completion they come from the stored generation, which may be gone when this is retried.
        parameters, extras = ({}, {}) if self.is_follow_up else (self.parameters, self.extras)
        parts = (
            "join" if self.joins_running else "",
            self.model,
            self.prompt,
            self.conversation,
            self.parent,
            self.system_prompt,
            parameters,
            self.regenerate,
            *(() if self.kept else (self.messages, self.instruction)),
            *((extras,) if extras or not self.kept else ()),
            *(("continues", self.continues) if self.continues is not None else ()),
            *(("attachments", self.attachments) if self.attachments else ()),
            *(("temporary",) if self.temporary else ()),
        )
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class Precheck:
    """Facts about a request that are known before a database thread decides.

    `wait_seconds`: its user started too many calls of /v1. `screened`: its texts, when they are large; `new`: only the
    new ones, when they are long and there are patterns.
    `attached`: what words found in its attachments; `attached_text`: their texts, for the moderation service.
    `moderated`: what that service found.
    """

    wait_seconds: float = 0.0
    screened: ScreenedCall | None = None
    new: Screened | None = None
    attached: Screened | None = None
    attached_text: str = ""
    moderated: Screened | None = None


NO_PRECHECK = Precheck()


@dataclass(frozen=True, slots=True)
class Started:
    """A generation that was stored now, or an earlier one, without a reservation."""

    row: Generation
    reservation: ReservedUnit | None = None
    attempts: Attempts | None = None
    # The end of the message's earlier text that a continuation begins with, for screening.
    seam: str = ""
    # What the completion is screened for.
    words: UserWords | None = None
