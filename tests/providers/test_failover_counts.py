"""How often the requests that pass a route over change its row."""

import asyncio
from typing import Any, cast

import pytest

from providers import failover
from providers.failover import Failovers, PassedOver
from providers.models import ChatModel, Route
from providers.snapshot import Configuration
from runtime import database
from runtime.tasks import TaskSet
from tests.providers.bench import Bench, bench, model, with_keys

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["bench", "model"]


class Reader:
    """Counts how often the configuration must be read again."""

    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


async def row() -> tuple[int, str, bool]:
    found = await database.run(Route.objects.get)
    return found.passed_over, found.passed_over_reason, found.passed_over_since is not None


async def test_requests_in_one_second_change_the_row_once(
    model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted; only a route that goes out of use or comes back changes the configuration."""
    await database.run(with_keys, model, "one")
    config = await bench.config()
    (route,) = config.routes
    reader, tasks, changes = Reader(), TaskSet(), list[object]()
    failovers = Failovers(cast("Configuration", reader), tasks)
    record = failover._record

    def counted(*arguments: Any) -> bool:
        changes.append(arguments)
        return record(*arguments)

    monkeypatch.setattr(failover, "_record", counted)
    monkeypatch.setattr(failover, "SPACING_SECONDS", 60.0)

    async def pass_over(times: int) -> None:
        for _request in range(times):
            failovers.note(config, [PassedOver(route, "is open")], None)
            await asyncio.sleep(0)
            await tasks.wait()

    await pass_over(1)
    failovers.flush()
    await tasks.wait()
    assert (await row(), len(changes), reader.forgotten) == ((1, "is open", True), 1, 1)
    await pass_over(20)
    assert len(changes) == 1
    failovers.flush()
    await tasks.wait()
    assert (await row(), len(changes), reader.forgotten) == ((21, "is open", True), 2, 1)
    failovers.note(config, [], route)
    failovers.flush()
    await tasks.wait()
    assert (await row(), len(changes), reader.forgotten) == ((0, "", False), 3, 2)


async def test_waiting_counts_are_stored_after_a_second(
    model: ChatModel, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No further request is needed to store what was counted."""
    monkeypatch.setattr(failover, "SPACING_SECONDS", 0.2)
    await database.run(with_keys, model, "one")
    config = await bench.config()
    tasks = TaskSet()
    failovers = Failovers(bench.configuration, tasks)
    for _request in range(2):
        failovers.note(config, [PassedOver(config.routes[0], "is open")], None)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        while (await row())[0] != 2:
            await asyncio.sleep(0.05)
    await tasks.wait()
