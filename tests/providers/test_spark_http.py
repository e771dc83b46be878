"""Spark over HTTP: OpenAI's shape, Spark's codes."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.wire.base import ChatRequest, Event, Finished, PromptMessage, Usage, Withdrawn
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, Retry, UpstreamFailed
from providers.wire.spark_http import SparkHTTP
from tests.loopback import Exchange, FakeServer
from tests.providers.streams import collect, request, text
from tests.scenarios import PLAIN, tokens
from tests.upstreams import FakeOpenAI

KEY = "api-password"
SID = "cht000b0001@dx18"
USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}


def chunk(**fields: Any) -> bytes:
    """Return one chunk as Spark writes it, without a space after the colon."""
    return b"data:" + json.dumps({"code": 0, "message": "Success", "sid": SID, **fields}).encode() + b"\n\n"


def delta(content: str = "", **fields: Any) -> bytes:
    """Return one chunk with text."""
    return chunk(choices=[{"delta": {"role": "assistant", "content": content}, "index": 0}], **fields)


ANSWER = [*map(delta, tokens(PLAIN)[:-1]), delta(tokens(PLAIN)[-1], usage=USAGE), b"data:[DONE]\n\n"]


class FakeSparkHTTP(FakeServer):
    """Answers every request with `parts`, as a stream or, with `status` or a body that is no stream, as JSON."""

    parts: list[bytes] = ANSWER
    status = 200

    async def handle(self, exchange: Exchange) -> None:
        if self.status != 200 or self.parts[0].startswith(b"{"):
            await exchange.respond(self.status, self.parts[0])
            return
        await exchange.start()
        for part in self.parts:
            await exchange.send(part)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeSparkHTTP]:
    """A fake upstream in this event loop."""
    async with FakeSparkHTTP() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeSparkHTTP) -> AsyncIterator[SparkHTTP]:
    """A provider."""
    provider = SparkHTTP(f"{upstream.origin}/v1", name="spark-http")
    yield provider
    await provider.aclose()


async def failure_of(
    provider: SparkHTTP, into: list[Event] | None = None, asking: ChatRequest | None = None
) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(asking or request("lite"), KEY), into)
    return failure.value


async def test_it_works(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """An answer without finish reasons and without spaces is complete with [DONE]."""
    events = await collect(provider.stream(request("lite"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]
    assert upstream.requests[0].path == "/v1/chat/completions"


async def test_done_is_needed(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """Without [DONE] nothing says that the answer is whole."""
    upstream.parts = ANSWER[:-1]

    assert (await failure_of(provider)).vendor_code == "truncated"


@pytest.mark.parametrize(
    ("key", "sent"), [("password", "password"), ("api:secret", "api:secret"), ("appid:api:secret", "api:secret")]
)
async def test_keys(provider: SparkHTTP, upstream: FakeSparkHTTP, key: str, sent: str) -> None:
    """A password or a pair goes out as it is, of the WebSocket's three parts the last two."""
    await collect(provider.stream(request("lite"), key))

    assert upstream.requests[0].key == sent


async def test_request(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """Usage comes unasked; `web_search` becomes the tool of that name."""
    await collect(provider.stream(request("4.0Ultra", parameters={"temperature": 0.5, "web_search": False}), KEY))

    assert upstream.requests[0].body == {
        "model": "4.0Ultra",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "stream": True,
        "tools": [{"type": "web_search", "web_search": {"enable": False}}],
    }


async def test_tool_calls_as_an_object(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """A tool call in the vendor's own form is ignored beside text."""
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    upstream.parts = [chunk(choices=[{"delta": {"tool_calls": call}, "index": 0}]), *ANSWER]

    assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN


@pytest.mark.parametrize(
    ("code", "action", "cooldown_s"),
    [
        (10012, "wait", 0),
        (10163, "ops", 0),
        (10015, "disable", 0),
        (11200, "disable", 0),
        (11202, "switch", 2),
        (11203, "switch", 5),
        (12345, "wait", 0),
    ],
)
@pytest.mark.parametrize("shape", ["stream", "json"])
async def test_codes(
    provider: SparkHTTP, upstream: FakeSparkHTTP, shape: str, code: int, action: str, cooldown_s: float
) -> None:
    """Spark's codes mean the same here, within a stream and instead of one; the sid is the id of the request."""
    whole = chunk(code=code, message="sk-leak")
    upstream.parts = [whole if shape == "stream" else whole.removeprefix(b"data:").strip()]

    failure = await failure_of(provider)

    assert (failure.action, failure.cooldown_s, failure.vendor_code) == (action, cooldown_s, str(code))
    assert failure.vendor_request_id == SID
    assert "sk-leak" not in f"{failure} {vars(failure)}"


async def test_mid_stream(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """A code after some text is a failure after it."""
    upstream.parts = [delta("one "), chunk(code=10012)]
    events: list[Event] = []

    failure = await failure_of(provider, events)

    assert (text(events), failure.vendor_code, failure.vendor_request_id) == ("one ", "10012", SID)


async def test_moderation(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """Moderation before text is a refusal; after it, 10014 withdraws the text and 10019 leaves it."""
    for code in (10013, 10014, 10019):
        upstream.parts = [chunk(code=code)]
        assert isinstance(await failure_of(provider), ContentBlocked)

    upstream.parts = [delta("one "), chunk(code=10014)]
    assert (await collect(provider.stream(request("lite"), KEY)))[1:] == [Withdrawn(), Finished("content_filter")]
    upstream.parts = [*ANSWER[:-1], chunk(code=10019), ANSWER[-1]]
    events = await collect(provider.stream(request("lite"), KEY))
    assert (text(events), events[-1]) == (PLAIN, Finished("content_filter", ends_conversation=True))


async def test_history_not_cleared(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """A history that was not cleared changes nothing."""
    upstream.parts = [chunk(code=10017), *ANSWER]

    assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN


async def test_prompt_too_long(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """10907 leads to a shorter prompt where there is one."""
    upstream.parts = [chunk(code=10907).removeprefix(b"data:").strip()]
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]

    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request("lite", *turns), KEY))

    assert len(retry.value.request.messages) < 5
    assert isinstance(await failure_of(provider), PromptTooLong)


async def test_http_errors(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """Statuses and envelopes are OpenAI's."""
    upstream.parts = [b'{"error": {"message": "invalid user", "type": "api_error", "param": null, "code": null}}']
    for status, action in ((401, "disable"), (403, "switch"), (429, "switch"), (500, "wait"), (503, "wait")):
        upstream.status = status
        failure = await failure_of(provider)
        assert (failure.action, failure.status, type(failure)) == (action, status, UpstreamFailed)


async def test_is_openai_compatible() -> None:
    """What OpenAI's fake says is understood as well."""
    async with FakeOpenAI() as server:
        provider = SparkHTTP(server.base_url)
        assert text(await collect(provider.stream(request("reasoning"), KEY))) == PLAIN
        await provider.aclose()
