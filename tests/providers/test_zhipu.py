"""Zhipu v4 against a fake upstream that checks its tokens."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers import registry
from providers.wire.base import JSON, Endpoint, Event, Finished, PromptMessage, ToolCallDelta, Usage, Withdrawn
from providers.wire.errors import BadParameter, ContentBlocked, ProviderError, Retry, UpstreamFailed
from providers.wire.zhipu import adapter
from providers.wire.zhipu.adapter import Tokens, Zhipu, mint
from tests.providers.streams import PATIENT, collect, reasoning, request, text
from tests.scenarios import PLAIN
from tests.zhipu import KEY, KEY_ID, SECRET, FakeZhipu

NOW = 1704164645.0
LONG, SHORT = (
    "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04iLCJ0eXAiOiJKV1QifQ",
    "eyJhbGciOiJIUzI1NiIsInNpZ25fdHlwZSI6IlNJR04ifQ",
)
MIDDLE = (
    "eyJhcGlfa2V5IjoiZmFrZWlkMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODkiLCJleHAiOjE3MDQxNjQ4NTUwMDAsInRpbWVzdGFtcCI6MTcwND"
    "E2NDY0NTAwMH0"
)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def upstream() -> AsyncIterator[FakeZhipu]:
    """A fake upstream in this event loop."""
    async with FakeZhipu() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeZhipu) -> AsyncIterator[Zhipu]:
    """A provider of that upstream."""
    provider = Zhipu(Endpoint(upstream.base_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


async def test_plain_completion_arrives(provider: Zhipu, upstream: FakeZhipu) -> None:
    """A plain completion arrives as text, the usage of the finish chunk, and the one `Finished`."""
    events = await collect(provider.stream(request(), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 11), Finished("stop")]
    assert upstream.requests[0].path == "/api/paas/v4/chat/completions"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (
            {"alg": "HS256", "sign_type": "SIGN", "typ": "JWT"},
            f"{LONG}.{MIDDLE}.CINF9m4fRIzRd4iekzgq0s-1EEGfXY5VxwO44eGyarQ",
        ),
        (
            {"alg": "HS256", "sign_type": "SIGN"},
            f"{SHORT}.{MIDDLE}.biG2XIUDnLf43S1wixeegn65ztFQ78VZrWU-RG6ndNI",
        ),
    ],
)
def test_token(monkeypatch: pytest.MonkeyPatch, header: dict[str, str], token: str) -> None:
    """A token is that of the vendor's own client to the last byte; so is the shorter form with its shorter header."""
    assert adapter.TOKEN_HEADER["typ"] == "JWT"
    monkeypatch.setattr(adapter, "TOKEN_HEADER", header)

    assert mint(KEY, NOW) == token


def test_tokens_are_kept_and_renewed() -> None:
    """A token serves for 180 s, each key has its own, and a clock that is set back leads to a new one."""
    clock = Clock()
    tokens = Tokens(clock)
    first, other = tokens.of(KEY), tokens.of("other.secret")
    assert first != other

    clock.now = NOW + 179.9
    assert (tokens.of(KEY), tokens.of("other.secret")) == (first, other)
    clock.now = NOW + 180
    second = tokens.of(KEY)
    assert second == mint(KEY, clock.now) != first
    clock.now = NOW + 100
    assert tokens.of(KEY) == mint(KEY, clock.now)


def test_tokens_do_not_pile_up() -> None:
    """Tokens that have expired are dropped when another is minted."""
    clock = Clock()
    tokens = Tokens(clock)
    for number in range(100):
        tokens.of(f"id{number}.secret")
        clock.now += 30

    assert len(tokens._minted) < 10


async def test_tokens_of_a_provider(upstream: FakeZhipu) -> None:
    """Requests share a token until it is renewed."""
    clock = Clock()
    upstream.clock = clock
    provider = Zhipu(Endpoint(upstream.base_url), clock=clock)
    for seconds in (0, 100, 79.5, 0.5):
        clock.now += seconds
        await collect(provider.stream(request(), KEY))
    await provider.aclose()

    sent = [recorded.key for recorded in upstream.requests]
    assert len(set(sent[:3])) == 1
    assert sent[3] not in sent[:3]


