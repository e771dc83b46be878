"""Every fault over every protocol ends as a typed failure in time, and leaves nothing behind."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from providers.wire.base import Clocks, Endpoint, Event, Provider
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.spark.adapter import Spark
from providers.wire.spark.http import SparkHTTP
from providers.wire.zhipu.adapter import Zhipu
from providers.wire.zhipu.v3 import ZhipuV3
from tests.misbehaviour import FAULTS, HUGE, Fault, full_address
from tests.providers.streams import collect, request, text, until
from tests.readers import until_below
from tests.spark import FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.upstreams import FakeOpenAI
from tests.zhipu import FakeZhipu

# Only the clock that a fault is to run into is short, so that a loaded machine runs into no other.
SHORT, LONG, IN_TIME = 0.5, 60.0, 30.0
# Delays are the best of several: what a loaded machine adds is not ours.
PROTOCOLS: dict[str, tuple[Any, Any, str]] = {
    "openai": (FakeOpenAI, OpenAICompatible, "base_url"),
    "spark": (FakeSpark, Spark, "base_url"),
    "spark_http": (FakeSparkHTTP, SparkHTTP, "base_url"),
    "zhipu": (FakeZhipu, Zhipu, "base_url"),
    "zhipu_v3": (FakeZhipu, ZhipuV3, "v3_url"),
}
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def clocks_for(fault: Fault) -> Clocks:
    """Return clocks of which only the one that this fault is to run into is short."""
    long = {"connect": LONG, "first": LONG, "idle": LONG, "total": 2 * LONG}
    clock = fault.vendor_code.removesuffix("_timeout")
    return Clocks(**{**long, clock: SHORT} if clock in long else long)


@asynccontextmanager
async def talking(protocol: str, does: str, clocks: Clocks) -> AsyncIterator[tuple[Any, Provider, str]]:
    """Yield a fake, a provider that reaches it, and a key that gets this scenario."""
    fake, provider, address = PROTOCOLS[protocol]
    async with fake() as upstream:
        base_url = getattr(upstream, address)
        with full_address() as elsewhere:
            here = f"127.0.0.1:{upstream.port}"
            talking = provider(Endpoint(base_url if does else base_url.replace(here, elsewhere), clocks=clocks))
            try:
                yield upstream, talking, upstream.key(does)
            finally:
                await talking.aclose()


def everything(failure: BaseException | None) -> str:
    """Return all that a failure and its causes could print."""
    if failure is None:
        return ""
    before = failure.__cause__ if failure.__suppress_context__ else failure.__context__
    return f"{failure!s} {failure!r} {vars(failure)}" + everything(before)


def test_every_protocol_is_in_the_table() -> None:
    """The table of faults has every protocol, and no other."""
    assert {protocol for protocol, _name in FAULTS} == PROTOCOLS.keys()


@dataclass
class Met:
    """The outcome of a fault."""

    failure: ProviderError
    shown: str
    seconds: float
    told: str


@pytest.fixture(scope="module")
def met() -> dict[tuple[str, str], Met]:
    """All faults that are no flood, at once; then nothing is left of them."""

    async def meet(protocol: str, fault: Fault) -> Met:
        events: list[Event] = []
        async with talking(protocol, fault.does, clocks_for(fault)) as (upstream, provider, key):
            started = time.monotonic()
            with pytest.raises(ProviderError) as failure:
                await collect(provider.stream(request("lite"), key), events)
            seconds = time.monotonic() - started
            # A connection whose body came to its end may be kept for the next request.
            await until(lambda: upstream.open_streams == 0)
            await provider.aclose()
            await until(lambda: upstream.open_connections == 0)
        told = everything(failure.value)
        leaks = [secret for secret in (*key.split(":"), "sk-leak", "127.0.0.1:") if secret in told]
        return Met(failure.value, text(events), seconds, " ".join(leaks))

    async def meet_all() -> dict[tuple[str, str], Met]:
        places = [place for place in FAULTS if place[1] not in HUGE]
        found = await asyncio.gather(*(meet(protocol, FAULTS[protocol, name]) for protocol, name in places))
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        return dict(zip(places, found, strict=True))

    return asyncio.run(meet_all())


@pytest.mark.parametrize(("protocol", "name"), [place for place in FAULTS if place[1] not in HUGE])
def test_faults(met: dict[tuple[str, str], Met], protocol: str, name: str) -> None:
    """A typed failure within its clock, after the text that came, which tells nothing; then no connection is left."""
    fault, found = FAULTS[protocol, name], met[protocol, name]
    assert (found.failure.vendor_code, found.failure.code) == (fault.vendor_code, fault.code)
    assert isinstance(found.failure, UpstreamTimeout) == (fault.code == "upstream_timeout")
    assert (found.shown, found.told) == (fault.shown, "")
    assert found.seconds < IN_TIME


@pytest.mark.parametrize(("protocol", "name"), [place for place in FAULTS if place[1] in HUGE])
async def test_floods(protocol: str, name: str) -> None:
    """A stream that never ends fails at a bound, with little memory."""
    async with talking(protocol, FAULTS[protocol, name].does, Clocks()) as (upstream, provider, key):
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamFailed) as failure:
                await collect(provider.stream(request("lite"), key))
            assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
        finally:
            tracemalloc.stop()
        await until(lambda: upstream.open_connections == 0)

    assert failure.value.vendor_code == FAULTS[protocol, name].vendor_code


@every_protocol
async def test_total_clock(protocol: str) -> None:
    """A stream that makes progress for ever ends with the total clock, and is not asked for again."""
    async with talking(protocol, "paced:1000:10", Clocks(total=0.3)) as (_upstream, provider, key):
        with pytest.raises(UpstreamTimeout) as failure:
            await collect(provider.stream(request("lite"), key))

    assert (failure.value.vendor_code, failure.value.attempts) == ("total_timeout", 0)


@every_protocol
@pytest.mark.parametrize("name", ["no head", "silence", "silence after text", "signs of life"])
async def test_cancelling_closes_the_upstream(protocol: str, name: str) -> None:
    """Cancelling the reader closes the upstream within 50 ms, before the first byte too."""
    async with talking(protocol, FAULTS[protocol, name].does, Clocks()) as (upstream, provider, key):
        delays: list[float] = []
        for _ in until_below(0.05, delays):
            reading = asyncio.ensure_future(collect(provider.stream(request("lite"), key)))
            await until(lambda: len(upstream.requests) > len(delays))
            await asyncio.sleep(0.05)
            cancelled_at = time.monotonic()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await until(lambda: upstream.requests[-1].closed_by_peer_at)
            delays.append(upstream.requests[-1].closed_by_peer_at - cancelled_at)

    assert min(delays) < 0.05
