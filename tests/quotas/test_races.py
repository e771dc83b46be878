"""Many processes at once on one database, SQLite and PostgreSQL: not one unit too many, not one lost."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
import redis
from django.conf import settings
from django.db.models import Count

from chat.generations import start
from chat.generations.request import Ask
from chat.models import Generation
from providers.apps import providers_app
from quotas import ledger
from quotas.models import LedgerEntry, Quota, QuotaModel, Reservation
from runtime.apps import runtime
from tests import factories, servers
from tests.quotas import books, race

pytestmark = [pytest.mark.server, pytest.mark.soak]

SOAK = os.environ.get("SOAK") == "1"
PROCESSES = 4


@pytest.fixture
def variables(database_url, tmp_path):
    return servers.environment(database_url, tmp_path / "var")


@pytest.fixture
def here(database_url, django_db_blocker):
    """This process's models speak to the same database as the others' do."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        yield


@pytest.fixture
def person(here):
    return factories.user()


@pytest.fixture
def quota(here):
    return factories.quota(daily_limit=50)


@pytest.fixture
def model(quota):
    return factories.chat_model(of=quota)


def references(count, name="g"):
    return [f"{name}{number}" for number in range(count)]


def spread(count, processes):
    """Share the references among processes."""
    return [references(count)[first::processes] for first in range(processes)]


def test_it_works(variables, person, quota, model):
    """Four processes, thousands of calls, a limit of 50: exactly 50 are granted."""
    count = 10_000 if SOAK else 2_000
    rows = [[person.pk, model.pk, share, 1] for share in spread(count, PROCESSES)]
    granted = list(chain.from_iterable(servers.in_processes(race.reserve_each, rows, variables)))
    assert len(granted) == 50
    assert sorted(granted) == sorted(Reservation.objects.values_list("reference", flat=True))
    books.check(person.pk, quota.pk)


def test_with_counters(variables, person, quota, model, redis_server):
    """The same with counters in Redis, which are flushed and spoilt all the while: exactly 50, and counted right."""
    count = 10_000 if SOAK else 2_000
    variables |= {"REDIS_URL": redis_server.url, "SECRET_KEY": settings.SECRET_KEY}
    rows = [[person.pk, model.pk, model.slug, share, 10] for share in spread(count, PROCESSES)]
    with redis.Redis.from_url(redis_server.url) as client, ThreadPoolExecutor(1) as pool:
        client.flushall()
        racing = pool.submit(servers.in_processes, race.ask_each, rows, variables)
        while not racing.done():
            time.sleep(0.1)
            for name in client.keys("rivulet:quota:*"):
                client.hset(name, "used", "99999 99999 1 1 x")
            time.sleep(0.1)
            client.flushall()
        granted = list(chain.from_iterable(racing.result()))
    assert len(granted) == 50
    assert sorted(granted) == sorted(Reservation.objects.values_list("reference", flat=True))
    books.check(person.pk, quota.pk)


def test_two_reapers(variables, person, quota, model, monkeypatch):
    """Four processes that reap at the same moment end each generation of a dead one, and release its unit, once."""
    monkeypatch.setattr(runtime().process, "id", "dead")
    monkeypatch.setattr(settings, "MAX_ACTIVE_GENERATIONS", 0)
    factories.route(model, factories.upstream())
    providers_app().configuration.forget()  # read the rows of this database, not of the one before
    left_behind = [start.begin(Ask(person.pk, model.slug, "Hello")).row.id for _ in range(20)]
    assert ledger.state(person.pk, quota.pk)["used_today"] == 20
    servers.in_processes(race.reap, [[]] * PROCESSES, variables)
    ended = Generation.objects.filter(id__in=left_behind)
    assert set(ended.values_list("status", flat=True)) == {"interrupted"}
    assert {charge["amount"] for charge in ended.values_list("charge", flat=True)} == {0}
    assert set(Reservation.objects.values_list("status", "reason")) == {("released", "interrupted")}
    assert ledger.state(person.pk, quota.pk)["used_today"] == 0
    books.check(person.pk, quota.pk)


def test_each_credit_buys_one(variables, person, quota, model):
    """Three of the day and five credits, fifty callers in parallel: exactly eight are granted."""
    Quota.objects.update(daily_limit=3)
    factories.credits_for(person, quota, 5)
    rows = [[person.pk, model.pk, share, 25] for share in spread(50, 2)]
    granted = list(chain.from_iterable(servers.in_processes(race.reserve_each, rows, variables)))
    assert len(granted) == 8
    sources = Reservation.objects.values("source").annotate(count=Count("id")).values_list("source", "count")
    assert dict(sources) == {"daily": 3, "credit": 5}
    books.check(person.pk, quota.pk)


def test_ended_once(variables, person, quota, model):
    """Twenty callers settle and release the same generations: one end counts, and all are told the same charge."""
    Quota.objects.update(daily_limit=5)
    factories.credits_for(person, quota, 5)
    held = references(10)
    assert all(race.reserve(person.pk, model.pk, reference) for reference in held)
    ends = ["settle", "release"] * 5
    told = list(chain.from_iterable(servers.in_processes(race.end_each, [[held, ends]] * 2, variables)))
    assert len(told) == len(held) * 20
    assert len({tuple(row) for row in told}) == len(held)
    charged = {row[0] for row in told if row[1]}
    assert charged == set(LedgerEntry.objects.exclude(reference="").values_list("reference", flat=True))
    books.check(person.pk, quota.pk)


def test_busy_life(variables, person, quota, model):
    """Reserving and ending in four processes at once ends in no deadlock and with books that agree."""
    Quota.objects.update(daily_limit=20)
    factories.credits_for(person, quota, 30)
    count = 1_000 if SOAK else 100
    rows = [[person.pk, model.pk, f"p{number}", count] for number in range(PROCESSES)]
    servers.in_processes(race.live, rows, variables)
    assert Reservation.objects.exclude(status="released").count() <= 50
    books.check(person.pk, quota.pk)


def test_set_up_by_many(variables, here):
    """Several processes that start at the same moment make the two default quotas once."""
    for slug in ("gpt-4", "demo"):
        factories.chat_model(slug)
    servers.in_processes(race.set_up, [[]] * PROCESSES, variables)
    assert set(Quota.objects.values_list("slug", flat=True)) == {"standard", "premium"}
    assert QuotaModel.objects.count() == 2
