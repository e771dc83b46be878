"""Spark over HTTP: OpenAI's shape, Spark's codes."""

from collections.abc import AsyncIterator

import pytest

from providers.wire.base import ChatRequest, Endpoint, Event, Finished, PromptMessage, Usage, Withdrawn
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, Retry
from providers.wire.spark.http import SparkHTTP
from tests.providers.streams import collect, reasoning, request, text
from tests.scenarios import PLAIN, REASONING
from tests.spark_http import FakeSparkHTTP
from tests.spark_scenarios import SID

KEY = "api-password"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeSparkHTTP]:
    """A fake upstream in this event loop."""
    async with FakeSparkHTTP() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeSparkHTTP) -> AsyncIterator[SparkHTTP]:
    """A provider."""
    provider = SparkHTTP(Endpoint(upstream.base_url))
    yield provider
    await provider.aclose()


async def failure_of(provider: SparkHTTP, asking: ChatRequest, into: list[Event] | None = None) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(asking, KEY), into)
    return failure.value


async def test_done_completes_a_stream_without_finish_reason(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """A completion without finish reasons and without spaces is complete with [DONE]."""
    events = await collect(provider.stream(request("plain"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 11), Finished("stop")]
    assert upstream.requests[0].path == "/v1/chat/completions"


async def test_done_is_needed(provider: SparkHTTP) -> None:
    """Without [DONE] nothing says that the completion is whole."""
    assert (await failure_of(provider, request("no_done"))).vendor_code == "truncated"


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


@pytest.mark.parametrize("model", ["tool_object", "code_first:10017"])
async def test_leniency(provider: SparkHTTP, model: str) -> None:
    """A tool call in the vendor's own form beside text, and a history that was not cleared, change nothing."""
    assert text(await collect(provider.stream(request(model), KEY))) == PLAIN


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
@pytest.mark.parametrize("shape", ["code:{}", "code_body:{}", "code_body:{}:400"])
async def test_codes(provider: SparkHTTP, shape: str, code: int, action: str, cooldown_s: float) -> None:
    """Spark's codes mean the same here, within a stream and instead of one; the sid is the id of the request."""
    if code == 12345 and shape.endswith("400"):
        action = "ops"  # an unknown code leaves the status to decide

    failure = await failure_of(provider, request(shape.format(code)))

    assert (failure.action, failure.cooldown_s, failure.vendor_code) == (action, cooldown_s, str(code))
    assert failure.vendor_request_id == (SID if action != "ops" or code == 10163 else "req-1")
    assert "sk-leak" not in f"{failure} {vars(failure)}"


async def test_mid_stream(provider: SparkHTTP) -> None:
    """A code after some text is a failure after it."""
    events: list[Event] = []

    failure = await failure_of(provider, request("code_mid:10012"), events)

    assert (text(events), failure.vendor_code) == ("one two three ", "10012")
    assert failure.vendor_request_id == SID


async def test_moderation(provider: SparkHTTP) -> None:
    """Moderation before text is a refusal; after it, 10014 withdraws the text and 10019 leaves it."""
    for code in (10013, 10014, 10019):
        assert isinstance(await failure_of(provider, request(f"code:{code}")), ContentBlocked)

    events = await collect(provider.stream(request("code_mid:10014"), KEY))
    assert events[-2:] == [Withdrawn(), Finished("content_filter")]
    events = await collect(provider.stream(request("code_last:10019"), KEY))
    assert (text(events), events[-1]) == (PLAIN, Finished("content_filter", ends_conversation=True))


async def test_prompt_too_long(provider: SparkHTTP) -> None:
    """10907 leads to a shorter prompt where there is one."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]

    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request("code_body:10907", *turns), KEY))

    assert len(retry.value.request.messages) < 5
    assert isinstance(await failure_of(provider, request("code_body:10907")), PromptTooLong)


async def test_http_errors(provider: SparkHTTP) -> None:
    """Statuses and envelopes are OpenAI's."""
    for status, action in ((401, "disable"), (403, "switch"), (429, "switch"), (500, "wait"), (503, "wait")):
        failure = await failure_of(provider, request(f"http_{status}"))
        assert (failure.action, failure.status) == (action, status)


async def test_is_openai_compatible(provider: SparkHTTP) -> None:
    """Refusals in the form of other compatible servers are understood as well."""
    events = await collect(provider.stream(request("reasoning"), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
