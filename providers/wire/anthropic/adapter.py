"""Anthropic's Messages API, native: https://platform.claude.com/docs/en/api/messages.

Other vendors serve the same API for their models, under base URLs that end with `/anthropic`. `request` converts what
goes out, `decoder` what comes back, `errors` has the table of errors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from providers.wire.anthropic.decoder import MessagesDecoder, events_of
from providers.wire.anthropic.errors import (
    ANTHROPIC_CODES,
    as_meant,
    names_largest_cap,
    refuses_blocks,
    refuses_type,
    room,
)
from providers.wire.anthropic.request import (
    THINKING_TYPES,
    Block,
    output_format,
    system_of,
    tool,
    tool_choice,
    tools_of,
    turns_of,
    without_thinking,
)
from providers.wire.base import IMAGES, JSON, PASSED_ON, ChatRequest, Endpoint, FirstRun, ModelList
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Retry, Row, field_not_taken
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.errors import Complaint, choose_row
from providers.wire.openai.finish_words import Family
from providers.wire.openai.model_list import read_models

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
MAX_TEMPERATURE = 1.0
# Models that one request lists, the most that the vendor sends at once.
MODELS_PER_PAGE = 1_000

# Tokens of a completion without a cap of its own. The vendor demands a cap; all models since Claude 4 take this one.
DEFAULT_MAX_TOKENS = 32_000
# Caps of older models, by a part of their names.
_OLDER_MAX_TOKENS: Mapping[str, int] = {"claude-3-5": 8_192, "claude-3-haiku": 4_096, "claude-3-opus": 4_096}
# Tokens for the text itself when thinking has a budget, which counts against the cap.
_TEXT_TOKENS = 8_192
_MIN_THINKING_TOKENS = 1_024
# Parameters of other vendors that the row of a model may hold for its other routes.
_OTHERS = frozenset(
    {
        *PASSED_ON,
        *("n", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "user"),
        *("store", "stream", "stream_options"),
    }
) - {"tools", "top_p", "top_k"}
# Fields of callers that the vendor has nothing like.
_NOT_TAKEN = frozenset({"seed", "presence_penalty", "frequency_penalty", "verbosity", "logit_bias"}) | {
    "logprobs",
    "top_logprobs",
}
# Tokens of thought for each effort. Models that decide themselves how long they think get its name instead.
_EFFORTS: Mapping[JSON, int] = {"low": 4_096, "medium": 16_384, "high": 32_768, "xhigh": 49_152, "max": 49_152}


class Anthropic(OpenAICompatible):
    """A provider for one address, without `/v1` or with it."""

    title = _("Anthropic Messages")
    example_base_url = BASE_URL
    path = "/v1/messages"
    codes: ClassVar[Mapping[str, Row]] = ANTHROPIC_CODES
    takes = frozenset(PASSED_ON) - _NOT_TAKEN | {IMAGES}
    # The vendor's own tools paused a long turn.
    finish_reasons: Mapping[str, Family] = {"pause_turn": "stop"}

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.base_url = self.base_url.removesuffix("/v1").rstrip("/")

    @classmethod
    def takes_temperature(cls, model: str, temperature: float) -> bool:
        """Return False for a temperature above the vendor's bound."""
        return temperature <= MAX_TEMPERATURE

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of ANTHROPIC_API_KEYS and ANTHROPIC_BASE_URL, none when both are empty."""
        keys, base_url = settings["ANTHROPIC_API_KEYS"], settings["ANTHROPIC_BASE_URL"]
        if keys or base_url:
            proxy, models = settings["ANTHROPIC_PROXY"] or "", settings["ANTHROPIC_MODELS"]
            yield FirstRun("anthropic", base_url or BASE_URL, proxy, keys, models)

    def headers(self, key: str | None) -> dict[str, str]:
        headers = super().headers(key)
        headers.pop("Authorization", None)
        headers["anthropic-version"] = VERSION
        return headers if key is None else {**headers, "x-api-key": key}

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body; raise BadParameter for what the vendor does not have."""
        asked, request = request, _taught(_with_effort(request), request.extras.get("reasoning_effort"))
        parameters = request.parameters
        given = {**{name: parameters[name] for name in PASSED_ON if name in parameters}, **request.extras}
        system, turns = turns_of(request.messages)
        body: dict[str, JSON] = {name: value for name, value in parameters.items() if name not in _OTHERS}
        body |= {
            "model": request.model,
            "messages": [{"role": role, "content": [*blocks]} for role, blocks in turns],
            "stream": True,
        }
        if system:
            body["system"] = system_of(system, request.messages)
        _add_tools(body, request, given, turns)
        if stop := given.get("stop"):
            body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
        if made := output_format(given.get("response_format")):
            config = body.get("output_config")
            body["output_config"] = {**(config if isinstance(config, dict) else {}), "format": made}
        if (top_p := given.get("top_p", 1)) != 1:
            body["top_p"] = top_p
        else:
            body.pop("top_p", None)
        if "top_k" in request.extras:
            body["top_k"] = request.extras["top_k"]
        _limit(body, asked, turns)
        return body

    def decoder(self, request: ChatRequest) -> Decoder:
        with_tools = "tools" in request.extras
        return MessagesDecoder(self, with_tools=with_tools, with_think_tags=request.think_tags)

    async def list_models(self, key: str | None) -> ModelList:
        """Return the models of one large page; the vendor's usual page has 20."""
        query = self.encoded({"limit": str(MODELS_PER_PAGE)})
        return await self.read_list(key, self.base_url + "/v1/models", query, read_models)

    def as_stream(self, whole: dict[str, Any]) -> bytes:
        return events_of(whole) if whole.get("type") == "message" else b""

    def classify(self, complaint: Complaint) -> ProviderError:
        return super().classify(as_meant(complaint))

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        """Return the failure, or a better request."""
        meant = as_meant(complaint)
        if (better := _better(request, meant.message)) is not None:
            return Retry(*better, otherwise=super().classify(meant))
        refused = super().refusal(request, meant)
        at_fault = meant.status in (400, 422) and choose_row(meant, self.codes).action == "ops"
        if isinstance(refused, ProviderError) and at_fault and meant.param == "messages" and request.whole:
            # The order or the content of a program's own prompt.
            return field_not_taken("messages", refused)
        return refused


