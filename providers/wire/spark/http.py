"""iFlytek Spark over HTTP: OpenAI's shape with Spark's codes, https://www.xfyun.cn/doc/spark/HTTP.html.

Each generation has an address of its own, which the upstream's row holds. A key is the model's APIPassword or
`api_key:api_secret`; of the WebSocket's `app_id:api_key:api_secret` the last two parts are sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from providers.wire.base import JSON, ChatRequest, FinishReason, OfferedModel, TokenCapField
from providers.wire.base import gettext_noop as _
from providers.wire.errors import BadParameter, ProviderError, Retry, Row
from providers.wire.net.sse import SSEEvent
from providers.wire.openai.adapter import OpenAICompatible, as_sent, thinking_switch
from providers.wire.openai.errors import CODES, Complaint
from providers.wire.spark.errors import CODES as SPARK_CODES
from providers.wire.spark.errors import HISTORY_NOT_CLEARED, OUTPUT_BLOCKED, TENDS_TO_VIOLATE, failure, number, sid_of
from providers.wire.spark.frames import turns, web_search
from providers.wire.turns import joined, plain_results


@dataclass(frozen=True, slots=True)
class Version:
    """The facts about a model; those of an unlisted one are the defaults.

    `fixed` are fields with the values that alone have an effect. `searches` is whether it searches the web unasked,
    `thinks` whether its thinking has a switch.
    """

    title: str = ""
    context_tokens: int = 8_192
    most_tokens: int | None = None
    fixed: Mapping[str, tuple[JSON, ...]] | None = None
    system: bool = True
    searches: bool = False
    thinks: bool = False
    legacy: bool = False


# https://www.xfyun.cn/doc/spark/Spark-X2.5.html: the vendor recommends not to send these.
_FIXED: Mapping[str, tuple[JSON, ...]] = {
    "temperature": (1,),
    "top_p": (0.95, 1),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}
_X = Version("Spark X1.5", 65_536, 65_535, searches=True, thinks=True)
_X25 = Version("Spark X2.5", 262_144, fixed=_FIXED)
VERSIONS: Mapping[str, Version] = {
    "lite": Version("Spark Lite", 8_192, 4_096, system=False),
    "generalv3": Version("Spark Pro", 8_192, 8_192, system=False, searches=True),
    "pro-128k": Version("Spark Pro-128K", 131_072, 4_096, system=False, searches=True),
    "generalv3.5": Version("Spark Max", 8_192, 8_192, searches=True),
    "max-32k": Version("Spark Max-32K", 32_768, 8_192, system=False, searches=True),
    "4.0Ultra": Version("Spark 4.0 Ultra", 32_768, 32_768, searches=True),
    "spark-x": _X,
    "spark-x2.5": _X25,
    "spark-x2.5-4b": replace(_X25, title="Spark X2.5 4B"),
    "spark-x2.5-1.7b": replace(_X25, title="Spark X2.5 1.7B"),
    "x1": replace(_X, title="Spark X1", legacy=True),
}
KNOWN_MODELS = tuple(
    OfferedModel(name, version.context_tokens, version.title, version.legacy) for name, version in VERSIONS.items()
)
_MOST_TEMPERATURE = 2.0


def version_of(model: str) -> Version:
    """Return the facts about a model."""
    return VERSIONS.get(model) or (_X25 if model.startswith("spark-x2.5") else Version())


class SparkHTTP(OpenAICompatible):
    """A provider for one address, such as `https://spark-api-open.xf-yun.com/v1`."""

    title = _("iFlytek Spark (HTTP)")
    example_base_url = "https://spark-api-open.xf-yun.com/v1"
    known_models = KNOWN_MODELS
    slug_prefix = "spark"
    codes: ClassVar[Mapping[str, Row]] = {**CODES, **SPARK_CODES}
    takes = frozenset(
        {
            *("tools", "tool_choice", "response_format", "top_p", "presence_penalty", "frequency_penalty"),
            "reasoning_effort",
        }
    )
    withdrawn_reasons = frozenset({str(OUTPUT_BLOCKED)})
    closing_reasons = frozenset({str(TENDS_TO_VIOLATE)})
    finish_reasons: Mapping[str, FinishReason] = {
        str(TENDS_TO_VIOLATE): "content_filter",
    }

    @classmethod
    def takes_of(cls, model: str) -> frozenset[str]:
        """Return what a model accepts: few have a switch for thinking."""
        version = version_of(model)
        return cls.takes - {"reasoning_effort"} if version.title and not version.thinks else cls.takes

    @classmethod
    def takes_temperature(cls, model: str, temperature: float) -> bool:
        """Return False for a temperature that the model refuses or does not heed."""
        fixed = version_of(model).fixed
        return temperature in fixed["temperature"] if fixed else temperature <= _MOST_TEMPERATURE

    def headers(self, key: str | None) -> dict[str, str]:
        return super().headers(key.split(":", 1)[1] if key is not None and key.count(":") == 2 else key)

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body, with what the model takes."""
        version = version_of(request.model)
        request = _fitting(request, version)
        body = super().body(request)
        messages = joined(request.messages) if version.system else turns(request.messages, system=False)
        body["messages"] = [as_sent(message) for message in plain_results(messages)]
        if (effort := body.get("reasoning_effort")) is not None and version.title:
            del body["reasoning_effort"]
            body["thinking"] = thinking_switch(effort)
        tools = _listed(body.get("tools"))
        if tools and not version.fixed:
            body["tool_calls_switch"] = True  # or calls would be an object, of which there is only one
        wanted = body.pop("web_search", None) is not None or version.searches
        if wanted and not any(isinstance(tool, dict) and tool.get("type") == "web_search" for tool in tools):
            body["tools"] = [*tools, web_search(request.parameters)]
        return body

    def failure(self, event: SSEEvent, chunk: dict[str, Any]) -> ProviderError | None:
        """Return the failure of Spark's own codes, too."""
        code = number(chunk.get("code"))
        if not code or not isinstance(code, int | float) or code == HISTORY_NOT_CLEARED:
            _name_search_results(chunk)
            return None if code == HISTORY_NOT_CLEARED else super().failure(event, chunk)
        if code == TENDS_TO_VIOLATE:
            # The text may stay, so the completion ends as with a finish reason.
            chunk["choices"] = [*_listed(chunk.get("choices")), {"finish_reason": str(TENDS_TO_VIOLATE)}]
            return None
        return failure(code, sid_of(chunk), status=200)

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        """Return Spark's meaning of a refusal, or the caller's field that it names."""
        ours = complaint.code in SPARK_CODES or (complaint.status == 200 and complaint.code.isdecimal())
        # With status 200 Spark's code alone says that the request is at fault.
        refused = super().refusal(request, replace(complaint, status=400) if ours else complaint)
        if ours and isinstance(refused, ProviderError) and not isinstance(refused, BadParameter):
            return failure(complaint.code, sid_of(complaint.text), status=complaint.status)
        return refused


