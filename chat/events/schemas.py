"""Define one type for each event, and list the events of each stream."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, JsonValue
from typing_extensions import TypeAliasType, TypedDict

from chat.sources import CitedSource
from quotas.schemas import Charge, Quota
from web.openapi import STREAM, Content
from web.schemas import Code, Count, Problem

# A column of text in the database, so a `str` for the type checker.
_FINISH_REASONS: list[JsonValue] = ["stop", "length", "content_filter", "cancelled"]
FinishReason = Annotated[str, Field(json_schema_extra={"enum": _FINISH_REASONS})]


class TokensUsed(TypedDict):
    input_tokens: Count
    output_tokens: Count
    estimated: bool
    # Parts of the input and the output, only where the upstream reported them.
    cached_tokens: NotRequired[Count]
    reasoning_tokens: NotRequired[Count]
    # Only with reasoning.
    reasoning_seconds: NotRequired[float]


# --- chat ------------------------------------------------------------------------------------------------------------


class Continued(TypedDict):
    message: int
    content_from: Count
    reasoning_from: Count


class ChatStartEvent(TypedDict):
    generation: str
    conversation: int | None
    model: str
    title: str
    continues: NotRequired[Continued]


class ChatMessageEvent(TypedDict):
    role: Literal["assistant"]
    content: str


class ChatReasoningEvent(TypedDict):
    content: str


class ChatNoticeEvent(TypedDict):
    code: str
    message: str


class ChatResetEvent(TypedDict):
    content: str
    reasoning: str


class ChatSourcesEvent(TypedDict):
    sources: list[CitedSource]


class MessageFile(TypedDict):
    id: int
    name: str
    kind: Literal["image", "text"]
    media_type: str
    bytes: Count
    chars: Annotated[int, Field(ge=0, description="Characters of a text; 0 for an image.")]


class ChatAttachmentsEvent(TypedDict):
    attachments: list[MessageFile]


class ChatDoneEvent(TypedDict):
    finish_reason: FinishReason
    finish_text: NotRequired[str]
    message: int | None
    usage: TokensUsed
    charge: Charge
    quota: Quota


class ChatErrorEvent(Problem):
    retry_after: NotRequired[float]
    charge: Charge


CHAT = Content(
    str,
    (STREAM,),
    {
        "start": ChatStartEvent,
        "message": ChatMessageEvent,
        "reasoning": ChatReasoningEvent,
        "notice": ChatNoticeEvent,
        "reset": ChatResetEvent,
        "sources": ChatSourcesEvent,
        "attachments": ChatAttachmentsEvent,
        "done": ChatDoneEvent,
        "error": ChatErrorEvent,
    },
)

# --- push channels ---------------------------------------------------------------------------------------------------

PushMessageEvent = TypeAliasType(
    "PushMessageEvent", Annotated[Any, Field(description="The pushed data: a text as it was given, or a line of JSON.")]
)


class PushCompleteEvent(TypedDict):
    pass


class PushErrorEvent(TypedDict):
    message: str


class PushResetEvent(TypedDict):
    pass


PUSH = Content(
    str,
    (STREAM,),
    {"message": PushMessageEvent, "complete": PushCompleteEvent, "error": PushErrorEvent, "reset": PushResetEvent},
)

# --- OpenAI's chunks, and the classic example ------------------------------------------------------------------------


class OpenAIPromptDetails(TypedDict):
    cached_tokens: Count


class OpenAICompletionDetails(TypedDict):
    reasoning_tokens: Count


class OpenAIUsage(TypedDict):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: NotRequired[OpenAIPromptDetails]
    completion_tokens_details: NotRequired[OpenAICompletionDetails]


class ChunkChoice(TypedDict):
    index: Count
    delta: dict[str, Any]
    logprobs: NotRequired[Any]
    finish_reason: str | None


class CompletionChunk(TypedDict):
    id: str
    object: Literal["chat.completion.chunk"]
    created: Count
    model: str
    choices: list[ChunkChoice]
    usage: NotRequired[OpenAIUsage | None]


class ClassicErrorEvent(TypedDict):
    code: Code
    message: str


CHUNKS = Content(str, (STREAM,), {"": CompletionChunk})
CLASSIC = Content(str, (STREAM,), {"": CompletionChunk, "error": ClassicErrorEvent})