async def test_raw_key(upstream: FakeZhipu) -> None:
    """The key itself is sent where that is wanted, and nothing where there is none."""
    provider = Zhipu(Endpoint(upstream.base_url, raw_key=True))
    await collect(provider.stream(request(), KEY))
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request(), None))
    await provider.aclose()

    assert upstream.requests[0].key == KEY
    assert failure.value.vendor_code == "1001"


@pytest.mark.parametrize("raw_key", [True, False])
@pytest.mark.parametrize(
    "key", ["fakesecret", "a.fakesecret.c", ".fakesecret", "fakesecret.", "", "a.密fakesecret", "a.\n"]
)
async def test_malformed_key(upstream: FakeZhipu, key: str, raw_key: bool) -> None:
    """A key without exactly one dot is disabled without being sent or shown."""
    provider = Zhipu(Endpoint(upstream.base_url, raw_key=raw_key))
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request(), key))
    await provider.aclose()

    assert (failure.value.action, failure.value.scope, failure.value.vendor_code) == ("disable", "key", "malformed_key")
    assert "fakesecret" not in f"{failure.value!r} {vars(failure.value)} {failure.value.__context__!r}"
    assert upstream.requests == []


@pytest.mark.parametrize(("key", "code"), [("unknown.secret", "1000"), (f"{KEY_ID}.wrong", "1004")])
async def test_refused_key(provider: Zhipu, key: str, code: str) -> None:
    """A key that the vendor does not know, or whose secret is another, is disabled."""
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request(), key))

    assert (failure.value.action, failure.value.vendor_code) == ("disable", code)


async def test_request(provider: Zhipu, upstream: FakeZhipu) -> None:
    """The request is any compatible server's, with a request id that no other attempt has."""
    prompt = (PromptMessage("system", "be brief"), PromptMessage("user", "你好"))
    for _ in range(2):
        parameters = {"temperature": 0.5, "thinking": {"type": "disabled"}, "request_id": "mine"}
        await collect(provider.stream(request("m", *prompt, parameters=parameters), KEY))

    first, second = (recorded.body for recorded in upstream.requests)
    assert first["request_id"] != second["request_id"]
    assert first["request_id"].startswith("0123abcd-")
    assert {name: value for name, value in first.items() if name != "request_id"} == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "你好"}],
        "temperature": 0.5,
        "thinking": {"type": "disabled"},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"user_id": "u" * 6}, {"user_id": "u" * 6}),
        ({"user_id": "u" * 128}, {"user_id": "u" * 128}),
        ({"user_id": "u" * 5}, {}),
        ({"user_id": "u" * 129}, {}),
        ({"user_id": None}, {}),
        ({"temperature": 2}, {"temperature": 1.0}),
        ({"temperature": -1}, {"temperature": 0.0}),
        ({"temperature": 0.3}, {"temperature": 0.3}),
        ({"temperature": "warm"}, {"temperature": "warm"}),
        ({"top_p": 0}, {"top_p": 0.01}),
        ({"top_p": 0.7}, {"top_p": 0.7}),
        ({"thinking": {"type": "disabled"}, "do_sample": False, "tool_stream": True}, None),
    ],
)
def test_ranges(parameters: dict[str, JSON], expected: dict[str, JSON] | None) -> None:
    """A user id that the vendor would refuse is left out, numbers brought into their range; others are unchanged."""
    body = Zhipu(Endpoint(adapter.BASE_URL)).body(request(parameters=parameters))

    names = {"user_id", *parameters}
    assert {name: body[name] for name in names if name in body} == (parameters if expected is None else expected)