def _fitting(request: ChatRequest, version: Version) -> ChatRequest:
    """Return a request with what the model takes; raise for another value of the caller's."""
    if version.title and not version.thinks and "reasoning_effort" in request.extras:
        raise BadParameter("The model has no switch for thinking.", "user", param="reasoning_effort")
    parameters = dict(request.parameters)
    cap = parameters.get("max_tokens")
    if version.most_tokens and isinstance(cap, int):
        parameters["max_tokens"] = min(cap, version.most_tokens)
    if not version.fixed:
        # The usage of the listed models comes unasked; that of fine-tuned ones has to be asked for.
        asks = request.include_usage and not version.title
        return replace(request, parameters=parameters, include_usage=asks)
    for name, values in version.fixed.items():
        asked = request.extras.get(name, parameters.get(name) if name in request.given else None)
        if asked is not None and asked not in values:
            raise BadParameter("The model does not let this field be changed.", "user", param=name)
        parameters.pop(name, None)
    extras = {name: value for name, value in request.extras.items() if name not in version.fixed}
    renamed = request.token_cap_field == "max_tokens"  # noqa: S105  (a field name, no secret)
    field: TokenCapField = "max_completion_tokens" if renamed else request.token_cap_field
    return replace(request, parameters=parameters, extras=extras, token_cap_field=field)


def _name_search_results(chunk: dict[str, Any]) -> None:
    """Move the pages of a web search out of the tool calls, to `search_results`."""
    for choice in _listed(chunk.get("choices")):
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict) or not (given := delta.get("tool_calls")):
            continue
        calls = [call for call in (given if isinstance(given, list) else [given]) if isinstance(call, dict)]
        searches = [call for call in calls if call.get("type") == "web_search"]
        if searches:
            found = [search.get("web_search") for search in searches]
            pages = [page for each in found if isinstance(each, dict) for page in _listed(each.get("outputs"))]
            delta["search_results"] = pages
            delta["tool_calls"] = [call for call in calls if call.get("type") != "web_search"]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
