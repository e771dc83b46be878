"""The Spark provider against a fake upstream on a real socket."""

import asyncio
import logging
import re
import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest

from providers.wire.base import Clocks, Endpoint, Event, Finished, PromptMessage, Reasoning, Usage
from providers.wire.errors import BadParameter, ProviderError, Retry, UpstreamFailed
from providers.wire.spark import adapter
from providers.wire.spark.adapter import VERSIONS, Spark, credentials, fresh_uid, signed_url
from tests.providers.streams import PATIENT, collect, reasoning, request, text, until
from tests.scenarios import PLAIN, REASONING
from tests.spark import API_KEY, API_SECRET, APP_ID, KEY, FakeSpark
from tests.spark_scenarios import SID

# The idle clock is short, and no other.
BRISK = replace(PATIENT, idle=0.5)
NOW = 1704164645.0
DATE = "Tue, 02 Jan 2024 03:04:05 GMT"
# Section 8.1 of our protocol notes: computed by hand and by the vendor's SDK with its clock frozen.
VECTORS = {
    "/v3.5/chat": "OLLeqWCNNB7HM/VV2gb5tRWb/fWXAEOjREfhITUIurI=",
    "/v1.1/chat": "HsDz4VnEJ870FNKxLvxI6qgp83PlPFdEuxYn8UZ5XQw=",
    "/chat/max-32k": "IlIyfB1zfcCsPS2x+3FyanzK4afO+qbQ6YwXrA1pQr8=",
}
WHOLE = (
    "wss://spark-api.xf-yun.com/v3.5/chat?authorization=YXBpX2tleT0iMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCBhbGd"
    "vcml0aG09ImhtYWMtc2hhMjU2IiwgaGVhZGVycz0iaG9zdCBkYXRlIHJlcXVlc3QtbGluZSIsIHNpZ25hdHVyZT0iT0xMZXFXQ05OQjdITS9WVjJnY"
    "jV0UldiL2ZXWEFFT2pSRWZoSVRVSXVyST0i&date=Tue%2C+02+Jan+2024+03%3A04%3A05+GMT&host=spark-api.xf-yun.com"
)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeSpark]:
    """A fake upstream in this event loop."""
    async with FakeSpark() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeSpark) -> AsyncIterator[Spark]:
    """A provider without a path, so that the domain chooses it."""
    provider = Spark(Endpoint(upstream.origin, clocks=PATIENT))
    yield provider
    await provider.aclose()


