"""What each of Zhipu's error codes leads to, in v4 and in v3."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from providers.wire.base import Clocks, PromptMessage
from providers.wire.errors import ContentBlocked, PromptTooLong, ProviderError, Retry, UpstreamFailed
from providers.wire.openai_errors import read_complaint
from providers.wire.zhipu import Zhipu
from providers.wire.zhipu_errors import ZHIPU_CODES, plain_code, with_reset
from providers.wire.zhipu_v3 import ZhipuV3
from tests.providers.streams import collect, request
from tests.zhipu import KEY, SECRET, FakeZhipu
from tests.zhipu_scenarios import status_of

FAST = Clocks(connect=2, first=0.5, idle=0.5, total=5)
HOUR, DAY = 3600.0, 86_400.0
CHINA = timezone(timedelta(hours=8))
# Tuesday, 2 January 2024, 11:04:05 in China.
NOW = 1704164645.0

# code, class, action, attempts, cooldown, scope: section by section as the vendor lists them.
ROWS = [
    ("500", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1200", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1230", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1234", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1000", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1001", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1002", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1004", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1003", UpstreamFailed, "ops", 0, 0.0, "all"),
    ("1100", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1120", UpstreamFailed, "wait", 2, 0.0, "key_model"),
    ("1110", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1111", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1112", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1121", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1113", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1210", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1212", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1213", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1214", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1215", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1211", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1220", UpstreamFailed, "switch", 0, HOUR, "key_model"),
    ("1221", UpstreamFailed, "ops", 0, 0.0, "all"),
    ("1222", UpstreamFailed, "ops", 0, 0.0, "all"),
    ("1231", UpstreamFailed, "ops", 0, 0.0, "key_model"),
    ("1261", PromptTooLong, "user", 0, 0.0, "key_model"),
    ("1300", ContentBlocked, "user", 0, 0.0, "key_model"),
    ("1301", ContentBlocked, "user", 0, 0.0, "key_model"),
    ("1302", UpstreamFailed, "switch", 0, 5.0, "key_model"),
    ("1303", UpstreamFailed, "switch", 0, 20.0, "key_model"),
    # Until 00:05 of the next day in China.
    ("1304", UpstreamFailed, "switch", 0, 13 * HOUR - 4 * 60 - 5 + 5 * 60, "key_model"),
    ("1305", UpstreamFailed, "wait", 2, 0.0, "all"),
    ("1312", UpstreamFailed, "wait", 2, 0.0, "all"),
    ("1308", UpstreamFailed, "switch", 0, HOUR, "key"),
    ("1310", UpstreamFailed, "switch", 0, HOUR, "key"),
    ("1309", UpstreamFailed, "disable", 0, 0.0, "key"),
    ("1311", UpstreamFailed, "switch", 0, HOUR, "key_model"),
    ("1313", UpstreamFailed, "switch", 0, HOUR, "key"),
]
every_row = pytest.mark.parametrize(("code", "kind", "action", "attempts", "cooldown_s", "scope"), ROWS)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeZhipu]:
    """A fake upstream whose clock stands still."""
    async with FakeZhipu() as server:
        server.clock = lambda: NOW
        yield server


async def failure_of(provider: Zhipu, model: str) -> ProviderError:
    """Return what stands in the end: for a `Retry`, the failure of the request that it asks for."""
    asked = request(model)
    try:
        while True:
            with pytest.raises((ProviderError, Retry)) as raised:
                await collect(provider.stream(asked, KEY))
            if isinstance(raised.value, ProviderError):
                return raised.value
            assert isinstance(raised.value, Retry)
            assert raised.value.learned == {}
            assert asked.generation == request().generation, "a second resend"
            asked = raised.value.request
    finally:
        await provider.aclose()


def check(failure: ProviderError, *expected: object) -> None:
    """Compare a failure with its row, and look for secrets in everything that could be logged."""
    kind, action, attempts, cooldown_s, scope, code = expected
    assert type(failure) is kind
    assert (failure.action, failure.attempts, failure.scope) == (action, attempts, scope)
    assert failure.cooldown_s == pytest.approx(cooldown_s)
    assert failure.vendor_code == code
    told = f"{failure!r} {vars(failure)} {failure.__cause__!r} {failure.__context__!r}"
    assert not [secret for secret in (KEY, SECRET, "eyJ", "leak", "http://") if secret in told]


def test_it_works() -> None:
    """Every code of the vendor has a row, and every row a test."""
    assert {code for code in ZHIPU_CODES if code.isdecimal()} == {row[0] for row in ROWS}


@every_row
@pytest.mark.parametrize("scenario", ["error", "platform", "error_first"])
async def test_table(
    upstream: FakeZhipu,
    scenario: str,
    code: str,
    kind: type[ProviderError],
    action: str,
    attempts: int,
    cooldown_s: float,
    scope: str,
) -> None:
    """In v4, each code leads to its row: with its HTTP status, inside 200, and as an event."""
    provider = Zhipu(upstream.base_url, clocks=FAST, clock=lambda: NOW)

    failure = await failure_of(provider, f"{scenario}:{code}")

    check(failure, kind, action, attempts, cooldown_s, scope, code)
    assert failure.vendor_request_id == "req-1"
    assert failure.status == (status_of(code) if scenario == "error" else 500 if code == "500" else 200)


@every_row
@pytest.mark.parametrize("scenario", ["error_body", "error_200", "error_json", "error_object", "error_plain"])
async def test_table_of_v3(
    upstream: FakeZhipu,
    scenario: str,
    code: str,
    kind: type[ProviderError],
    action: str,
    attempts: int,
    cooldown_s: float,
    scope: str,
) -> None:
    """In v3, each code leads to the same row in whatever form it comes."""
    provider = ZhipuV3(upstream.v3_url, clocks=FAST, clock=lambda: NOW)

    failure = await failure_of(provider, f"{scenario}:{code}")

    check(failure, kind, action, attempts, cooldown_s, scope, code)


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [(429, "1399", "switch"), (401, "1099", "disable"), (500, "9", "wait"), (400, "", "ops")],
)
def test_unknown_codes(status: int, code: str, action: str) -> None:
    """A code that is new is decided by the status."""
    complaint = read_complaint(status, json.dumps({"error": {"code": code, "message": "m"}}).encode(), {})

    assert Zhipu("http://upstream.invalid").classify(complaint).action == action


def seconds(code: str, message: str, now: float = NOW) -> float | None:
    """Return the hint in an error of that code and message."""
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return with_reset(read_complaint(429, body, {}), now).retry_after


@pytest.mark.parametrize("code", ["1308", "1310"])
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("已达到 5 小时的使用上限。您的限额将在 2024-01-02 13:04:05 重置。", 2 * HOUR),
        ("Usage limit reached for 5 hour. Your limit will reset at 2024-01-02 11:05:05", 60.0),
        ("已达到每周/每月使用上限。您的限额将在 2024-02-01 11:04:05 重置。", 30 * DAY),
        ("reset at 2024-01-02T11:05:05", 60.0),
        # Just over: the clocks differ, or the answer took its time.
        ("reset at 2024-01-02 11:04:00", 0.0),
        # A time of UTC, a year ahead, no time at all: the row's hour holds.
        ("reset at 2024-01-02 03:30:00", None),
        ("reset at 2025-01-02 11:04:05", None),
        ("reset at 2024-13-41 25:61:00", None),
        ("已达到使用上限", None),
    ],
)
def test_reset_of_a_plan(code: str, message: str, expected: float | None) -> None:
    """The time in the message is China's; one that makes no sense is none."""
    assert seconds(code, message) == expected


