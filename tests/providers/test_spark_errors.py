"""What each refusal of Spark leads to, at the handshake and in a frame."""

import json

import pytest

from providers.wire import spark_errors
from providers.wire.base import Clocks
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.spark import Spark
from providers.wire.spark_errors import CODES, failure, refused, seconds_until_renewed
from tests.providers.streams import collect, request
from tests.spark import BAD_DATE, BAD_SIGNATURE, KEY, NO_SIGNATURE, UNKNOWN_KEY, FakeSpark
from tests.spark_scenarios import SID

HOUR = 3600.0
# 2024-01-02 11:04:05 in Beijing.
NOW = 1704164645.0
UNTIL_00_05 = 12 * HOUR + 55 * 60 + 55 + 5 * 60

# Kind, action, attempts, cooldown, scope.
WAIT = (UpstreamFailed, "wait", 2, 0.0, "key_model")
OPS = (UpstreamFailed, "ops", 0, 0.0, "key_model")
BLOCKED = (ContentBlocked, "user", 0, 0.0, "key_model")
TABLE = {
    10000: WAIT,
    10001: WAIT,
    10002: WAIT,
    10003: OPS,
    10004: OPS,
    10005: OPS,
    10006: WAIT,
    10007: WAIT,
    10008: (UpstreamFailed, "switch", 0, 60.0, "key_model"),
    10009: WAIT,
    10010: WAIT,
    10011: WAIT,
    10012: WAIT,
    10013: BLOCKED,
    10014: BLOCKED,
    10015: (UpstreamFailed, "disable", 0, 0.0, "key"),
    10016: (UpstreamFailed, "switch", 0, HOUR, "key_model"),
    10018: OPS,
    10019: BLOCKED,
    10021: BLOCKED,
    10110: WAIT,
    10163: OPS,
    10222: (UpstreamFailed, "wait", 2, 30.0, "key_model"),
    10223: (UpstreamFailed, "wait", 2, 30.0, "key_model"),
    10404: OPS,
    10907: (PromptTooLong, "user", 0, 0.0, "key_model"),
    11200: (UpstreamFailed, "disable", 0, 0.0, "key_model"),
    11201: (UpstreamFailed, "switch", 0, UNTIL_00_05, "key_model"),
    11202: (UpstreamFailed, "switch", 0, 2.0, "key_model"),
    11203: (UpstreamFailed, "switch", 0, 5.0, "key_model"),
    12345: (UpstreamFailed, "wait", 1, 0.0, "key_model"),
}


def row(found: ProviderError) -> tuple[type[ProviderError], str, int, float, str]:
    """Return what a failure says to do."""
    return type(found), found.action, found.attempts, found.cooldown_s, found.scope


async def failure_of(upstream: FakeSpark, model: str, key: str = KEY) -> ProviderError:
    """Return the failure of a request."""
    provider = Spark(upstream.base_url)
    with pytest.raises(ProviderError) as found:
        await collect(provider.stream(request(model), key))
    await provider.aclose()
    return found.value


def test_it_works() -> None:
    """A code leads to its row and carries what the vendor needs to look it up."""
    found = failure(11200, SID)

    assert (found.action, found.vendor_code, found.vendor_request_id) == ("disable", "11200", SID)


@pytest.mark.parametrize("code", TABLE)
async def test_codes(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Each code of a frame leads to its failure, its action and its cooldown, with the code and the sid."""
    async with FakeSpark() as upstream:
        # The signature needs the true time, the cooldown a known one.
        monkeypatch.setattr(spark_errors.time, "time", lambda: NOW)
        upstream.clock = lambda: NOW
        found = await failure_of(upstream, f"code:{code}")

    assert row(found) == pytest.approx(TABLE[code])
    assert (found.vendor_code, found.vendor_request_id) == (str(code), SID)
    assert "sk-leak" not in f"{found} {vars(found)}"


def test_the_table_is_complete() -> None:
    """Every code that has a row has been looked at here."""
    assert {int(code) for code in CODES} == TABLE.keys() - {12345}


@pytest.mark.parametrize("code", [10006, 10007])
def test_same_user_waits_a_moment(code: int) -> None:
    """The same user's other question is given one to three seconds to end."""
    assert all(1 <= (failure(code).retry_after or 0) <= 3 for _ in range(50))


def test_each_second_waits_longer_and_longer() -> None:
    """A key without another beside it is tried again after two, eight and thirty seconds."""
    assert failure(11202).waits == (2.0, 8.0, 30.0)
    assert failure(11203).waits == ()


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (NOW, UNTIL_00_05),
        # 00:00:00, 00:04:59, 00:05:00 and 23:59:59 in Beijing on 3 January 2024.
        (1704211200, 5 * 60),
        (1704211200 + 299, 1),
        (1704211200 + 300, 24 * HOUR),
        (1704211200 - 1, 5 * 60 + 1),
    ],
)
def test_volumes_come_back_after_midnight_in_beijing(now: float, seconds: float) -> None:
    """The daily volume is there again at 00:05 in Beijing, wherever this process runs."""
    assert seconds_until_renewed(now) == seconds


