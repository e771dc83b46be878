"""Many processes on one database, SQLite and PostgreSQL: no unit too many, none lost."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import orjson
import pytest
import redis
from django.conf import settings
from django.db import connection
from django.db.models import Count
from django.utils import timezone

from chat.generations.request import GenerationRequest
from chat.models import Generation
from providers.apps import providers_app
from quotas import hints, ledger
from quotas.models import LedgerEntry, Quota, QuotaModel, Reservation
from runtime.apps import runtime
from tests import factories, servers
from tests.quotas import consistency, race

pytestmark = [pytest.mark.server, pytest.mark.soak]

SOAK = os.environ.get("SOAK") == "1"
PROCESSES = 4


@pytest.fixture
def user(here):
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


@pytest.mark.contract("limits are exact")
def test_a_limit_holds_in_four_processes(variables, user, quota, model):
    """Of many hundred calls in four processes, exactly 50 get a unit."""
    count = 10_000 if SOAK else 600
    rows = [[user.pk, model.pk, share, 1] for share in spread(count, PROCESSES)]
    granted = list(chain.from_iterable(servers.in_processes(race.reserve_each, rows, variables)))
    assert len(granted) == 50
    assert sorted(granted) == sorted(Reservation.objects.values_list("reference", flat=True))
    consistency.check(user.pk, quota.pk)


def test_with_counters(variables, user, quota, model, redis_server):
    """With counters that are flushed and forged meanwhile, exactly 50 get a unit."""
    count = 10_000 if SOAK else 600
    variables |= {"REDIS_URL": redis_server.url}
    name = hints.key(user.pk, timezone.now())
    rows = [[user.pk, model.pk, model.slug, share, 10] for share in spread(count, PROCESSES)]
    with redis.Redis.from_url(redis_server.url) as client, ThreadPoolExecutor(1) as pool:
        client.flushall()
        racing = pool.submit(servers.in_processes, race.ask_each, rows, variables)
        while not racing.done():
            for used in (99_999, 0):
                time.sleep(0.1)
                figures = {str(quota.pk): {"used": used, "limit": 50, "credits": 0}}
                client.set(name, orjson.dumps({"read_at": int(time.time()), "quotas": figures}), ex=30)
            time.sleep(0.1)
            client.flushall()
        granted = list(chain.from_iterable(racing.result()))
    assert len(granted) == 50
    assert sorted(granted) == sorted(Reservation.objects.values_list("reference", flat=True))
    consistency.check(user.pk, quota.pk)


def test_prompts_that_share_commits(variables, quota, model):
    """Prompts of several users at once, in two processes: each user gets the limit exactly, and all that began end."""
    limit, users = 10, [factories.user(password=None) for _number in range(12 if SOAK else 4)]
    Quota.objects.update(daily_limit=limit)
    factories.route(model, factories.upstream(kind="scripted"))
    ids = [user.pk for user in users]
    # In opposite orders, in which transactions would lock each other out.
    rows = [[ids, model.slug, limit], [ids[::-1], model.slug, limit]]
    began = servers.in_processes(race.generate_each, rows, {**variables, "MAX_ACTIVE_GENERATIONS": "0"})
    assert sum(began) == limit * len(users)
    ended = (
        Generation.objects.values("user", "status").annotate(count=Count("id")).values_list("user", "status", "count")
    )
    assert sorted(ended) == [(user.pk, "completed", limit) for user in users]
    for user in users:
        consistency.check(user.pk, quota.pk)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            assert cursor.fetchone() == (0,)


def test_two_reapers(variables, user, quota, model, monkeypatch):
    """Four processes that reap at once release each unit of a dead one once."""
    monkeypatch.setattr(runtime().process, "id", "dead")
    monkeypatch.setattr(settings, "MAX_ACTIVE_GENERATIONS", 0)
    factories.route(model, factories.upstream())
    providers_app().configuration.forget()  # the rows of this database, not of the one before
    request = GenerationRequest(user.pk, model.slug, "Hello")
    left_behind = [factories.admission().start(request).row.id for _ in range(20)]
    assert ledger.state(user.pk, quota.pk)["used_today"] == 20
    servers.in_processes(race.reap, [[]] * PROCESSES, variables)
    ended = Generation.objects.filter(id__in=left_behind)
    assert set(ended.values_list("status", flat=True)) == {"interrupted"}
    assert {charge["amount"] for charge in ended.values_list("charge", flat=True)} == {0}
    assert set(Reservation.objects.values_list("status", "reason")) == {("released", "interrupted")}
    assert ledger.state(user.pk, quota.pk)["used_today"] == 0
    consistency.check(user.pk, quota.pk)


@pytest.mark.contract("each credit buys one answer")
def test_each_credit_buys_one(variables, user, quota, model):
    """Fifty callers share a limit of three and five credits: exactly eight succeed."""
    Quota.objects.update(daily_limit=3)
    factories.credits_for(user, quota, 5)
    rows = [[user.pk, model.pk, share, 25] for share in spread(50, 2)]
    granted = list(chain.from_iterable(servers.in_processes(race.reserve_each, rows, variables)))
    assert len(granted) == 8
    sources = Reservation.objects.values("source").annotate(count=Count("id")).values_list("source", "count")
    assert dict(sources) == {"daily": 3, "credit": 5}
    consistency.check(user.pk, quota.pk)


def test_ended_once(variables, user, quota, model):
    """Twenty callers end the same reservations: one end counts, all return its charge."""
    Quota.objects.update(daily_limit=5)
    factories.credits_for(user, quota, 5)
    units = references(10)
    assert all(race.reserve(user.pk, model.pk, reference) for reference in units)
    ends = ["settle", "release"] * 5
    charges = list(chain.from_iterable(servers.in_processes(race.end_each, [[units, ends]] * 2, variables)))
    assert len(charges) == len(units) * 20
    assert len({tuple(row) for row in charges}) == len(units)
    charged = {row[0] for row in charges if row[1]}
    assert charged == set(LedgerEntry.objects.exclude(reference="").values_list("reference", flat=True))
    consistency.check(user.pk, quota.pk)


def test_busy_life(variables, user, quota, model):
    """Reserving and ending in four processes at once causes no deadlock and no error."""
    Quota.objects.update(daily_limit=20)
    factories.credits_for(user, quota, 30)
    count = 1_000 if SOAK else 100
    rows = [[user.pk, model.pk, f"p{number}", count] for number in range(PROCESSES)]
    servers.in_processes(race.live, rows, variables)
    assert Reservation.objects.exclude(status="released").count() <= 50
    consistency.check(user.pk, quota.pk)


def test_set_up_by_many(variables, here):
    """Several processes that start at the same moment make the two default quotas once."""
    for slug in ("gpt-4", "demo"):
        factories.chat_model(slug)
    servers.in_processes(race.set_up, [[]] * PROCESSES, variables)
    assert set(Quota.objects.values_list("slug", flat=True)) == {"standard", "premium"}
    assert QuotaModel.objects.count() == 2
