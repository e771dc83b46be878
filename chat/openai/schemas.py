"""JSON of /v1, as OpenAI's clients read it; the chunks of streams are in `chat.events.schemas`."""

from typing import Any, Literal

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from chat.events.schemas import OpenAIUsage
from web.schemas import Count


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


class OpenAIModels(TypedDict):
    object: Literal["list"]
    data: list[OpenAIModel]


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
