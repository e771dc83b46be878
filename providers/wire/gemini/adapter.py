"""Google Gemini: `streamGenerateContent` with keys of Google AI Studio.

Source: https://ai.google.dev/api/generate-content. The request is converted in `request`, the stream in `decoder`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote

from providers.wire.base import IMAGES, JSON, PASSED_ON, ChatRequest, FirstRun, ModelList, OfferedModel
from providers.wire.base import gettext_noop as _
from providers.wire.errors import ProviderError, Retry, Row
from providers.wire.gemini.decoder import FINISH_REASONS, GeminiDecoder
from providers.wire.gemini.errors import GEMINI_CODES, lacks_signature, named, with_field
from providers.wire.gemini.model_list import MAX_PAGES, PAGE_SIZE, listed, read_page
from providers.wire.gemini.request import body_of, signed
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import Complaint

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"


class Gemini(OpenAICompatible):
    """A provider for Gemini's own protocol."""

    title = _("Google Gemini")
    example_base_url = BASE_URL
    path = "/models"
    codes: ClassVar[Mapping[str, Row]] = GEMINI_CODES
    # The vendor has nothing like these.
    takes = frozenset({*PASSED_ON, IMAGES}) - {
        "parallel_tool_calls",
        "verbosity",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
    finish_reasons = FINISH_REASONS
    # The decoder reads JSON as it grows; only a page is no stream.
    whole_bodies = (b"<",)

    @classmethod
    def first_run(cls, settings: Mapping[str, Any]) -> Iterable[FirstRun]:
        """Return the upstream of GEMINI_API_KEYS and GEMINI_BASE_URL, none when both are empty."""
        keys, base_url = settings["GEMINI_API_KEYS"], settings["GEMINI_BASE_URL"]
        if keys or base_url:
            proxy, models = settings["GEMINI_PROXY"] or "", settings["GEMINI_MODELS"]
            yield FirstRun("gemini", base_url or BASE_URL, proxy, keys, models)

    def address(self, request: ChatRequest) -> str:
        """Return the address of the model; its name may be a path such as `tunedModels/mine`."""
        name = request.model if "/" in request.model else f"models/{request.model}"
        return f"{self.base_url}/{quote(name, safe='/')}:streamGenerateContent"

    def encoded(self, own: Mapping[str, str]) -> str:
        """Return the query; without `alt` the vendor would send a JSON array."""
        return super().encoded(own or {"alt": "sse"})

    def headers(self, key: str | None) -> dict[str, str]:
        headers = super().headers(key)
        if key is not None:
            del headers["Authorization"]
            headers["x-goog-api-key"] = key
        return headers

    def body(self, request: ChatRequest) -> dict[str, JSON]:
        return body_of(request, self.takes)

    def decoder(self, request: ChatRequest) -> GeminiDecoder:
        return GeminiDecoder(self, with_tools="tools" in request.extras, with_think_tags=request.think_tags)

    def classify(self, complaint: Complaint) -> ProviderError:
        return super().classify(named(complaint))

    def refusal(self, request: ChatRequest, complaint: Complaint) -> ProviderError | Retry:
        """Return the failure, or a request with stand-in signatures where a client lost the vendor's."""
        refused = super().refusal(request, with_field(named(complaint), request))
        if isinstance(refused, Retry) or not lacks_signature(complaint):
            return refused
        messages = signed(request.messages)
        if messages == request.messages:
            return refused
        return Retry(replace(request, messages=messages), {}, otherwise=refused)

    async def list_models(self, key: str | None) -> ModelList:
        """Return the models that generate text; raise ProviderError."""
        found: list[OfferedModel] = []
        token = ""
        for _page in range(MAX_PAGES):
            query = self.encoded({"pageSize": str(PAGE_SIZE), **({"pageToken": token} if token else {})})
            page = await self.read_list(key, f"{self.base_url}{self.path}", query, read_page)
            found += page.models
            if not (token := page.token):
                break
        return listed(found, complete=not token)
