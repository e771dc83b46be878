"""The outcome of each refusal of Spark, at the handshake and in a frame."""

import json
from dataclasses import replace

import pytest

from providers.wire.base import Endpoint
from providers.wire.errors import ProviderError, UpstreamTimeout, seconds_until_renewed
from providers.wire.spark.adapter import Spark
from providers.wire.spark.errors import failure, refused
from tests.providers.streams import PATIENT, collect, request
from tests.spark import KEY, FakeSpark
from tests.spark_scenarios import SID

HOUR = 3600.0
# 2024-01-02 11:04:05 in Beijing.
NOW = 1704164645.0
UNTIL_00_05 = 12 * HOUR + 55 * 60 + 55 + 5 * 60


async def failure_of(upstream: FakeSpark, model: str, key: str = KEY) -> ProviderError:
    """Return the failure of a request."""
    provider = Spark(Endpoint(upstream.base_url))
    with pytest.raises(ProviderError) as found:
        await collect(provider.stream(request(model), key))
    await provider.aclose()
    return found.value


def test_code_leads_to_its_row() -> None:
    """A code leads to its row and carries what the vendor needs to look it up."""
    found = failure(11200, SID)

    assert (found.action, found.vendor_code, found.vendor_request_id) == ("disable", "11200", SID)


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
    """A malformed code leads to the row of unknown codes and is not repeated at length."""
    found = failure(code)

    assert (found.action, found.attempts) == ("wait", 1)
    assert len(found.vendor_code) <= 16


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
    """A malformed or endless handshake is a failure, and the client does not try again by itself."""
    async with FakeSpark() as upstream:
        clocks = replace(PATIENT, connect=0.2) if scenario == "hang" else PATIENT
        provider = Spark(Endpoint(upstream.base_url, clocks=clocks))
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
    """The gateway's words are for deciding only."""
    body = json.dumps({"message": "HMAC signature does not match sk-leak"}).encode()

    assert "sk-leak" not in f"{refused(401, {}, body)} {vars(refused(401, {}, body))}"