def _better(request: ChatRequest, refusal: str) -> tuple[ChatRequest, dict[str, JSON]] | None:
    """Return a request that avoids the refusal, and the lesson; None when none would help."""
    sent = _taught(_with_effort(request), request.extras.get("reasoning_effort"))
    thinking = sent.parameters.get("thinking")
    if (fits := room(refusal, max_tokens(sent, thinking))) is not None:
        if names_largest_cap(refusal):
            return replace(request, most_tokens=fits), {"most_tokens": fits}
        return replace(request, parameters={**request.parameters, "max_tokens": fits}), {}
    if refuses_blocks(refusal):
        # They are signed for one model and one conversation. A model's other route, or a new one, may lead elsewhere.
        kept = tuple(without_thinking(message) for message in request.messages)
        return (replace(request, messages=kept), {}) if kept != request.messages else None
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if isinstance(kind, str) and refuses_type(refusal, kind):
        refused = request.refused_thinking | {kind}
        return replace(request, refused_thinking=refused), {"refused_thinking": [*sorted(refused)]}
    return None


def _taught(request: ChatRequest, effort: JSON) -> ChatRequest:
    """Return a request whose thinking is of a type that the model knows.

    Models from Claude 4.7 on decide themselves how long they think. Later ones always think.
    """
    parameters, thinking = request.parameters, request.parameters.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or kind not in request.refused_thinking:
        return request
    known = {name: value for name, value in parameters.items() if name != "thinking"}
    if kind == "enabled" and "adaptive" not in request.refused_thinking:
        own = {name: value for name, value in thinking.items() if name == "display"}
        known["thinking"] = {"type": "adaptive", **own}
        if effort:
            config = parameters.get("output_config")
            known["output_config"] = {**(config if isinstance(config, dict) else {}), "effort": effort}
    return replace(request, parameters=known)