TOOL: JSON = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("extras", "sent"),
    [
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL], "tool_choice": "auto"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [TOOL], "tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"tool_choice": "none"}, {}),
    ],
)
def test_tool_choice(extras: dict[str, JSON], sent: dict[str, JSON]) -> None:
    """A caller who wants no tool called gets none offered to the model, because the vendor takes only `auto`."""
    body = Zhipu(Endpoint(adapter.BASE_URL)).body(request(extras=extras))

    assert {name: body[name] for name in ("tools", "tool_choice") if name in body} == sent


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (True, {"enable": True, "search_engine": "search_std", "search_result": True}),
        (
            {"search_engine": "search_pro", "count": 5},
            {"enable": True, "search_engine": "search_pro", "search_result": True, "count": 5},
        ),
        (False, None),
    ],
)
def test_web_search(wanted: JSON, options: dict[str, JSON] | None) -> None:
    """The model's parameter `web_search` becomes the tool of that name, beside the caller's tools."""
    body = Zhipu(Endpoint(adapter.BASE_URL)).body(request(parameters={"web_search": wanted}, extras={"tools": [TOOL]}))

    assert body["tools"] == [TOOL, *([{"type": "web_search", "web_search": options}] if options else [])]
    assert "web_search" not in body


def test_the_caller_s_web_search_is_the_only_one() -> None:
    """A caller whose tools include a web search gets that one."""
    own: JSON = {"type": "web_search", "web_search": {"enable": True}}
    asking = request(parameters={"web_search": True}, extras={"tools": [own]})

    assert Zhipu(Endpoint(adapter.BASE_URL)).body(asking)["tools"] == [own]


async def test_a_tool_call_in_pieces(provider: Zhipu) -> None:
    """Pieces that all have the call's id are one call."""
    events = await collect(provider.stream(request("tool_stream", extras={"tools": [TOOL]}), KEY))

    pieces = [json.loads(event.json)[0] for event in events if isinstance(event, ToolCallDelta)]
    assert [piece["index"] for piece in pieces] == [0, 0, 0]
    assert [piece.get("id") for piece in pieces] == ["call_1", None, None]
    assert "".join(piece["function"].get("arguments", "") for piece in pieces) == '{"x":1}'
    assert events[-1] == Finished("tool_calls")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("penalty", 1, "1214:penalty 参数非法。请检查文档。"),
        (
            "thinking",
            {"type": "disabled"},
            "1210:thinking is on: This model always engages in thinking and cannot be disabled",
        ),
    ],
)
async def test_a_refused_parameter(provider: Zhipu, name: str, value: JSON, error: str) -> None:
    """A parameter of ours that the vendor refuses by name is left out, and the request sent once more."""
    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request(f"refused:{error}", parameters={name: value, "top_p": 0.5}), KEY))

    assert retry.value.request.parameters == {"top_p": 0.5}
    assert text(await collect(provider.stream(retry.value.request, KEY))) == PLAIN


async def test_a_refused_field_of_the_caller(provider: Zhipu) -> None:
    """A field of the caller's that the vendor refuses is named; a refused cap is not sent under another name."""
    asking = request("error:1210:Tool choice must be auto", extras={"tools": [TOOL], "tool_choice": "required"})
    with pytest.raises(BadParameter) as failure:
        await collect(provider.stream(asking, KEY))
    assert failure.value.param == "tool_choice"
    asking = request("error:1214:max_tokens 参数非法。请检查文档。", parameters={"max_tokens": 10**9})
    with pytest.raises(UpstreamFailed) as refused:
        await collect(provider.stream(asking, KEY))
    assert (refused.value.action, refused.value.vendor_code) == ("ops", "1214")


@pytest.mark.parametrize("model", ["reason:sensitive:bad text", "error_mid:1301", "error_mid:1300"])
async def test_moderated_text_is_withdrawn(provider: Zhipu, model: str) -> None:
    """Text that the vendor's moderation objects to is void, whether it says so at the end or in an error."""
    events = await collect(provider.stream(request(model), KEY))

    assert text(events)
    assert events[-2:] == [Withdrawn(), Finished("content_filter")]


