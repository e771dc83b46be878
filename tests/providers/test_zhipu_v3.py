"""Zhipu's legacy v3 against a fake upstream on a real socket, and its parser and prompt without one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import ChatRequest, Delta, Endpoint, Event, Finished, PromptMessage, Usage, Withdrawn
from providers.wire.errors import Retry, UpstreamFailed
from providers.wire.zhipu.v3 import RawTextParser, ZhipuV3, alternating
from tests.providers.streams import PATIENT, collect, request, some_turns, text, until
from tests.scenarios import PLAIN
from tests.zhipu import KEY, FakeZhipu
from tests.zhipu_scenarios import TASK


@pytest.fixture
async def upstream() -> AsyncIterator[FakeZhipu]:
    """A fake upstream in this event loop."""
    async with FakeZhipu() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeZhipu) -> AsyncIterator[ZhipuV3]:
    """A provider of that upstream."""
    provider = ZhipuV3(Endpoint(upstream.v3_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


def turns(*contents: str) -> list[PromptMessage]:
    """Return a conversation; `s:`, `u:` and `a:` tell whose turn it is."""
    roles: dict[str, Any] = {"s": "system", "u": "user", "a": "assistant"}
    return [PromptMessage(roles[content[0]], content[2:]) for content in contents]


async def test_plain_completion_arrives(provider: ZhipuV3) -> None:
    """A plain completion arrives as text, the usage of `meta`, and the one `Finished`."""
    events = await collect(provider.stream(request(), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]
    assert sum(isinstance(event, Finished) for event in events) == 1


async def test_request(provider: ZhipuV3, upstream: FakeZhipu) -> None:
    """The model is in the path, the token stands without `Bearer`, and only fields that v3 knows go out."""
    parameters = {"temperature": 1.5, "top_p": 0, "max_tokens": 7, "stop": ["x"], "incremental": False, "prompt": []}
    prompt = turns("s:be brief", "u:hello")

    await collect(provider.stream(request("a/b 模", *prompt, parameters=parameters), KEY))

    sent = upstream.requests[0]
    assert sent.path == "/api/paas/v3/model-api/a%2Fb%20%E6%A8%A1/sse-invoke"
    assert sent.headers["authorization"].count(".") == 2
    assert not sent.headers["authorization"].startswith("Bearer")
    assert sent.headers["accept"] == "text/event-stream"
    assert sent.body.pop("request_id").startswith("0123abcd-")
    assert sent.body == {
        "prompt": [{"role": "user", "content": "be brief\n\nhello"}],
        "temperature": 0.99,
        "top_p": 0.01,
        "incremental": True,
    }


@pytest.mark.parametrize("base", ["http://h/v3", "http://h/v3/", " http://h/v3/model-api/ "])
def test_url(base: str) -> None:
    """Slashes and a pasted path are stripped."""
    assert ZhipuV3(Endpoint(base)).address(request("chatglm_turbo")) == "http://h/v3/model-api/chatglm_turbo/sse-invoke"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["u:1"], ["u:1"]),
        (["s:S", "u:1", "a:2", "u:3"], ["u:S\n\n1", "a:2", "u:3"]),
        (["s:S", "u:1", "s:T", "u:3"], ["u:S\n\nT\n\n1\n\n3"]),
        (["s:S", "a:2", "u:3"], ["u:S", "a:2", "u:3"]),
        (["a:2", "u:3"], ["u:3"]),
        (["u:1", "u:2", "a:3", "a:4", "u:5"], ["u:1\n\n2", "a:3\n\n4", "u:5"]),
        (["u:1", "a:2"], ["u:1"]),
        (["s:S"], ["u:S"]),
        ([], []),
    ],
)
def test_prompt(given: list[str], expected: list[str]) -> None:
    """User and assistant take turns, the user first and last; what the system says goes in front."""
    assert alternating(turns(*given)) == [{"role": turn.role, "content": turn.content} for turn in turns(*expected)]


async def test_multiline(provider: ZhipuV3) -> None:
    """Line feeds and spaces of the text come through wherever the deltas are cut."""
    events = await collect(provider.stream(request("multiline"), KEY))

    assert text(events) == "It is  a small\n\n world, after all."


async def test_relayed(provider: ZhipuV3) -> None:
    """A space that a relay puts after every colon is no text."""
    events = await collect(provider.stream(request("relayed"), KEY))

    assert (text(events), events[-2:]) == ("It is small", [Usage(9, 7), Finished("stop")])


@pytest.mark.parametrize("model", ["meta_before", "meta_after", "status:SUCCESS", "status", "unknown"])
async def test_leniency(provider: ZhipuV3, model: str) -> None:
    """`meta` may stand anywhere and name no status; new kinds of events are passed over."""
    events = await collect(provider.stream(request(model), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]


@pytest.mark.parametrize("model", ["meta_odd", "meta_odd:no JSON", "meta_odd:[1]", 'meta_odd:{"usage"'])
async def test_without_usage(provider: ZhipuV3, model: str) -> None:
    """An end without a readable `meta` is an end."""
    events = await collect(provider.stream(request(model), KEY))

    assert text(events) == PLAIN
    assert events[-1] == Finished("stop")
    assert not [event for event in events if isinstance(event, Usage)]


async def test_text_is_text(provider: ZhipuV3) -> None:
    """Text that looks like an error is text."""
    events = await collect(provider.stream(request("looks_like_an_error"), KEY))

    assert text(events) == '{"code":1113,"msg":"arrears"}'


async def test_increments_are_asked_for(upstream: FakeZhipu) -> None:
    """Without `incremental` every event would repeat the text, which the fake does like the vendor."""

    class Forgetful(ZhipuV3):
        def body(self, request: ChatRequest) -> dict[str, Any]:
            return {**super().body(request), "incremental": False}

    provider = Forgetful(Endpoint(upstream.v3_url))
    repeated = text(await collect(provider.stream(request("echo", *turns("u:12345678")), KEY)))
    await provider.aclose()

    assert repeated == "123412345678"


@pytest.mark.parametrize(("model", "usage"), [("interrupted_mid", [Usage(9, 7)]), ("error_mid:1301", [])])
async def test_moderated_after_text(provider: ZhipuV3, model: str, usage: list[Event]) -> None:
    """Text that moderation found too late is withdrawn, and the completion ends as filtered."""
    events = await collect(provider.stream(request(model), KEY))

    assert text(events) == "one two "
    assert [event for event in events if not isinstance(event, Delta)] == [
        *usage,
        Withdrawn(),
        Finished("content_filter"),
    ]


async def test_failures_name_the_task(provider: ZhipuV3) -> None:
    """An error event carries the vendor's id of the task."""
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request("error_json:1113"), KEY))

    assert failure.value.vendor_request_id == TASK