def _with_effort(request: ChatRequest) -> ChatRequest:
    """Return a request whose thinking follows the caller's effort instead of the model's row."""
    effort = request.extras.get("reasoning_effort")
    if effort is None:
        return request
    parameters = {name: value for name, value in request.parameters.items() if name != "thinking"}
    if budget := _EFFORTS.get(effort):
        parameters["thinking"] = {"type": "enabled", "budget_tokens": budget}
    elif effort not in ("none", "minimal"):
        raise field_not_taken("reasoning_effort")
    extras = {name: value for name, value in request.extras.items() if name != "reasoning_effort"}
    return replace(request, parameters=parameters, extras=extras)


def _add_tools(
    body: dict[str, JSON], request: ChatRequest, given: Mapping[str, JSON], turns: list[tuple[str, list[Block]]]
) -> None:
    """Add the tools of row and caller, and which of them may be called."""
    own, callers = request.parameters.get("tools"), request.extras.get("tools")
    tools = [*(own if isinstance(own, list) else ()), *map(tool, callers if isinstance(callers, list) else ())]
    choice: JSON = None
    if tools:
        choice = tool_choice(given.get("tool_choice"), given.get("parallel_tool_calls"))
    elif tools := tools_of(turns):
        choice = {"type": "none"}
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice


def _limit(body: dict[str, JSON], request: ChatRequest, turns: list[tuple[str, list[Block]]]) -> None:
    """Set the token cap; bring temperature and thinking within the vendor's bounds."""
    body["max_tokens"] = max_tokens(request, body.get("thinking"))
    # The vendor refuses these together with thinking.
    fixed = [name for name in ("temperature", "top_k") if body.get(name, 1) != 1]
    callers = [name for name in fixed if name in request.given or name in request.extras]
    if callers and "reasoning_effort" not in request.extras:
        body.pop("thinking", None)  # the row asks for it, so it yields
    if _thinks(body, turns):
        if callers:
            raise field_not_taken(callers[0])
        body.pop("temperature", None)
        body.pop("top_k", None)
    elif isinstance(temperature := body.get("temperature"), int | float):
        body["temperature"] = min(max(temperature, 0.0), MAX_TEMPERATURE)


def _thinks(body: dict[str, JSON], turns: list[tuple[str, list[Block]]]) -> bool:
    """Return whether the model is asked to think.

    The model's row asks for it. So it yields where the vendor would refuse it: to a forced tool, to a small token cap,
    and to results of calls that came back without their thinking blocks.
    """
    thinking, choice = body.get("thinking"), body.get("tool_choice")
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "adaptive"):
        return False
    allowed = not isinstance(choice, dict) or choice["type"] not in ("any", "tool")
    if isinstance(budget := thinking.get("budget_tokens"), int):
        budget = min(budget, _whole(body["max_tokens"]) - 1)
        body["thinking"] = {**thinking, "budget_tokens": budget}
        allowed = allowed and budget >= _MIN_THINKING_TOKENS and not _lacks_thinking(turns)
    if not allowed:
        del body["thinking"]
    return allowed


def max_tokens(request: ChatRequest, thinking: JSON) -> int:
    """Return the given token cap of a request, or one that suits the model."""
    cap = request.parameters.get("max_tokens")
    if not isinstance(cap, int):
        cap = next((most for part, most in _OLDER_MAX_TOKENS.items() if part in request.model), DEFAULT_MAX_TOKENS)
        if budget := thinking.get("budget_tokens") if isinstance(thinking, dict) else None:
            cap = max(cap, _whole(budget) + _TEXT_TOKENS)
    return cap if request.most_tokens is None else min(cap, request.most_tokens)


def _lacks_thinking(turns: list[tuple[str, list[Block]]]) -> bool:
    """Return whether the last turn answers calls that lost their thinking blocks."""
    if len(turns) < 2 or turns[-1][1][0]["type"] != "tool_result":
        return False
    return turns[-2][1][0]["type"] not in THINKING_TYPES


def _whole(value: JSON) -> int:
    return value if isinstance(value, int) else 0
