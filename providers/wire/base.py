"""Requests, events, deadlines and the `Provider` base class that every adapter extends.

Also token estimates and trimming a prompt to a budget; no network, and no facts about vendors.
"""

import math
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import orjson

from providers.wire.images import CompletionImages
from providers.wire.logprobs import LogProbs
from providers.wire.reasoning_details import ReasoningDetails
from providers.wire.text_taker import TextTaker

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]
# Whether a host, by its canonical name, may be reached at an address that it was resolved to.
AddressCheck = Callable[[str, str], bool]
TokenCapField = Literal["max_tokens", "max_completion_tokens", "none"]

# Tokens for the role and the separators of a message; the vendors' chat formats need three or four.
MESSAGE_OVERHEAD_TOKENS = 4
# Tokens estimated for one image. Vendors count by size, which is unknown here, so this is a medium value.
IMAGE_TOKENS = 800

# Request fields that pass through to the upstream unchanged. The `takes` of an adapter lists those that its upstream
# accepts; none is left out silently. `images` stands for the image parts of messages.
PASSED_ON = (
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "stop", "seed", "top_p", "logprobs"),
    *("presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity", "logit_bias", "top_k", "top_logprobs"),
)
IMAGES = "images"
# In `extras`: the messages are texts to embed, and nothing is to be generated. The value has the other fields.
EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One turn of the prompt; `content` is all its text.

    A turn that came through the API may have more, which is sent unchanged. `parts` is the content as a list, when not
    all of it is text. `fields` are the other fields of the turn (`tool_calls`, `tool_call_id`, ...). With
    `cache_control` Anthropic's API keeps the prompt up to the end of this turn; other APIs have nothing like it.
    """

    role: Role
    content: str
    parts: tuple[dict[str, JSON], ...] = ()
    fields: Mapping[str, JSON] = field(default_factory=dict)
    cache_control: JSON = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One generation as a provider sees it.

    `model` is the upstream's own name. `parameters` holds only what is configured (`temperature`, `max_tokens`, ...);
    the token cap is always called `max_tokens` there and goes out under `token_cap_field`. `generation` is a
    hexadecimal id, for vendors that want a unique one. `extras` holds those of `PASSED_ON` that the caller gave. A
    `whole` prompt is a program's: it is refused when it is too long, never shortened. With `think_tags` a leading
    `<think>` block of the content becomes reasoning. `drop` names body fields that are left out, those of the caller
    too. `clocks` replace the endpoint's. `given` names the caller's parameters. `trace_headers` continue a trace.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    parameters: Mapping[str, JSON]
    generation: str
    token_cap_field: TokenCapField = "max_tokens"  # noqa: S105  (a field name, no secret)
    include_usage: bool = True
    extras: Mapping[str, JSON] = field(default_factory=dict)
    whole: bool = False
    think_tags: bool = True
    drop: frozenset[str] = frozenset()
    clocks: "Clocks | None" = None
    given: frozenset[str] = frozenset()
    # What the upstream taught: the model's largest token cap, and the types of `thinking` that it does not know.
    most_tokens: int | None = None
    refused_thinking: frozenset[str] = frozenset()
    # Takes events past the generator, once it has yielded visible text; see `Take`. Adapters may ignore it.
    take: "Take | None" = field(default=None, compare=False)
    text_taker: TextTaker | None = field(default=None, compare=False)
    trace_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delta:
    """New text; appending all of them gives the completion."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """New thinking text, shown apart from the completion."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A JSON list of pieces of tool calls, each with the `index` of its call."""

    json: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the upstream counted them; the last one of a stream holds.

    `cached_tokens` are part of `input_tokens`, `reasoning_tokens` part of `output_tokens`; None: not reported.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Source(NamedTuple):
    """A page that a completion cites.

    `url` is an `http` or `https` address; `title` may be empty.
    """

    url: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Lists the pages cited so far, in order.

    The last one of a stream holds.
    """

    items: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The one successful end; `ends_conversation`: the vendor takes no further prompts of it."""

    reason: FinishReason
    ends_conversation: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to the reader who waits; `code` is for example `retrying`."""

    code: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """All text shown so far is void."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """All embeddings of a request, as JSON objects with `index` and `embedding`."""

    items: tuple[dict[str, JSON], ...]


_Output = Delta | Reasoning | ReasoningDetails | ToolCallDelta | CompletionImages | LogProbs | Embeddings
Event = _Output | Usage | Sources | Finished | Notice | Withdrawn

# Takes the events of one read; returns False when the generator is to yield the next ones. An exception ends it.
Take = Callable[[Sequence[Event]], bool]


@dataclass(frozen=True)
class Clocks:
    """Deadlines of one stream in seconds: to connect, to the first payload, between payloads, altogether."""

    connect: float = 10
    first: float = 60
    idle: float = 60
    total: float = 600


DEFAULT_CLOCKS = Clocks()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one upstream is reached.

    `admits` judges each resolved address, or the proxy's; None: every address is allowed. `tls` replaces the usual
    verification, for private certificate authorities. `headers` and `query` are added to each request and win over the
    adapter's own; they are pairs, because an endpoint is compared. Its hash is short, because each request needs it.
    """

    base_url: str
    proxy: str | None = None
    clocks: Clocks = field(default=DEFAULT_CLOCKS, hash=False)
    admits: AddressCheck | None = field(default=None, hash=False)
    tls: ssl.SSLContext | None = field(default=None, hash=False)
    # Options of single adapters: `Provider.options` names the ones that an adapter uses.
    sign_host: str | None = None
    raw_key: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False, hash=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False, hash=False)

    def with_headers(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return an adapter's headers with those of the endpoint, which win in any case."""
        replaced = {name.lower() for name, _value in self.headers}
        return {**{name: value for name, value in own.items() if name.lower() not in replaced}, **dict(self.headers)}


class OfferedModel(NamedTuple):
    """A model under the upstream's name for it; `legacy`: the vendor no longer documents it."""

    name: str
    context_tokens: int | None = None
    title: str = ""
    legacy: bool = False


class ModelList(NamedTuple):
    """The models that an upstream offers; not `complete` when it sent more than we read."""

    models: tuple[OfferedModel, ...]
    complete: bool = True


class FirstRun(NamedTuple):
    """An upstream that the environment describes; `models` pairs our slugs with the upstream's names."""

    slug: str
    base_url: str
    proxy: str
    keys: tuple[str, ...]
    models: tuple[tuple[str, str], ...]
    query: Mapping[str, str] = MappingProxyType({})


def gettext_noop(text: str) -> str:
    """Return a text unchanged but marked for translation, as Django's function does."""
    return text


class Provider(ABC):
    """An adapter for one wire protocol.

    The class states the facts of its kind; an instance serves one upstream. `providers.registry` lists the classes.
    Nothing else branches on a kind, so a new vendor needs a subclass and one line there.
    """

    # Label in the admin, marked with `gettext_noop`.
    title: ClassVar[str]
    # Names of `PASSED_ON`, and `IMAGES`, that the upstream accepts; requests with others go to other routes.
    takes: ClassVar[frozenset[str]] = frozenset()
    # False: the adapter reaches no server, so its base URL may be empty and is not checked.
    needs_base_url: ClassVar[bool] = True
    # Base URL that the admin form shows as an example; empty: none.
    example_base_url: ClassVar[str] = ""
    # Schemes that a base URL may have.
    schemes: ClassVar[tuple[str, ...]] = ("https", "http")
    # True: a base URL without encryption is refused unless its host is this machine.
    needs_encryption: ClassVar[bool] = False
    # True: every model has a path of its own, so a path in the base URL fits one model only.
    path_per_model: ClassVar[bool] = False
    # Form of a key, shown to operators; empty: any text.
    key_form: ClassVar[str] = ""
    # Optional fields of `Endpoint` that the adapter uses.
    options: ClassVar[frozenset[str]] = frozenset()
    # Models to offer without a request; empty: `list_models` asks the upstream.
    known_models: ClassVar[tuple[OfferedModel, ...]] = ()
    # Titles and context sizes of models that the upstream lists without these.
    model_facts: ClassVar[tuple[OfferedModel, ...]] = ()
    # Put in front of a model's name to make its slug, unless the name begins so.
    slug_prefix: ClassVar[str] = ""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @classmethod  # noqa: B027  (a hook: most kinds take any text)
    def check_key(cls, key: str) -> None:
        """Raise ProviderError for a key that can never have the form of `key_form`."""

    @classmethod
    def takes_of(cls, model: str) -> frozenset[str]:
        """Return what the upstream accepts for one model, for kinds whose models differ for certain."""
        return cls.takes

    @classmethod
    def takes_temperature(cls, model: str, temperature: float) -> bool:
        """Return False for a temperature beyond the vendor's published bounds for the model."""
        return True

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstreams of this kind that the environment's settings describe."""
        return ()

    def clocks(self, request: ChatRequest) -> Clocks:
        """Return the deadlines of a request."""
        return request.clocks or self.endpoint.clocks

    @abstractmethod
    def stream(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        """Stream one completion: an async generator that ends with exactly one `Finished`.

        `key` is None for upstreams without keys. Raises `ProviderError` on failure and `Retry` before the first event.
        Closing the generator, or cancelling the task that waits for it, closes the upstream connection at once.
        """

    async def list_models(self, key: str | None) -> ModelList:
        """Return the models that the upstream offers; raise ProviderError. Not called where `known_models` is set."""
        return ModelList(self.known_models)

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections; the next request opens new ones. Repeating is safe."""


def json_object(text: bytes | str) -> dict[str, Any]:
    """Return the JSON object that a text holds; an empty one for any other text."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON value that is an object; an empty object for any other."""
    return value if isinstance(value, dict) else {}


def as_objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a JSON list; none for a value that is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of `text` without a vendor's tokenizer.

    Four ASCII characters or one and a half others (mostly CJK) count as one token; off by about a quarter either way.
    """
    ascii_chars = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return math.ceil(ascii_chars / 4 + (len(text) - ascii_chars) / 1.5)


def message_tokens(message: PromptMessage) -> int:
    tokens = estimate_tokens(message.content) + MESSAGE_OVERHEAD_TOKENS
    tokens += IMAGE_TOKENS * sum("text" not in part for part in message.parts)
    return tokens + (estimate_tokens(str(message.fields)) if message.fields else 0)


def prompt_tokens(messages: Sequence[PromptMessage]) -> int:
    return sum(map(message_tokens, messages))


def trim(messages: Sequence[PromptMessage], budget_tokens: int) -> tuple[PromptMessage, ...]:
    """Drop the oldest turns until the estimate fits into `budget_tokens`.

    A leading system message and the last message always stay, even when they alone are over the budget.
    The first turn kept is one of the user's where there is one, because several vendors refuse other orders.
    """
    if not messages:
        return ()
    head = tuple(messages[:1]) if messages[0].role == "system" and len(messages) > 1 else ()
    turns = messages[len(head) :]
    start = len(turns) - 1
    left = budget_tokens - prompt_tokens(head) - message_tokens(turns[start])
    while start > 0 and (left := left - message_tokens(turns[start - 1])) >= 0:
        start -= 1
    if start:
        start = next((index for index in range(start, len(turns)) if turns[index].role == "user"), start)
    return head + tuple(turns[start:])