@pytest.mark.parametrize("form", ["error", "error_first"])
async def test_a_moderated_prompt(provider: Zhipu, form: str) -> None:
    """A prompt that the moderation refuses is the caller's fault, with any status."""
    with pytest.raises(ContentBlocked):
        await collect(provider.stream(request(f"{form}:1301"), KEY))


async def test_a_network_error_is_no_completion(provider: Zhipu) -> None:
    """The finish word `network_error` is a failure after the text so far."""
    events: list[Event] = []
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(request("reason:network_error:Half"), KEY), events)

    assert (text(events), failure.value.vendor_code) == ("Half", "network_error")


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("glm-4.5-air", "none", {"thinking": {"type": "disabled"}}),
        ("glm-4.6", "minimal", {"thinking": {"type": "disabled"}}),
        ("glm-5", "high", {"thinking": {"type": "enabled"}}),
        ("GLM-5.1", "low", {"thinking": {"type": "enabled"}}),
        ("glm-5.2", "low", {"reasoning_effort": "low"}),
        ("glm-5.3-flash", "max", {"reasoning_effort": "max"}),
        ("glm-z1-air", "low", {"thinking": {"type": "auto"}, "reasoning_effort": "low"}),
    ],
)
def test_reasoning_effort(model: str, effort: str, sent: dict[str, JSON]) -> None:
    """The caller's effort becomes the switch of older models, and wins over the configuration."""
    asking = request(model, parameters={"thinking": {"type": "auto"}}, extras={"reasoning_effort": effort})
    body = Zhipu(Endpoint(adapter.BASE_URL)).body(asking)

    assert {name: body[name] for name in ("thinking", "reasoning_effort") if name in body} == sent


async def test_a_refused_effort(provider: Zhipu) -> None:
    """A model that does not think, or always does, refuses the caller's effort by name."""
    always = "error:1210:This model always engages in thinking and cannot be disabled"
    for model in ("glm-4-plus", "glm-4-flash-250414", always):
        with pytest.raises(BadParameter) as failure:
            await collect(provider.stream(request(model, extras={"reasoning_effort": "none"}), KEY))
        assert failure.value.param == "reasoning_effort"


def test_facts_about_models() -> None:
    """A model that the vendor lists without facts gets its title and context size."""
    found = registry.known_model("glm-5.3")

    assert found is not None
    assert (found.title, found.context_tokens) == ("GLM-5.3", 1_000_000)
    assert not Zhipu.known_models


async def test_deep_thought(provider: Zhipu) -> None:
    """Thinking text is kept apart, and the line feed before the text is no completion of its own."""
    events = await collect(provider.stream(request("deep"), KEY))

    assert (reasoning(events), text(events)) == ("The user", f"\n{PLAIN}")


async def test_finish_twice(provider: Zhipu) -> None:
    """A finish chunk that comes twice finishes once, and its usage is said once."""
    events = await collect(provider.stream(request("finish_twice"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]
    assert sum(isinstance(event, Usage | Finished) for event in events) == 2


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("length", "length"), ("model_context_window_exceeded", "length"), ("tool_calls", "tool_calls")],
)
async def test_finish_reasons(provider: Zhipu, reason: str, expected: Any) -> None:
    """The vendor's finish reasons become ours."""
    events = await collect(provider.stream(request(f"reason:{reason}"), KEY))

    assert events[-1] == Finished(expected)
    assert Withdrawn() not in events


async def test_expired_token(upstream: FakeZhipu) -> None:
    """A token that the vendor finds expired is minted anew and the request sent once more; then it works."""
    clock = Clock()
    provider = Zhipu(Endpoint(upstream.base_url), clock=clock)
    # This machine stood still for a while, so its token is older than it knows.
    upstream.clock = lambda: clock.now
    provider.tokens._minted[KEY] = (NOW, mint(KEY, NOW - 1000))
    asked = request()
    with pytest.raises(Retry) as retry:
        await collect(provider.stream(asked, KEY))

    events = await collect(provider.stream(retry.value.request, KEY))
    await provider.aclose()

    assert text(events) == PLAIN
    assert (retry.value.learned, retry.value.request.messages) == ({}, asked.messages)
    assert len({recorded.key for recorded in upstream.requests}) == 2


