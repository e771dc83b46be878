"""JSON of /v1, as OpenAI's clients read it; the chunks of streams are in `chat.events.schemas`."""

from typing import Any, Literal

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from chat.events.schemas import OpenAIUsage
from web.openapi import STREAM, Content
from web.schemas import Count, Time


class OpenAIProblem(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIRefusal(TypedDict):
    error: OpenAIProblem


class OpenAIModel(TypedDict):
    id: str
    object: Literal["model"]
    created: Count
    owned_by: str
    type: Literal["model"]
    display_name: str
    created_at: Time
    context_length: Count
    capabilities: list[str]


class OpenAIModels(TypedDict):
    object: Literal["list"]
    data: list[OpenAIModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


@with_config(ConfigDict(extra="allow"))
class CompletionMessage(TypedDict):
    role: Any
    content: Any


class CompletionChoice(TypedDict):
    index: Count
    message: CompletionMessage
    logprobs: Any
    finish_reason: str


class Completion(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: Count
    model: str
    choices: list[CompletionChoice]
    usage: OpenAIUsage


class Embedding(TypedDict):
    object: Literal["embedding"]
    index: Count
    embedding: Any


class EmbeddingUsage(TypedDict):
    prompt_tokens: Count
    total_tokens: Count


class EmbeddingList(TypedDict):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


# --- responses -------------------------------------------------------------------------------------------------------


@with_config(ConfigDict(extra="allow"))
class ResponseItem(TypedDict):
    id: str
    type: Literal["message", "reasoning", "function_call"]


class InputDetails(TypedDict):
    cached_tokens: Count


class OutputDetails(TypedDict):
    reasoning_tokens: Count


class ResponseUsage(TypedDict):
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


@with_config(ConfigDict(extra="allow"))
class Response(TypedDict):
    id: str
    object: Literal["response"]
    created_at: Count
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: Any
    incomplete_details: Any
    model: str
    output: list[ResponseItem]
    usage: ResponseUsage | None


@with_config(ConfigDict(extra="allow"))
class ResponseEvent(TypedDict):
    """An event of a streamed response, whose name is its type."""

    type: str
    sequence_number: Count


RESPONSE_EVENTS = Content(str, (STREAM,), {"response.*": ResponseEvent, "error": ResponseEvent})


# --- Anthropic's messages --------------------------------------------------------------------------------------------


class AnthropicProblem(TypedDict):
    type: str
    message: str


class AnthropicRefusal(TypedDict):
    type: Literal["error"]
    error: AnthropicProblem
    request_id: str


class AnthropicCount(TypedDict):
    input_tokens: Count


@with_config(ConfigDict(extra="allow"))
class AnthropicBlock(TypedDict):
    type: Literal["text", "thinking", "redacted_thinking", "tool_use"]


@with_config(ConfigDict(extra="allow"))
class AnthropicUsage(TypedDict):
    input_tokens: Count
    output_tokens: Count


class AnthropicMessage(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnthropicBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: AnthropicUsage


@with_config(ConfigDict(extra="allow"))
class AnthropicEvent(TypedDict):
    """An event of a streamed message, whose name is its type."""

    type: str


_NAMES = ("message_start", "content_block_start", "content_block_delta", "content_block_stop")
ANTHROPIC_EVENTS = Content(
    str, (STREAM,), dict.fromkeys((*_NAMES, "message_delta", "message_stop", "error"), AnthropicEvent)
)
