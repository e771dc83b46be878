"""Detached tasks: kept alive, in an empty context, awaited together."""

import asyncio
import contextvars

from runtime.tasks import Drain, TaskSet


async def test_a_detached_task_runs_to_its_end_in_an_empty_context() -> None:
    tasks, caller = TaskSet(), contextvars.ContextVar("caller", default="no caller")
    results: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        results.append(caller.get())

    caller.set("a caller")
    assert tasks.start(work(), name="work").get_name() == "work"
    assert len(tasks) == 1
    await tasks.wait()
    assert (len(tasks), results) == (0, ["no caller"])


async def test_wait_includes_tasks_that_start_meanwhile() -> None:
    tasks, results = TaskSet(), list[str]()

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        if name == "first":
            tasks.start(work("second"))
        results.append(name)

    tasks.start(work("first"))
    await tasks.wait()
    assert results == ["first", "second"]


async def test_drain_awaits_its_callbacks_in_order() -> None:
    drain, finished = Drain(), list[str]()

    async def finish(name: str) -> None:
        await asyncio.sleep(0)
        finished.append(name)

    drain.on_drain(lambda: finish("first"))
    drain.on_drain(lambda: finish("second"))
    assert not drain.active
    drain.begin()
    assert drain.active
    await drain.finish()
    assert finished == ["first", "second"]