@pytest.mark.parametrize(("hour", "minute", "expected"), [(0, 4, 60.0), (0, 5, DAY), (23, 59, 360.0), (12, 5, DAY / 2)])
def test_reset_of_a_day(hour: int, minute: int, expected: float) -> None:
    """The daily count begins anew five minutes after midnight in China, wherever we are."""
    now = datetime(2024, 5, 31, hour, minute, tzinfo=CHINA)

    assert seconds("1304", "", now.astimezone(UTC).timestamp()) == expected


async def test_reset_in_a_stream(upstream: FakeZhipu) -> None:
    """The time is the cooldown of the key, a second at least; other codes are not searched for one."""
    for message, cooldown in (("reset at 2024-01-02 11:05:05", 60.0), ("reset at 2024-01-02 11:04:00", 1.0)):
        provider = Zhipu(upstream.base_url, clock=lambda: NOW)
        failure = await failure_of(provider, f"error:1308:{message}")
        assert (failure.action, failure.scope, failure.cooldown_s) == ("switch", "key", cooldown)

    assert seconds("1302", "since 2024-01-02 11:05:05") is None


async def test_too_long(upstream: FakeZhipu) -> None:
    """A prompt that is too long comes back shorter, as with any compatible server."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]
    for provider in (Zhipu(upstream.base_url, clock=lambda: NOW), ZhipuV3(upstream.v3_url, clock=lambda: NOW)):
        model = "error_body:1261" if isinstance(provider, ZhipuV3) else "error:1261"
        with pytest.raises(Retry) as retry:
            await collect(provider.stream(request(model, *turns), KEY))
        assert 0 < len(retry.value.request.messages) < 5
        assert isinstance(retry.value.otherwise, PromptTooLong)
        await provider.aclose()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[1214][prompt 参数非法。请检查文档。]", "1214"),
        ("[1214][modelCode：不存在][202609050735186a34d858a4cc4fbf]", "1214"),
        ("模型服务异常", ""),
        ("see [1113][this]", ""),
        ("[1113]", ""),
    ],
)
def test_plain_codes(text: str, code: str) -> None:
    """A code in brackets counts only where the vendor writes it."""
    assert plain_code(text) == code
