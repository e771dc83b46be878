"""Define the JSON of generations, conversations, messages, models and text tools."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from chat import models
from chat.attachments.schemas import Attachment
from chat.events.schemas import CHAT, FinishReason, TokensUsed
from chat.sources import CitedSource
from quotas.schemas import Charge
from web.schemas import Count, Problem, Time

GENERATION_ID = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Generation(TypedDict):
    id: str
    status: Annotated[str, Field(json_schema_extra={"enum": models.Generation.Status.values})]
    model: str
    conversation: int | None
    message: int | None
    finish_reason: FinishReason | None
    finish_text: NotRequired[str]
    content: str
    reasoning: str
    sources: NotRequired[list[CitedSource]]
    attachments: NotRequired[list[Attachment]]
    usage: TokensUsed | None
    charge: Charge | None
    error: Problem | None
    created_at: Time
    finished_at: Time | None


class Begun(TypedDict):
    generation: Generation
    events: str


class Conversation(TypedDict):
    id: int
    title: str
    pinned: bool
    archived: bool
    system_prompt: str
    created_at: Time
    updated_at: Time
    temporary: NotRequired[Literal[True]]


class Message(TypedDict):
    id: int
    parent: int | None
    role: Annotated[str, Field(json_schema_extra={"enum": models.Message.Role.values})]
    content: str
    reasoning: str
    sources: NotRequired[list[CitedSource]]
    attachments: NotRequired[list[Attachment]]
    reasoning_seconds: NotRequired[float]
    model: str | None
    generation: str | None
    created_at: Time


class Model(TypedDict):
    slug: str
    title: str
    description: str
    quota: str
    available: bool
    takes: list[str]
    context_tokens: Count


class TextTool(TypedDict):
    slug: str
    title: str
    needs_target_language: bool


# What a request for a completion returns: events for `Accept: text/event-stream`, otherwise where they are.
BEGUN: dict[int, Any] = {200: CHAT, 202: Begun}
# Why such a request may be refused beside its form: key, quota and rates, moderation, upstream, drain.
BEGIN_REFUSALS = (404, 409, 422, 429, 502, 504)
