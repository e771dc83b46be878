"""A compatible vendor is a small subclass of the OpenAI-compatible provider."""

from typing import Any

from providers.wire.base import Endpoint, Finished, Withdrawn
from providers.wire.openai.adapter import OpenAICompatible
from tests.providers.streams import collect, request
from tests.upstreams import FakeOpenAI

KEY = "sk-test-0123456789"


class Vendor(OpenAICompatible):
    """A compatible vendor: another header, an extra field, a reason that withdraws the text."""

    withdrawn_reasons = frozenset({"sensitive"})

    def headers(self, key: str | None) -> dict[str, str]:
        return {**super().headers(None), "x-token": key or ""}

    def body(self, request: Any) -> dict[str, Any]:
        return {**super().body(request), "request_id": request.generation}


async def test_hooks_change_the_request_and_its_finish() -> None:
    """Hooks change headers, body and the meaning of a finish reason."""
    async with FakeOpenAI() as upstream:
        vendor = Vendor(Endpoint(upstream.base_url))
        events = await collect(vendor.stream(request("finish:sensitive"), KEY))
        await vendor.aclose()

    assert events[-2:] == [Withdrawn(), Finished("content_filter")]
    assert upstream.requests[0].headers["x-token"] == KEY
    assert upstream.requests[0].body["request_id"] == "0123abcd"
