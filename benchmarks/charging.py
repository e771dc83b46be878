"""The measurements of `benchmarks.ledger`; each runs in its own process with Django set up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from chat.apps import chat
from chat.generations.request import GenerationRequest
from quotas import ledger
from quotas.errors import QuotaExhausted
from quotas.models import Quota
from runtime import database
from runtime.apps import runtime
from tests import factories

# Old rows in each table of the ledger.
FEW, MANY = 1_000, 1_000_000
# Calls per measurement, and how many callers run at once.
CHARGES, REFUSALS, CALLERS = 2_000, 3_000, 16
# Rounds of 50 charges, of which the fastest counts.
ROUNDS = 20


def charges_per_second() -> float:
    """Charge completions to a hundred users in turn, as a serving process does."""
    user, model = user_and_model(daily_limit=None)
    users = [user, *(factories.user(password=None) for _number in range(99))]

    def hold(user_id: int, reference: str) -> int:
        with transaction.atomic():
            return ledger.reserve(user_id, model.pk, reference).quota_id

    def end(user_id: int, quota_id: int, reference: str) -> None:
        with transaction.atomic():
            ledger.settle(reference, "stop")
        ledger.state(user_id, quota_id)

    async def answer(number: int) -> None:
        user_id = users[number % len(users)].pk
        quota_id = await database.run(hold, user_id, f"answer-{number}")
        await database.run(end, user_id, quota_id, f"answer-{number}")

    return asyncio.run(rate(answer, CHARGES))


def refusals_per_second() -> float:
    """Send prompts of a user whose quota is used up."""
    user, model = user_and_model(daily_limit=1)
    charge(user, model, "the only one")

    async def ask(_number: int) -> None:
        try:
            await chat().generations.start(GenerationRequest(user.pk, model.slug, "Hello"))
        except QuotaExhausted:
            return
        raise AssertionError("the prompt was accepted")

    return asyncio.run(rate(ask, REFUSALS))


async def rate(call: Callable[[int], Awaitable[None]], count: int) -> float:
    """Return the calls per second of several concurrent callers, after a few calls for warming up."""

    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            await call(number)

    runtime().process.loop = asyncio.get_running_loop()  # on which database threads send what they have for Redis
    await caller(iter(range(-10, 0)))
    numbers, started = iter(range(count)), time.perf_counter()
    await asyncio.gather(*(caller(numbers) for _caller in range(CALLERS)))
    per_second = count / (time.perf_counter() - started)
    await runtime().redis.aclose()
    await asyncio.to_thread(database.close)
    return per_second


def costs_by_size() -> tuple[float, float]:
    """Return the seconds that a charge takes, with few old rows and with many."""
    user, model = user_and_model(daily_limit=None)
    fill(FEW)
    few = least_cost(user, model, "few")
    fill(MANY)
    return few, least_cost(user, model, "many")


def least_cost(
    user: Any, model: Any, name: str, rounds: int = ROUNDS, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds that a charge takes in the fastest of several rounds.

    Because other processes can only make it slower.
    """
    costs = []
    for number in range(rounds):
        started = clock()
        for repeat in range(50):
            charge(user, model, f"{name}-{number}-{repeat}")
        costs.append((clock() - started) / 50)
    return min(costs)


def charge(user: Any, model: Any, reference: str) -> None:
    """Do what one completion does to the ledger: reserve, settle, and read the balance."""
    with transaction.atomic():
        reservation = ledger.reserve(user.pk, model.pk, reference)
    with transaction.atomic():
        ledger.settle(reference, "stop")
    ledger.state(user.pk, reservation.quota_id)


def user_and_model(**limits: Any) -> tuple[Any, Any]:
    """Return a user, and a model that the user may send prompts to."""
    quota = factories.quota(**limits)
    return factories.user(password=None), factories.chat_model("bench", of=quota, to=factories.upstream())


def fill(rows: int) -> None:
    """Add `rows` old rows of a thousand users to each table of the ledger."""
    users = get_user_model()
    first = users.objects.order_by("-pk").values_list("pk", flat=True)[0] + 1
    names = [f"old{number}" for number in range(first, first + 1000)]
    users.objects.bulk_create(users(username=name, invite_code=name) for name in names)
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
