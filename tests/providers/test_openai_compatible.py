"""The OpenAI-compatible provider against a fake upstream on a real socket."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from providers.wire.base import Delta, Endpoint, Event, Finished, PromptMessage, Reasoning, Usage
from providers.wire.errors import ProviderError, UpstreamFailed
from providers.wire.openai import adapter
from providers.wire.openai.adapter import OpenAICompatible
from tests.providers.streams import PATIENCE_SECONDS, PATIENT, collect, reasoning, request, some_turns, text, until
from tests.readers import until_below
from tests.scenarios import PLAIN, REASONING
from tests.upstreams import FakeOpenAI

# The idle clock is short, and no other.
BRISK = replace(PATIENT, idle=0.5)
KEY = "sk-test-0123456789"
# Delays are the best of several: what a loaded machine adds is not ours.


@pytest.fixture
async def upstream() -> AsyncIterator[FakeOpenAI]:
    """A fake upstream in this event loop."""
    async with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeOpenAI) -> AsyncIterator[OpenAICompatible]:
    """A provider of that upstream."""
    provider = OpenAICompatible(Endpoint(upstream.base_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


@pytest.fixture
async def brisk(upstream: FakeOpenAI) -> AsyncIterator[OpenAICompatible]:
    """A provider whose idle clock is short."""
    provider = OpenAICompatible(Endpoint(upstream.base_url, clocks=BRISK))
    yield provider
    await provider.aclose()


async def test_plain_completion_arrives(provider: OpenAICompatible) -> None:
    """A plain completion arrives as text, usage and the one `Finished`."""
    events = await collect(provider.stream(request(), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 11), Finished("stop")]
    assert sum(isinstance(event, Finished) for event in events) == 1


async def test_request(provider: OpenAICompatible, upstream: FakeOpenAI) -> None:
    """The request holds the key, the stream headers, the messages, only configured parameters, one choice."""
    parameters = {"temperature": 0.5, "max_tokens": 7, "n": 3}
    prompt = (PromptMessage("system", "be brief"), PromptMessage("user", "你好"))

    await collect(provider.stream(request("m", *prompt, parameters=parameters), KEY))

    sent = upstream.requests[0]
    assert sent.key == KEY
    wanted = {"content-type": "application/json", "accept": "text/event-stream", "accept-encoding": "identity"}
    assert wanted.items() <= sent.headers.items()
    assert sent.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "你好"}],
        "temperature": 0.5,
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("field", "expected"),
    [("max_tokens", {"max_tokens": 7}), ("max_completion_tokens", {"max_completion_tokens": 7}), ("none", {})],
)
async def test_token_cap_field(
    provider: OpenAICompatible, upstream: FakeOpenAI, field: Any, expected: dict[str, int]
) -> None:
    """The token cap goes out under the model's field, or not at all; usage is asked for only if wanted."""
    await collect(
        provider.stream(request(parameters={"max_tokens": 7}, token_cap_field=field, include_usage=False), KEY)
    )

    assert upstream.requests[0].body.keys() - {"model", "messages", "stream"} == expected.keys()


async def test_without_a_key(provider: OpenAICompatible, upstream: FakeOpenAI) -> None:
    """A keyless server gets no Authorization header."""
    await collect(provider.stream(request(), None))

    assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize("key", ["sk-a\r\nx: y", "sk-密钥"])
async def test_malformed_key(provider: OpenAICompatible, upstream: FakeOpenAI, key: str) -> None:
    """A key that cannot stand in a header is disabled without being sent or shown."""
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request(), key))

    assert (failure.value.action, failure.value.vendor_code) == ("disable", "malformed_key")
    assert "sk-" not in str(failure.value)
    assert upstream.requests == []


@pytest.mark.parametrize(
    "base",
    [
        "http://h/p/v1",
        "http://h/p/v1/",
        " http://h/p/v1// ",
        "http://h/p/v1/chat/completions",
        "http://h/p/v1/chat/completions/",
    ],
)
def test_url(base: str) -> None:
    """Slashes and a pasted path are stripped; a version is never added."""
    assert OpenAICompatible(Endpoint(base)).address(request()) == "http://h/p/v1/chat/completions"
    zhipu = OpenAICompatible(Endpoint("http://h/api/paas/v4"))
    assert zhipu.address(request()) == "http://h/api/paas/v4/chat/completions"


async def test_first_delta_comes_at_once(provider: OpenAICompatible) -> None:
    """A delta is handed out when it arrives, not when the next one does, which comes after the idle clock."""
    stream = provider.stream(request("paced:3:600000"), KEY)

    assert await anext(stream) == Delta("0 ")
    await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["reasoning", "think_tags"])
