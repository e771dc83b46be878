"""A flag works as an asyncio.Event does."""

import asyncio

import pytest

from runtime.tasks import Flag


@pytest.mark.parametrize("kind", [asyncio.Event, Flag])
async def test_waiting(kind: type[asyncio.Event | Flag]) -> None:
    """All who wait go on once it is set, even if it is cleared at once; who leaves disturbs no other."""
    flag = kind()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    flag.set()
    flag.set()
    assert flag.is_set()
    flag.clear()
    _done, pending = await asyncio.wait(waiting, timeout=30)
    assert pending == set()
    assert [task.cancelled() for task in waiting] == [True, False, False]
    late = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    assert (late.done(), flag.is_set()) == (False, False)
    flag.set()
    await late
    await flag.wait()
