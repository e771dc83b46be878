"""The vendor's id of a request, wherever vendors and relays put it."""

from typing import Any

import orjson
import pytest

from providers.wire.base import Endpoint
from providers.wire.errors import ProviderError
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.errors import read_complaint
from providers.wire.spark.http import SparkHTTP
from tests.providers.streams import collect, request
from tests.scenarios import delta_bytes
from tests.upstreams import FakeOpenAI


@pytest.mark.parametrize(
    ("body", "headers", "found"),
    [
        ({"error": {"message": "no"}}, {"x-request-id": "req_1"}, "req_1"),
        ({"error": {"message": "no"}}, {"request-id": "req_1"}, "req_1"),
        ({"error": {"message": "no"}}, {"apim-request-id": "1f-2"}, "1f-2"),
        ({"error": {"message": "no"}}, {"x-request-id": "", "x-oneapi-request-id": "20261129"}, "20261129"),
        ({"error": {"code": "1214", "message": "参数非法"}, "request_id": "2026112908"}, {}, "2026112908"),
        ({"error": {"message": "no", "request_id": "r-1"}}, {}, "r-1"),
        ({"code": "Throttling", "message": "no", "requestId": "a-b-c"}, {}, "a-b-c"),
        ({"code": 10013, "message": "no", "sid": "cht000b0001@dx18"}, {}, "cht000b0001@dx18"),
        ({"error": {"message": "bad key (request id: 2026112908123456) "}}, {}, "2026112908123456"),
        ({"error": {"message": "Please include the request ID req_0123abcd in your message."}}, {}, "req_0123abcd"),
        ({"error": {"message": "request_id duplicated"}, "request_id": 7, "sid": "two words"}, {}, ""),
        ({"error": {"message": "no"}, "request_id": "x" * 129}, {}, ""),
        ({"error": "no"}, {}, ""),
    ],
)
def test_where_the_id_stands(body: dict[str, Any], headers: dict[str, str], found: str) -> None:
    """Headers come first, then fields, then the message; anything that is no id is left out."""
    assert read_complaint(400, orjson.dumps(body), headers).request_id == found


@pytest.mark.parametrize(
    ("kind", "error", "code", "found"),
    [
        (OpenAICompatible, {"error": {"message": "no", "code": "1234"}, "request_id": "r-9"}, "1234", "r-9"),
        (SparkHTTP, {"code": 11202, "message": "no", "sid": "cht1@dx"}, "11202", "cht1@dx"),
    ],
)
def test_in_the_middle_of_a_stream(kind: type[OpenAICompatible], error: Any, code: str, found: str) -> None:
    """A failure within a stream carries the id that it states."""
    decoder = kind(Endpoint("http://upstream.invalid/v1")).decoder(request())
    decoder.feed(delta_bytes(content="x") + b"data: " + orjson.dumps(error) + b"\n\n")

    with pytest.raises(ProviderError) as failed:
        decoder.flush()

    assert (failed.value.vendor_code, failed.value.vendor_request_id) == (code, found)


@pytest.mark.parametrize("scenario", ["error_mid_stream", "cut_mid_stream", "http_500"])
async def test_over_the_wire(upstream: FakeOpenAI, scenario: str) -> None:
    """A failure before, within or instead of a stream carries the id of the response's headers."""
    adapter = OpenAICompatible(Endpoint(upstream.base_url))
    try:
        with pytest.raises(ProviderError) as failed:
            await collect(adapter.stream(request(scenario), "sk-test"))
    finally:
        await adapter.aclose()
    assert failed.value.vendor_request_id == "req-1"
