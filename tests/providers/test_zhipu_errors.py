"""The outcome of each of Zhipu's error codes, in v4 and in v3."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from providers.wire.base import Endpoint, PromptMessage
from providers.wire.errors import PromptTooLong, ProviderError, Retry
from providers.wire.openai.errors import read_complaint
from providers.wire.zhipu.adapter import Zhipu
from providers.wire.zhipu.errors import ZHIPU_CODES, plain_code, with_reset
from providers.wire.zhipu.v3 import ZhipuV3
from tests.providers.streams import PATIENT, collect, request
from tests.zhipu import KEY, SECRET, FakeZhipu

HOUR, DAY = 3600.0, 86_400.0
CHINA = timezone(timedelta(hours=8))
# Tuesday, 2 January 2024, 11:04:05 in China.
NOW = 1704164645.0

every_code = pytest.mark.parametrize("code", [code for code in ZHIPU_CODES if code.isdecimal()])


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


def check(failure: ProviderError, code: str) -> None:
    """Compare a failure with the row of its code, and look for secrets in everything that could be logged."""
    row = ZHIPU_CODES[code]
    assert (type(failure), failure.vendor_code) == (row.kind, code)
    assert (failure.action, failure.attempts, failure.scope) == (row.action, row.attempts, row.scope)
    told = f"{failure!r} {vars(failure)} {failure.__cause__!r} {failure.__context__!r}"
    assert not [secret for secret in (KEY, SECRET, "eyJ", "leak", "http://") if secret in told]


@every_code
@pytest.mark.parametrize("form", ["platform", "platform_event", "error_first"])
async def test_forms(upstream: FakeZhipu, form: str, code: str) -> None:
    """In v4, a code leads to its row inside 200 as well, as a whole body and as an event."""
    provider = Zhipu(Endpoint(upstream.base_url, clocks=PATIENT), clock=lambda: NOW)

    failure = await failure_of(provider, f"{form}:{code}")

    check(failure, code)
    assert failure.vendor_request_id == "req-1"


@every_code
@pytest.mark.parametrize("form", ["error_200", "error_json", "error_object", "error_plain"])
async def test_forms_of_v3(upstream: FakeZhipu, form: str, code: str) -> None:
    """In v3, a code leads to its row in whatever form it comes."""
    provider = ZhipuV3(Endpoint(upstream.v3_url, clocks=PATIENT), clock=lambda: NOW)

    check(await failure_of(provider, f"{form}:{code}"), code)


@pytest.mark.parametrize(
    ("status", "code", "action"),
    [(429, "1399", "switch"), (401, "1099", "disable"), (500, "9", "wait"), (400, "", "ops")],
)
def test_unknown_codes(status: int, code: str, action: str) -> None:
    """A code that is new is decided by the status."""
    complaint = read_complaint(status, json.dumps({"error": {"code": code, "message": "m"}}).encode(), {})

    assert Zhipu(Endpoint("http://upstream.invalid")).classify(complaint).action == action


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
        # The time has just passed, because the clocks differ or the response was slow.
        ("reset at 2024-01-02 11:04:00", 0.0),
        # These times are ignored, so the error table's hour applies: in UTC, a year ahead, and invalid.
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
        provider = Zhipu(Endpoint(upstream.base_url), clock=lambda: NOW)
        failure = await failure_of(provider, f"error:1308:{message}")
        assert (failure.action, failure.scope, failure.cooldown_s) == ("switch", "key", cooldown)

    assert seconds("1302", "since 2024-01-02 11:05:05") is None


async def test_too_long(upstream: FakeZhipu) -> None:
    """A prompt that is too long comes back shorter, as with any compatible server."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]
    for provider in (
        Zhipu(Endpoint(upstream.base_url), clock=lambda: NOW),
        ZhipuV3(Endpoint(upstream.v3_url), clock=lambda: NOW),
    ):
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