async def test_wrong_clock(upstream: FakeZhipu) -> None:
    """When a fresh token is found expired as well, our clock is wrong, and no other key would help."""
    provider = Zhipu(Endpoint(upstream.base_url), clock=lambda: time.time() - 3600)
    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request(), KEY))
    with pytest.raises(UpstreamFailed, match="clock") as failure:
        await collect(provider.stream(retry.value.request, KEY))
    await provider.aclose()

    assert (failure.value.action, failure.value.scope, failure.value.vendor_code) == ("ops", "all", "1003")
    assert isinstance(retry.value.otherwise, UpstreamFailed)


async def test_repeated_request_id(provider: Zhipu, upstream: FakeZhipu) -> None:
    """A request id that the vendor has seen is replaced, once."""
    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request("once:error:1231"), KEY))
    assert text(await collect(provider.stream(retry.value.request, KEY))) == PLAIN

    ids = [recorded.body["request_id"] for recorded in upstream.requests]
    assert len(set(ids)) == 2
    assert all(one.startswith("0123abcd-") for one in ids)


async def test_failures_tell_no_secret(provider: Zhipu, upstream: FakeZhipu) -> None:
    """Neither a failure nor its cause shows key, token, address or the vendor's words."""
    for model in ("error:1113", "error:1301", "garbage", "http_401", "error_mid:1234"):
        with pytest.raises(ProviderError) as failure:
            await collect(provider.stream(request(model), KEY))
        shown = f"{failure.value!r} {vars(failure.value)} {failure.value.__cause__!r} {failure.value.__context__!r}"
        assert not [secret for secret in (SECRET, "eyJ", "leak", upstream.origin) if secret in shown]


CLAIMS = {"api_key": KEY_ID, "exp": int(NOW + 210) * 1000, "timestamp": int(NOW) * 1000}


def forged(secret: str = SECRET, **claims: object) -> str:
    """Return a token with other claims than the provider's."""
    parts = ({"alg": "HS256", "sign_type": "SIGN"}, {**CLAIMS, **claims})
    signed = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    signature = hmac.digest(secret.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("header", "code", "code_of_v3"),
    [
        (None, "1001", "1001"),
        (f"Bearer {forged()}", "", "1002"),
        (forged(), "1002", ""),
        (f"Bearer {KEY}", "", "1002"),
        (KEY, "1002", "1002"),
        (f"Bearer {KEY_ID}.wrong", "1000", "1002"),
        (f"Bearer {forged('wrong')}", "1004", "1002"),
        (f"Bearer {forged(api_key='other')}", "1000", "1002"),
        (f"Bearer {forged(exp=int(NOW) * 1000)}", "1002", "1002"),
        (f"Bearer {forged(exp=NOW + 210, timestamp=NOW)}", "1002", "1002"),
        (f"Bearer {forged(exp=int(NOW) + 210, timestamp=int(NOW))}", "1003", "1002"),
        (f"Bearer {forged(timestamp=int(NOW + 120) * 1000)}", "1003", "1002"),
        (f"Bearer {forged()}=", "1002", "1002"),
        (f"Bearer {forged(extra=1)}", "1000", "1002"),
        ("Bearer a.b.c", "1002", "1002"),
    ],
)
def test_the_fake_checks_tokens(header: str | None, code: str, code_of_v3: str) -> None:
    """The fake upstream takes what the vendor takes, and times in seconds are not among it."""
    server = FakeZhipu()
    server.clock = lambda: NOW

    assert server.authenticated(header, legacy=False)[1] == code
    assert server.authenticated(header, legacy=True)[1] == code_of_v3
