"""iFlytek Spark over HTTP: OpenAI's shape with Spark's codes, https://www.xfyun.cn/doc/spark/HTTP.html.

A key is the model's APIPassword or `api_key:api_secret`; of the WebSocket's `app_id:api_key:api_secret` the last two
parts are sent.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from providers.wire.base import JSON, ChatRequest, FinishReason
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Retry, Row
from providers.wire.net.sse import SSEEvent
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import CODES, Complaint
from providers.wire.spark.adapter import KNOWN_MODELS
from providers.wire.spark.errors import CODES as SPARK_CODES
from providers.wire.spark.errors import HISTORY_NOT_CLEARED, OUTPUT_BLOCKED, TENDS_TO_VIOLATE, failure, number, sid_of
from providers.wire.spark.frames import web_search


class SparkHTTP(OpenAICompatible):
    """A provider for one address, such as `https://spark-api-open.xf-yun.com/v1`."""

    title = _("iFlytek Spark (HTTP)")
    example_base_url = "https://spark-api-open.xf-yun.com/v1"
    known_models = KNOWN_MODELS
    slug_prefix = "spark"
    codes: ClassVar[Mapping[str, Row]] = {**CODES, **SPARK_CODES}
    takes = frozenset({"tools", "tool_choice", "response_format", "top_p", "presence_penalty", "frequency_penalty"})
    withdrawn_reasons = frozenset({str(OUTPUT_BLOCKED)})
    closing_reasons = frozenset({str(TENDS_TO_VIOLATE)})
    finish_reasons: Mapping[str, FinishReason] = {
        str(TENDS_TO_VIOLATE): "content_filter",
    }

    def headers(self, key: str | None) -> dict[str, str]:
        return super().headers(key.split(":", 1)[1] if key is not None and key.count(":") == 2 else key)

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        """Return the JSON body; usage comes unasked, and `web_search` becomes the tool of that name."""
        body = super().body(replace(request, include_usage=False))
        tools = body.get("tools")
        if isinstance(tools, list):
            body["tool_calls_switch"] = True  # or calls would be an object, of which there is only one
        if body.pop("web_search", None) is not None:
            body["tools"] = [*(tools if isinstance(tools, list) else ()), web_search(request.parameters)]
        return body

    def failure(self, event: SSEEvent, chunk: dict[str, Any]) -> ProviderError | None:
        match number(chunk.get("code")):
            case None | 0:
                return super().failure(event, chunk)
            case code if code == HISTORY_NOT_CLEARED:
                return None
            case code if code == TENDS_TO_VIOLATE:
                # The text may stay, so the completion ends as with a finish reason.
                chunk["choices"] = [*(chunk.get("choices") or ()), {"finish_reason": str(TENDS_TO_VIOLATE)}]
                return None
            case code:
                return failure(code, sid_of(chunk), status=200)

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        refused = super().refusal(request, complaint)
        ours = complaint.code in SPARK_CODES or (complaint.status == 200 and complaint.code.isdecimal())
        if ours and isinstance(refused, ProviderError):
            return failure(complaint.code, sid_of(complaint.text), status=complaint.status)
        return refused