async def test_reasoning(provider: OpenAICompatible, model: str) -> None:
    """Thinking text is kept apart, in a field of its own or in leading tags."""
    events = await collect(provider.stream(request(model), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
    assert isinstance(events[0], Reasoning)


@pytest.mark.parametrize("model", ["content_parts", "usage_every_chunk", "no_done", "only_done", "done_then_cut"])
async def test_leniency(provider: OpenAICompatible, model: str) -> None:
    """Whatever a compatible server leaves out or does differently, the completion is whole."""
    events = await collect(provider.stream(request(model), KEY))

    assert text(events) == PLAIN
    assert events[-1] == Finished("stop")


async def test_running_totals(provider: OpenAICompatible) -> None:
    """Of running usage totals the last one holds."""
    events = await collect(provider.stream(request("usage_every_chunk"), KEY))

    assert [event for event in events if isinstance(event, Usage)][-1] == Usage(9, 11)


async def test_done_then_cut_to_a_slow_reader(provider: OpenAICompatible) -> None:
    """Bytes that came together with a cut are not lost on a reader who was busy meanwhile."""
    events: list[Event] = []
    async for event in provider.stream(request("done_then_cut"), KEY):
        events.append(event)
        await asyncio.sleep(0.05)

    assert text(events) == PLAIN
    assert events[-1] == Finished("stop")


async def test_finish_waits_for_the_terminator_only_so_long(
    brisk: OpenAICompatible, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without [DONE] on an open connection the completion ends after a grace period; with [DONE] it is not delayed."""
    assert adapter.TERMINATOR_S == 5
    monkeypatch.setattr(adapter, "TERMINATOR_S", 0.7)
    started = time.monotonic()
    assert (await collect(brisk.stream(request("no_done_open"), KEY)))[-1] == Finished("stop")
    # The total clock is 120 s.
    assert 0.7 <= time.monotonic() - started < 60

    monkeypatch.setattr(adapter, "TERMINATOR_S", 100.0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await collect(brisk.stream(request(), KEY)))[-1] == Finished("stop")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
        ("function_call", "tool_calls"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
async def test_finish_reasons(provider: OpenAICompatible, reason: str, expected: str) -> None:
    """The vendor's finish reason becomes ours, an unknown one `stop`."""
    events = await collect(provider.stream(request(f"finish:{reason}"), KEY))

    assert [event.reason for event in events if isinstance(event, Finished)] == [expected]


async def test_tool_calls_are_not_empty(provider: OpenAICompatible) -> None:
    """A completion that only calls a tool ends well."""
    assert await collect(provider.stream(request("tools"), KEY)) == [Finished("tool_calls")]


@pytest.mark.parametrize(
    "model", ["http_401", "http_429", "garbage", "redirect", "json_error_200:sk-test-0123456789 x"]
)
async def test_failures_tell_no_secret(provider: OpenAICompatible, upstream: FakeOpenAI, model: str) -> None:
    """Neither the failure nor its cause shows the key, the upstream's words or its address."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(request(model), KEY))

    shown = f"{failure.value!r} {vars(failure.value)} {failure.value.__cause__!r} {failure.value.__context__!r}"
    assert not [secret for secret in (KEY, "sk-leak", upstream.base_url) if secret in shown]


async def test_slow_reader_is_no_idle_upstream(brisk: OpenAICompatible) -> None:
    """Time the reader takes does not count against the upstream."""
    events: list[Event] = []
    async for event in brisk.stream(request("paced:4:20"), KEY):
        events.append(event)
        await asyncio.sleep(BRISK.idle * 1.2)

    assert events[-1] == Finished("stop")


async def test_closing_the_generator_closes_the_upstream(provider: OpenAICompatible, upstream: FakeOpenAI) -> None:
    """`aclose()` after a delta closes the upstream within 50 ms."""
    delays: list[float] = []
    for _ in until_below(0.05, delays):
        stream = provider.stream(request("hang_mid_stream"), KEY)
        await anext(stream)
        closed_at = time.monotonic()
        await stream.aclose()  # type: ignore[attr-defined]
        await until(lambda: upstream.requests[-1].closed_by_peer_at)
        delays.append((upstream.requests[-1].closed_by_peer_at or 0) - closed_at)

    assert min(delays) < 0.05


async def test_connections_are_reused(provider: OpenAICompatible, upstream: FakeOpenAI) -> None:
    """One after another, completions and refusals share a connection."""
    for model in ("plain", "http_429", "plain", "reasoning"):
        with contextlib.suppress(UpstreamFailed):
            await collect(provider.stream(request(model), KEY))
        # The end of the body may come after [DONE]; only then is the connection free.
        await until(lambda: upstream.open_streams == 0)
        await some_turns()

    assert upstream.connections == 1


async def test_many_streams_at_once(upstream: FakeOpenAI) -> None:
    """Two hundred streams run side by side, none waiting for another."""
    provider = OpenAICompatible(Endpoint(upstream.base_url))
    streams = (collect(provider.stream(request("paced:3:50"), f"sk-{n}")) for n in range(200))

    answers = await asyncio.gather(*streams)
    await provider.aclose()

    assert {text(events) for events in answers} == {"0 1 2 "}
    assert upstream.connections == 200
