"""What the ledger costs: answers charged and refusals given per second, and whether old rows slow it down.

    python -m benchmarks.ledger

Each line is measured in a process of its own, on servers of its own. Figures hold only as ratios of one run.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests import servers

FEW, MANY = 1_000, 1_000_000
ANSWERS, REFUSALS, CALLERS = 2_000, 3_000, 16
ROUNDS = 20


def main() -> None:
    """Measure everything, and print it as one table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(servers.Redis())
        postgres = stack.enter_context(servers.Postgres())
        print(f"{'':12}{'':38}{'without Redis':>15}{'with Redis':>15}")
        for name, url in (("SQLite", lambda: new_sqlite(folder)), ("PostgreSQL", postgres.migrated_database)):
            for line in table_of(name, url, folder, redis.url):
                print(line, flush=True)


def new_sqlite(folder: Path) -> str:
    path = Path(tempfile.mkdtemp(dir=folder)) / "rivulet.sqlite3"
    servers.migrate(f"sqlite:///{path}", path.parent)
    return f"sqlite:///{path}"


def table_of(name: str, url: Callable[[], str], folder: Path, redis_url: str) -> Iterator[str]:
    for what in ("answers charged per second", "refusals per second"):
        rates = [measured(what, url(), folder, counted) for counted in ("", redis_url)]
        yield f"{name:12}{what:38}{rates[0]:>15,.0f}{rates[1]:>15,.0f}"
    few, many = measured("size", url(), folder, "")
    what = f"an answer's cost, {MANY:,} rows : {FEW:,}"
    yield f"{name:12}{what:38}{many / few:>14.2f}x"


def measured(what: str, url: str, folder: Path, redis_url: str) -> Any:
    """Run one measurement in a process of its own and return what it says."""
    variables = servers.environment(url, folder / "var", REDIS_URL=redis_url, DJANGO_SETTINGS_MODULE="tests.settings")
    command = [sys.executable, "-m", "benchmarks.ledger", what]
    done = subprocess.run(command, env=variables, cwd=servers.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


# --- in the process that measures ------------------------------------------------------------------------------------


def answers_per_second() -> float:
    """Charge answers to one after the other of a hundred people, as a serving process does."""
    from django.db import transaction

    from quotas import counters, ledger
    from runtime import database
    from tests import factories

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
        await counters.flush()
        await database.run(end, user_id, quota_id, f"answer-{number}")
        await counters.flush()

    return asyncio.run(rate(answer, ANSWERS))


def refusals_per_second() -> float:
    """Ask again and again, all at once, for somebody who has nothing left."""
    from chat import generation
    from chat.asks import Ask
    from quotas.errors import QuotaExhausted

    person, model = somebody(daily_limit=1)
    charge(person, model, "the only one")

    async def ask(_number: int) -> None:
        try:
            await generation.start(Ask(person.pk, model.slug, "Hello"))
        except QuotaExhausted:
            return
        raise AssertionError("answered")

    return asyncio.run(rate(ask, REFUSALS))


async def rate(call: Callable[[int], Awaitable[None]], count: int) -> float:
    """Return how many calls a second are made by several callers at once, after a few that do not count."""
    from runtime import clients

    async def caller(numbers: Iterator[int]) -> None:
        for number in numbers:
            await call(number)

    await caller(iter(range(-10, 0)))
    numbers, started = iter(range(count)), time.perf_counter()
    await asyncio.gather(*(caller(numbers) for _caller in range(CALLERS)))
    found = count / (time.perf_counter() - started)
    await clients.aclose()
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
    from django.db import transaction

    from quotas import ledger

    with transaction.atomic():
        held = ledger.reserve(person.pk, model.pk, reference)
    with transaction.atomic():
        ledger.settle(reference, "stop")
    ledger.state(person.pk, held.quota_id)


def somebody(**limits: Any) -> tuple[Any, Any]:
    """Return a person and a model that can be asked."""
    from tests import factories

    quota = factories.quota(**limits)
    return factories.user(password=None), factories.chat_model("bench", of=quota, to=factories.upstream())


def fill(rows: int) -> None:
    """Add old answers of a thousand people, so many rows in each of the books."""
    from django.contrib.auth import get_user_model
    from django.db import connection

    from quotas.models import Quota

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

MEASURES: dict[str, Callable[[], Any]] = {
    "answers charged per second": answers_per_second,
    "refusals per second": refusals_per_second,
    "size": costs_by_size,
}

if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        import django

        django.setup()
        print(json.dumps(MEASURES[sys.argv[1]]()))
        sys.stdout.flush()
        os._exit(0)