@pytest.mark.parametrize("code", ["1003", "1231"])
@pytest.mark.parametrize("form", ["error_json", "error_200", "error_body"])
async def test_resend(provider: ZhipuV3, upstream: FakeZhipu, form: str, code: str) -> None:
    """An expired token and a repeated request id lead to one more request, which then works."""
    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request(f"once:{form}:{code}"), KEY))
    await asyncio.sleep(0.002)
    assert text(await collect(provider.stream(retry.value.request, KEY))) == PLAIN

    first, second = upstream.requests
    assert first.body["request_id"] != second.body["request_id"]
    assert (first.headers["authorization"] != second.headers["authorization"]) == (code == "1003")


async def test_connections_are_reused(provider: ZhipuV3, upstream: FakeZhipu) -> None:
    """One after another, completions share a connection, moderated ones too."""
    for model in ("plain", "interrupted_mid", "multiline"):
        await collect(provider.stream(request(model), KEY))
        await until(lambda: not upstream.open_streams)
        await some_turns()

    assert upstream.connections == 1


STREAM = (
    b"event:add\r\nid:1\r\ndata: Hel\r\n\r\nevent:add\ndata:\ndata:  x\n\nevent:add\ndata:\n\n: c\n\n"
    b'event: add\ndata: y\n\nevent:finish\ndata:\nmeta:{"a": 1}\n\n'
)


@given(st.lists(st.integers(1, 20), max_size=60))
def test_parser_at_every_cut(sizes: list[int]) -> None:
    """However the network cuts the stream, its events come out the same, spaces and `meta` included."""
    parser, rest, events = RawTextParser(), STREAM, []
    for size in sizes:
        events += parser.feed(rest[:size])
        rest = rest[size:]
    events += parser.feed(rest) + parser.flush()

    assert [(event.type, event.data) for event in events] == [
        ("add", " Hel"),
        ("add", "\n  x"),
        ("add", ""),
        ("add", "y"),
        ("finish", ""),
    ]
    assert events[-1].fields == {"meta": '{"a": 1}'}