@pytest.fixture
async def lite(upstream: FakeSpark) -> AsyncIterator[Spark]:
    """A provider for one path: the model's name is the scenario."""
    provider = Spark(Endpoint(upstream.base_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


@pytest.fixture
async def brisk(upstream: FakeSpark) -> AsyncIterator[Spark]:
    """The same with a short idle clock."""
    provider = Spark(Endpoint(upstream.base_url, clocks=BRISK))
    yield provider
    await provider.aclose()


async def failure_of(provider: Spark, key: str | None = KEY, *args: Any, **fields: Any) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(request(*args, **fields), key))
    return failure.value


async def test_plain_completion_arrives(provider: Spark) -> None:
    """A plain completion arrives as text, usage and the one `Finished`."""
    events = await collect(provider.stream(request("generalv3.5"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(21, 40), Finished("stop")]
    assert sum(isinstance(event, Finished) for event in events) == 1


@pytest.mark.parametrize("path", VECTORS)
def test_signature(path: str) -> None:
    """The signature is the documented one, byte for byte."""
    url = signed_url(f"wss://spark-api.xf-yun.com{path}", "", credentials(KEY), NOW)

    authorization = adapter.authorization("spark-api.xf-yun.com", path, DATE, credentials(KEY))
    assert f"authorization={quote_plus(authorization)}&" in url
    assert f'signature="{VECTORS[path]}"' in adapter.base64.b64decode(authorization).decode()


def test_whole_address() -> None:
    """The whole address is the documented one; our HTTP library calls the scheme `https`."""
    assert signed_url("wss://spark-api.xf-yun.com/v3.5/chat", "", credentials(KEY), NOW) == "https" + WHOLE[3:]


@pytest.mark.parametrize(
    ("base_url", "sign_host", "address", "signed_host"),
    [
        ("wss://h/v1.1/chat/", None, "https://h/v1.1/chat", "h"),
        ("wss://h:443/v1.1/chat", None, "https://h/v1.1/chat", "h"),
        ("WSS://H:8443", None, "https://h:8443/domain/path", "h:8443"),
        ("ws://127.0.0.1:80/v1.1/chat?x=1", None, "http://127.0.0.1/v1.1/chat", "127.0.0.1"),
        ("ws://[::1]:9000/", None, "http://[::1]:9000/domain/path", "[::1]:9000"),
        ("https://relay.example/v4.0/chat", "vendor", "https://relay.example/v4.0/chat", "vendor"),
    ],
)
def test_addresses(base_url: str, sign_host: str | None, address: str, signed_host: str) -> None:
    """A default port is no part of the host, a missing path is the domain's, the signed name may be another."""
    url, _, query = signed_url(base_url, "/domain/path", credentials(KEY), NOW, sign_host=sign_host).partition("?")

    assert url == address
    assert query.endswith(f"&host={quote_plus(signed_host)}")


@pytest.mark.parametrize("base_url", ["nonsense", "ftp://h/v1.1/chat", "wss://", "wss://h:x/v1.1/chat", "wss://h/路"])
async def test_bad_addresses(base_url: str) -> None:
    """An address that is none is our configuration, as is a domain without a path."""
    for address in (base_url, "wss://127.0.0.1:1"):
        failure = await failure_of(Spark(Endpoint(address)))
        assert (failure.action, failure.vendor_code) == ("ops", "bad_address")


async def test_handshake(upstream: FakeSpark, lite: Spark, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection is signed anew, with the time it is made at and the host it goes to."""
    for moment in (NOW, NOW + 400):
        monkeypatch.setattr(adapter, "time", SimpleNamespace(time=lambda moment=moment: moment))
        upstream.clock = lambda moment=moment: moment + 299  # type: ignore[misc]
        await collect(lite.stream(request(), KEY))

    first, second = upstream.requests
    assert (first.query["date"], first.query["host"]) == (DATE, f"127.0.0.1:{upstream.port}")
    assert first.query["authorization"] != second.query["authorization"]
    assert first.headers["host"] == first.query["host"]
    assert "authorization" not in first.headers


async def test_request(provider: Spark, upstream: FakeSpark) -> None:
    """The request holds ids, domain, only configured parameters, web search switched off, the turns."""
    prompt = (PromptMessage("system", "be brief"), PromptMessage("user", "你好"))
    parameters = {"temperature": 0.5, "max_tokens": 7, "top_k": 4, "n": 3}

    await collect(provider.stream(request("generalv3.5", *prompt, parameters=parameters), KEY))

    sent = upstream.requests[0]
    assert re.fullmatch("[0-9a-f]{32}", sent.body["header"].pop("uid"))
    assert sent.path == "/v3.5/chat"
    assert sent.body == {
        "header": {"app_id": APP_ID},
        "parameter": {
            "chat": {
                "domain": "generalv3.5",
                "temperature": 0.5,
                "max_tokens": 7,
                "top_k": 4,
                "tools": [{"type": "web_search", "web_search": {"enable": False}}],
            }
        },
        "payload": {
            "message": {"text": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "你好"}]}
        },
    }


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (True, {"enable": True}),
        (False, {"enable": False}),
        ({"show_ref_label": True}, {"enable": True, "show_ref_label": True}),
        ({"enable": False}, {"enable": False}),
    ],
)
async def test_web_search(lite: Spark, upstream: FakeSpark, wanted: Any, sent: dict[str, bool]) -> None:
    """Only the model's own parameter switches the web search on."""
    await collect(lite.stream(request(parameters={"web_search": wanted}), KEY))

    assert upstream.requests[0].chat["tools"] == [{"type": "web_search", "web_search": sent}]
    assert "web_search" not in upstream.requests[0].chat


@pytest.mark.parametrize(
    ("given", "sent"), [("resource-1", ["resource-1"]), (["one", "two"], ["one", "two"]), ("", None), (None, None)]
)
async def test_fine_tuned_model(lite: Spark, upstream: FakeSpark, given: Any, sent: list[str] | None) -> None:
    """The parameter `patch_id` goes into the header as a list, `search_disable` beside the domain."""
    await collect(lite.stream(request("lite", parameters={"patch_id": given, "search_disable": True}), KEY))

    body = upstream.requests[0].body
    assert body["header"].get("patch_id") == sent
    assert upstream.requests[0].chat == {
        "domain": "lite",
        "search_disable": True,
        "tools": [{"type": "web_search", "web_search": {"enable": False}}],
    }


async def test_fields_to_leave_out(lite: Spark, upstream: FakeSpark) -> None:
    """A field that the route drops is not sent, those of ours included."""
    parameters: dict[str, Any] = {"top_k": 4, "temperature": 0.5}
    await collect(lite.stream(request("lite", parameters=parameters, drop=frozenset({"tools", "top_k"})), KEY))

    assert upstream.requests[0].chat == {"domain": "lite", "temperature": 0.5}


async def test_headers_and_query_of_the_endpoint(upstream: FakeSpark) -> None:
    """Headers of the endpoint go with the handshake, its query stands behind the signature, which still fits."""
    headers, query = (("X-Gateway-Key", "abc"),), (("tenant", "a b"), ("tenant", "c&d"))
    provider = Spark(Endpoint(upstream.base_url, headers=headers, query=query))
    assert text(await collect(provider.stream(request("lite"), KEY))) == PLAIN
    await provider.aclose()

    sent = upstream.requests[0]
    assert (sent.path, sent.headers["x-gateway-key"]) == ("/v1.1/chat", "abc")
    assert sent.query.keys() == {"authorization", "date", "host", "tenant"}
    url = signed_url("wss://h/v1.1/chat?x=1", "", credentials(KEY), NOW, query=[("host", "gateway"), *query])
    assert url.count("host=") == 1
    assert url.endswith("&host=gateway&tenant=a+b&tenant=c%26d")


async def test_no_token_cap(lite: Spark, upstream: FakeSpark) -> None:
    """A model without a token cap field gets none."""
    await collect(lite.stream(request(parameters={"max_tokens": 7}, token_cap_field="none"), KEY))

    assert "max_tokens" not in upstream.requests[0].chat


def test_uid() -> None:
    """A uid is 32 hexadecimal characters, never the same twice."""
    uids = {fresh_uid("0123abcd") for _ in range(100)}

    assert len(uids) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", uid) for uid in uids)


@pytest.mark.parametrize("domain", [domain for domain in VERSIONS if domain != "kjwx"])
async def test_versions(provider: Spark, upstream: FakeSpark, domain: str) -> None:
    """Every version is asked at its path, with as many tokens as it gives, with or without a `system` message."""
    prompt = (PromptMessage("system", "be brief"), PromptMessage("user", "hi"))
    version = VERSIONS[domain]
    parameters = {"max_tokens": version.max_tokens[1], "temperature": version.max_temperature}

    events = await collect(provider.stream(request(domain, *prompt, parameters=parameters), KEY))

    assert text(events) == PLAIN
    assert upstream.requests[0].path == version.path
    assert (upstream.requests[0].text[0]["role"] == "system") == version.system


@pytest.mark.parametrize(
    ("domain", "temperature", "good"),
    [
        ("lite", 0, False),
        ("lite", 0.01, True),
        ("lite", 1, True),
        ("lite", 1.01, False),
        ("lite", -1, False),
        ("lite", "warm", False),
        ("x1", 0, False),
        ("x1", 2, True),
        ("x1", 2.1, False),
    ],
)
async def test_temperature(provider: Spark, upstream: FakeSpark, domain: str, temperature: Any, good: bool) -> None:
    """A temperature that the version does not take is refused here, before anything is sent."""
    asking = request(domain, parameters={"temperature": temperature})
    if good:
        assert text(await collect(provider.stream(asking, KEY))) == PLAIN
        return
    with pytest.raises(UpstreamFailed) as failure:
        await collect(provider.stream(asking, KEY))
    assert (failure.value.scope, failure.value.vendor_code) == ("all", "bad_temperature")
    with pytest.raises(BadParameter) as refused:
        await collect(provider.stream(replace(asking, given=frozenset({"temperature"})), KEY))
    assert refused.value.param == "temperature"
    assert upstream.requests == []


@pytest.mark.parametrize("key", [None, "", "a:b", "a::c", "toolong99:b:c", "a:b\r\n:c", "a:密:c"])
async def test_malformed_key(lite: Spark, upstream: FakeSpark, key: str | None) -> None:
    """A key without its three parts is disabled without being sent or shown."""
    failure = await failure_of(lite, key)

    assert (failure.action, failure.scope, failure.vendor_code) == ("disable", "key", "malformed_key")
    assert upstream.requests == []


def test_credentials_do_not_show() -> None:
    """The parts of a key appear nowhere they might be printed."""
    assert repr(credentials(KEY)) == "Credentials(...)"


async def test_reasoning(lite: Spark) -> None:
    """Thinking text is kept apart."""
    events = await collect(lite.stream(request("reasoning"), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
    assert isinstance(events[0], Reasoning)


@pytest.mark.parametrize("model", ["plugins", "done_then_reset", "code_open:10017", "gpt-4"])
async def test_leniency(lite: Spark, upstream: FakeSpark, model: str) -> None:
    """Frames without choices, trouble after the completion and an uncleared history change nothing."""
    upstream.keys[API_KEY] = model
    events = await collect(lite.stream(request("lite"), KEY))

    assert text(events) == PLAIN
    assert events[-1] == Finished("stop")


async def test_last_word_is_waited_for_only_so_long(
    lite: Spark, upstream: FakeSpark, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not close after its completion delays the end by a moment, and its socket is closed."""
    monkeypatch.setattr(adapter, "LAST_WORD_S", 0.2)
    started = time.monotonic()

    events = await collect(lite.stream(request("done_open"), KEY))

    assert events[-1] == Finished("stop")
    # The other clocks are 60 s.
    assert 0.2 <= time.monotonic() - started < 50
    await until(lambda: upstream.requests[0].closed_by_peer_at)


async def test_slow_reader_is_no_idle_upstream(brisk: Spark) -> None:
    """Time the reader takes does not count against the upstream."""
    events: list[Event] = []
    async for event in brisk.stream(request("paced:4:20"), KEY):
        events.append(event)
        await asyncio.sleep(BRISK.idle * 1.2)

    assert events[-1] == Finished("stop")


async def test_completion_without_end(upstream: FakeSpark) -> None:
    """Frames that are each well-formed and never end fail at a bound, with little memory."""
    provider = Spark(Endpoint(upstream.base_url))
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamFailed) as failure:
            async for _ in provider.stream(request("endless"), KEY):
                pass
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()
        await provider.aclose()

    assert failure.value.vendor_code == "answer_too_large"


async def test_prompt_too_long(lite: Spark, upstream: FakeSpark) -> None:
    """A prompt that is too long loses its oldest turns, and then works; a lone message cannot."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]

    with pytest.raises(Retry) as retry:
        await collect(lite.stream(request("context:3", *turns), KEY))

    assert retry.value.learned == {}
    assert retry.value.otherwise.vendor_request_id == SID
    assert text(await collect(lite.stream(retry.value.request, KEY))) == PLAIN
    assert (await failure_of(lite, KEY, "code:10907", turns[0])).action == "user"


async def test_no_secret_is_shown(upstream: FakeSpark, caplog: pytest.LogCaptureFixture) -> None:
    """Neither failures nor their causes nor any log, however chatty, show the key, the address or the vendor's words.

    The test leaves out the log lines of the fake server.
    """
    caplog.set_level(logging.DEBUG)
    shown = ""
    lite = Spark(Endpoint(upstream.base_url, clocks=Clocks(connect=0.8, first=0.8, idle=0.8, total=8)))
    for model in ("code:11200", "code_mid:10012", "not_json", "reset_mid", "hang_mid", "huge_frame", "code:99999"):
        shown += everything(await failure_of(lite, KEY, model))
    for scenario in ("hang", "http:401:HMAC signature does not match", "redirect", "garbage_http", "bad_accept"):
        shown += everything(await failure_of(lite, upstream.key(scenario)))
    unreachable = Spark(Endpoint("ws://127.0.0.1:1/v1.1/chat"))
    shown += everything(await failure_of(unreachable))
    await unreachable.aclose()
    await lite.aclose()
    shown += "".join(record.getMessage() for record in caplog.records if record.name != "tests.spark")

    secrets = ("secret-of-", API_SECRET, API_KEY, "authorization=", "authorization':", "sk-leak", "/v1.1/chat")
    assert [secret for secret in secrets if secret in shown] == []


def everything(failure: BaseException | None) -> str:
    """Return all that a failure and its causes could print."""
    if failure is None:
        return ""
    return f"{failure!s} {failure!r} {vars(failure)}" + everything(failure.__cause__ or failure.__context__)


async def test_busy_then_ok(lite: Spark, upstream: FakeSpark) -> None:
    """A key that asked too often is good again later, each time as another user."""
    for _ in range(2):
        assert (await failure_of(lite, KEY, "busy_then_ok:11202:2")).vendor_code == "11202"
    assert text(await collect(lite.stream(request("busy_then_ok:11202:2"), KEY))) == PLAIN

    assert len({recorded.body["header"]["uid"] for recorded in upstream.requests}) == 3


async def test_many_streams_at_once(upstream: FakeSpark) -> None:
    """A hundred streams run side by side, each on its own connection."""
    provider = Spark(Endpoint(upstream.base_url))
    answers = await asyncio.gather(*(collect(provider.stream(request("paced:3:50"), KEY)) for _ in range(100)))
    await provider.aclose()

    assert {text(events) for events in answers} == {"0 1 2 "}
    assert upstream.connections == 100
