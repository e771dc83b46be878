"""What `benchmarks.ledger` measures, each in a process of its own that has Django set up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from chat.generations import service
from chat.generations.request import Ask
from quotas import ledger
from quotas.errors import QuotaExhausted
from quotas.models import Quota
from runtime import database
from runtime.apps import runtime
from tests import factories

FEW, MANY = 1_000, 1_000_000
ANSWERS, REFUSALS, CALLERS = 2_000, 3_000, 16
ROUNDS = 20


def answers_per_second() -> float:
    """Charge answers to one after the other of a hundred people, as a serving process does."""
    person, model = somebody(daily_limit=None)
    people = [person, *(factories.user(password=None) for _number in range(99))]

    def hold(user_id: int, reference: str) -> int:
        with transaction.atomic():
            return ledger.reserve(user_id, model.pk, reference).quota_id

    def end(user_id: int, quota_id: int, reference: str) -> None:
        with transaction.atomic():
            ledger.settle(reference, "stop")
        ledger.state(user_id, quota_id)

    async def answer(number: int) -> None:
        user_id = people[number % len(people)].pk
        quota_id = await database.run(hold, user_id, f"answer-{number}")
        await database.run(end, user_id, quota_id, f"answer-{number}")

    return asyncio.run(rate(answer, ANSWERS))


def refusals_per_second() -> float:
    """Ask again and again, all at once, for somebody who has nothing left."""
    person, model = somebody(daily_limit=1)
    charge(person, model, "the only one")

    async def ask(_number: int) -> None:
        try:
            await service.start(Ask(person.pk, model.slug, "Hello"))
        except QuotaExhausted:
            return
        raise AssertionError("answered")

    return asyncio.run(rate(ask, REFUSALS))


async def rate(call: Callable[[int], Awaitable[None]], count: int) -> float:
    """Return how many calls a second are made by several callers at once, after a few that do not count."""

    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            await call(number)

    runtime().process.loop = asyncio.get_running_loop()  # on which database threads send what they have for Redis
    await caller(iter(range(-10, 0)))
    numbers, started = iter(range(count)), time.perf_counter()
    await asyncio.gather(*(caller(numbers) for _caller in range(CALLERS)))
    found = count / (time.perf_counter() - started)
    await runtime().redis.aclose()
    await asyncio.to_thread(database.close)
    return found


def costs_by_size() -> tuple[float, float]:
    """Return what an answer costs, in seconds, with few old rows and with many."""
    person, model = somebody(daily_limit=None)
    fill(FEW)
    few = least_cost(person, model, "few")
    fill(MANY)
    return few, least_cost(person, model, "many")


def least_cost(person: Any, model: Any, name: str, rounds: int = ROUNDS) -> float:
    """Return the seconds an answer takes, the least of several rounds: whatever else runs only adds to it."""
    costs = []
    for number in range(rounds):
        started = time.perf_counter()
        for answer in range(50):
            charge(person, model, f"{name}-{number}-{answer}")
        costs.append((time.perf_counter() - started) / 50)
    return min(costs)


def charge(person: Any, model: Any, reference: str) -> None:
    """Do what one answer does to the books: reserve, settle, and look at what is left."""
    with transaction.atomic():
        held = ledger.reserve(person.pk, model.pk, reference)
    with transaction.atomic():
        ledger.settle(reference, "stop")
    ledger.state(person.pk, held.quota_id)


def somebody(**limits: Any) -> tuple[Any, Any]:
    """Return a person and a model that can be asked."""
    quota = factories.quota(**limits)
    return factories.user(password=None), factories.chat_model("bench", of=quota, to=factories.upstream())


def fill(rows: int) -> None:
    """Add old answers of a thousand people, so many rows in each of the books."""
    people = get_user_model()
    first = people.objects.order_by("-pk").values_list("pk", flat=True)[0] + 1
    names = [f"old{number}" for number in range(first, first + 1000)]
    people.objects.bulk_create(people(username=name, invite_code=name) for name in names)
    values = {"first": first, "rows": rows, "quota": Quota.objects.get().pk, "name": f"old-{first}-"}
    with connection.cursor() as cursor:
        for statement in (_SPENDS, _RESERVATIONS, _DAYS.format(day=_DAY[connection.vendor])):
            cursor.execute(_SERIES + statement, values)
        cursor.execute("ANALYZE")


_SERIES = "WITH RECURSIVE old(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM old WHERE n < %(rows)s) "
_SPENDS = """
INSERT INTO quotas_ledgerentry (user_id, quota_id, amount, source, reason, reference, created_at)
SELECT %(first)s + n %% 1000, %(quota)s, -1, 'daily', 'stop', %(name)s || n, '2026-01-01 00:00:00+00' FROM old
"""
_RESERVATIONS = """
INSERT INTO quotas_reservation
       (user_id, quota_id, day, source, status, reference, reason, created_at, ended_at)
SELECT %(first)s + n %% 1000, %(quota)s, '2026-01-01', 'daily', 'settled', %(name)s || n, 'stop',
       '2026-01-01 00:00:00+00', '2026-01-01 00:00:01+00' FROM old
"""
_DAYS = """
INSERT INTO quotas_dailyusage (user_id, quota_id, day, used, revision)
SELECT %(first)s + n %% 1000, %(quota)s, {day}, 1, 1 FROM old
"""
_DAY = {"sqlite": "date('2000-01-01', (n / 1000) || ' days')", "postgresql": "date '2000-01-01' + n / 1000"}