@pytest.mark.parametrize("code", ["x", 1.5, None, True, [1], {"a": 1}, "9" * 50, -1])
def test_odd_codes(code: object) -> None:
    """What is no code leads to the row of unknown ones and is not repeated at length."""
    found = failure(code)

    assert (found.action, found.attempts) == ("wait", 1)
    assert len(found.vendor_code) <= 16


KEY_DISABLED = (UpstreamFailed, "disable", 0, 0.0, "key")
ALL_OPS = (UpstreamFailed, "ops", 0, 0.0, "all")


@pytest.mark.parametrize(
    ("status", "message", "expected", "vendor_code"),
    [
        (401, NO_SIGNATURE, ALL_OPS, "unauthorized"),
        (401, UNKNOWN_KEY, KEY_DISABLED, "unknown_key"),
        (401, "HMAC signature cannot be verified: fail to retrieve credential", KEY_DISABLED, "unknown_key"),
        (401, "HMAC signature cannot be verified", KEY_DISABLED, "unknown_key"),
        (401, BAD_SIGNATURE, KEY_DISABLED, "bad_signature"),
        (403, BAD_DATE, ALL_OPS, "bad_clock"),
        (403, "Your IP address is not allowed", (UpstreamFailed, "switch", 0, HOUR, "key_model"), "forbidden"),
        (404, "no Route matched with those values", ALL_OPS, ""),
        (302, "", ALL_OPS, ""),
        (429, "API rate limit exceeded", (UpstreamFailed, "switch", 0, 20.0, "key_model"), "rate_limit"),
        (500, "", WAIT, ""),
        (502, "", WAIT, ""),
        (503, "", WAIT, ""),
        (504, "", WAIT, ""),
        (200, "hello", (UpstreamFailed, "wait", 1, 30.0, "key_model"), "not_a_websocket"),
    ],
)
async def test_handshakes(status: int, message: str, expected: tuple[object, ...], vendor_code: str) -> None:
    """Each refused handshake leads to its failure, with the gateway's id of the request."""
    async with FakeSpark() as upstream:
        found = await failure_of(upstream, "lite", upstream.key(f"http:{status}:{message}"))

    assert row(found) == expected
    assert (found.vendor_code, found.status) == (vendor_code, status)
    assert found.vendor_request_id == ("" if status == 200 else "req-1")


async def test_the_gateway_refuses() -> None:
    """Unknown keys, wrong secrets and wrong clocks are refused by the gateway itself, as the vendor's does."""
    async with FakeSpark() as upstream:
        assert (await failure_of(upstream, "lite", "abcd1234:nobody:x")).vendor_code == "unknown_key"
        assert (await failure_of(upstream, "lite", KEY[:-1] + "x")).vendor_code == "bad_signature"
        upstream.clock = lambda: 0
        assert (await failure_of(upstream, "lite")).vendor_code == "bad_clock"
        assert [recorded.refused for recorded in upstream.requests] == [401, 401, 403]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("scenario", "code"),
    [("garbage_http", "bad_http"), ("bad_accept", "bad_http"), ("cut_http", "network"), ("hang", "connect_timeout")],
)
async def test_broken_handshakes(scenario: str, code: str) -> None:
    """A handshake that is none, or that never ends, is a failure as well, and nobody tries again unasked."""
    async with FakeSpark() as upstream:
        provider = Spark(upstream.base_url, clocks=Clocks(connect=0.2))
        with pytest.raises(ProviderError) as found:
            await collect(provider.stream(request("lite"), upstream.key(scenario)))
        await provider.aclose()

    assert (found.value.action, found.value.vendor_code) == ("wait", code)
    assert upstream.connections == 1
    assert isinstance(found.value, UpstreamTimeout) == code.endswith("timeout")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"message": 1}', b"\xff"])
def test_bodies_that_say_nothing(body: bytes) -> None:
    """The status decides alone where the body does not help."""
    assert refused(401, {}, body).vendor_code == "unauthorized"
    assert refused(503, {}, body).action == "wait"


async def test_domain_and_path_must_fit() -> None:
    """A domain at another one's path, an app id of another key and a uid in use are refused by the vendor's codes."""
    async with FakeSpark() as upstream:
        assert (await failure_of(upstream, "generalv3.5")).vendor_code == "10404"
        assert (await failure_of(upstream, "no-such-domain")).vendor_code == "10003"
        assert (await failure_of(upstream, "lite", KEY.replace("abcd1234", "abcd1235"))).vendor_code == "11200"


def test_messages_are_ours() -> None:
    """What the gateway says is for deciding only."""
    body = json.dumps({"message": "HMAC signature does not match sk-leak"}).encode()

    assert "sk-leak" not in f"{refused(401, {}, body)} {vars(refused(401, {}, body))}"
