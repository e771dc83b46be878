"""Beginnings in turn: those beyond what the process can start wait in order, and not for long."""

import asyncio
import time
from typing import Any

import pytest

from chat.generations.pace import AT_ONCE, LONGEST_PAUSE_SECONDS, MANY_RUNNING, SMOOTH_SECONDS, WITHIN_A_TURN, Pace
from web.refusals import ServiceUnavailable


@pytest.mark.contract("setting: MAX_START_SECONDS")
async def test_a_prompt_does_not_wait_for_long(settings: Any) -> None:
    """A prompt that cannot begin within MAX_START_SECONDS is refused, and may be repeated."""
    settings.MAX_START_SECONDS = 0.1
    pace, leave = Pace(lambda: 0), asyncio.Event()

    async def begin() -> None:
        async with pace.turn():
            await leave.wait()

    beginning = [asyncio.create_task(begin()) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceUnavailable) as refused:
        await begin()
    assert refused.value.wait_seconds
    leave.set()
    await asyncio.gather(*beginning)
    async with pace.turn():
        pass


async def test_prompts_begin_in_order(settings: Any) -> None:
    """Prompts begin in the order in which they came; one that is refused later keeps no other waiting."""
    settings.MAX_START_SECONDS = 60
    pace, began = Pace(lambda: 0), list[int]()

    async def begin(number: int) -> None:
        async with pace.turn():
            began.append(number)
            await asyncio.sleep(0.001)

    await asyncio.gather(*map(begin, range(3 * AT_ONCE)))
    assert began == list(range(3 * AT_ONCE))


async def test_the_first_of_a_burst_predict_nothing(settings: Any) -> None:
    """The idle time before a burst is no interval between beginnings: all of the burst begin."""
    settings.MAX_START_SECONDS = 60
    pace, began = Pace(lambda: 0), list[int]()

    async def begin(number: int) -> None:
        async with pace.turn():
            await asyncio.sleep(0.001)
            began.append(number)

    for burst in range(2):
        await asyncio.gather(*map(begin, range(300)))
        assert len(began) == (burst + 1) * 300
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("running", [0, MANY_RUNNING])
async def test_streams_have_their_turn_between_beginnings(settings: Any, running: int) -> None:
    """While turns of many streams take long, few prompts begin in each of them."""
    settings.MAX_START_SECONDS = 60
    pace, began, busy = Pace(lambda: running), list[float](), True

    async def streams() -> None:
        while busy:
            until = time.thread_time() + 2 * SMOOTH_SECONDS
            while time.thread_time() < until:
                pass  # serve all streams once
            await asyncio.sleep(0)

    async def begin() -> None:
        async with pace.turn():
            began.append(time.monotonic())

    serving = asyncio.create_task(streams())
    await asyncio.sleep(0)
    await asyncio.gather(*(begin() for _ in range(2 * WITHIN_A_TURN + 1)))
    busy = False
    await serving
    pauses = [later - earlier for earlier, later in zip(began, began[WITHIN_A_TURN:], strict=False)]
    is_paused = min(pauses) >= min(2 * SMOOTH_SECONDS, LONGEST_PAUSE_SECONDS)
    assert is_paused == bool(running)
