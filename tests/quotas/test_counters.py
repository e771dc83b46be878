"""Counters in Redis: figures of the last half minute, which decide nothing."""

import asyncio
import signal
import time
from datetime import timedelta

import orjson
import pytest
from django.db import transaction
from django.utils import timezone

from quotas import days, hints, ledger
from quotas.apps import quotas_app
from quotas.errors import QuotaExhausted
from quotas.hints import TRUSTED_SECONDS, Figures
from quotas.models import DailyUsage, Quota, QuotaGroupLimit
from runtime import database, redis_clients
from runtime.apps import runtime
from tests import factories
from tests.readers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quota():
    return factories.quota("standard", daily_limit=3)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


@pytest.fixture(autouse=True)
def with_redis(counters, model):
    """Every test here has counters, and one model that counts."""
    quotas_app().snapshot.current()
    yield
    database.close()


def reserve(user, model, *references):
    for reference in references:
        with transaction.atomic():
            unit = ledger.reserve(user.pk, model.pk, reference)
    return unit


def remaining(user):
    (state,) = ledger.overview(user)
    return state["remaining"]


def exhausted(counters, user, slug="glm-4"):
    return counters.run(quotas_app().hints.exhausted(user.pk, slug))


def use_up(counters, user, model):
    """Use up the user's day and let a counter show it."""
    reserve(user, model, "g1", "g2", "g3")
    counters.pass_a_moment()
    assert remaining(user) == 0


def at(monkeypatch, moment):
    monkeypatch.setattr(timezone, "now", lambda: moment)


def test_pages_read_the_counter(counters, alice, quota, model, django_assert_num_queries):
    """The first look stores the ledger's figures; the next one shows them without a query."""
    reserve(alice, model, "g1")
    counters.pass_a_moment()
    first = ledger.overview(alice)
    assert counters.of(alice) == {quota.pk: Figures(used=1, limit=3, credits=0)}
    with django_assert_num_queries(0):
        assert ledger.overview(alice) == first
    assert first == [ledger.state(alice.pk, quota.pk)]


def test_redis_keeps_a_counter_for_half_a_minute(counters, alice):
    """Redis itself drops a counter, so deleted users leave none."""
    before = time.monotonic()
    remaining(alice)
    left = counters.redis.pttl(counters.key(alice)) / 1000
    assert TRUSTED_SECONDS - 1 - (time.monotonic() - before) < left <= TRUSTED_SECONDS
    assert counters.redis.dbsize() == 1


@pytest.mark.parametrize(("seconds", "shown"), [(0, 2), (28, 2), (31, 1), (-7, 1)])
def test_a_lost_deletion_is_shown_for_half_a_minute(counters, alice, model, monkeypatch, seconds, shown):
    """A counter that was not deleted is shown for 30 seconds; a future one never."""
    now = days.resets_at(timezone.now()) - timedelta(hours=12)  # far from midnight
    at(monkeypatch, now)
    reserve(alice, model, "g1")
    counters.pass_a_moment()
    assert remaining(alice) == 2
    DailyUsage.objects.update(used=2)
    at(monkeypatch, now + timedelta(seconds=seconds))
    assert remaining(alice) == shown


def test_a_new_day_has_a_new_counter(counters, alice, model, monkeypatch):
    """A counter of yesterday is not shown today, however fresh it is."""
    before = days.resets_at(timezone.now()) - timedelta(seconds=1)
    at(monkeypatch, before)
    reserve(alice, model, "g1")
    counters.pass_a_moment()
    assert remaining(alice) == 2
    at(monkeypatch, before + timedelta(seconds=2))
    assert remaining(alice) == 3


def test_nothing_uncommitted_is_shown(counters, alice, model):
    """A transaction that fails changes no counter and stores none."""
    assert remaining(alice) == 3
    value = counters.redis.get(counters.key(alice))
    with transaction.atomic():
        ledger.reserve(alice.pk, model.pk, "g1")
        assert remaining(alice) == 2
        transaction.set_rollback(True)
    assert counters.redis.get(counters.key(alice)) == value
    counters.redis.flushall()
    with transaction.atomic():
        assert remaining(alice) == 3
        transaction.set_rollback(True)
    assert counters.redis.dbsize() == 0


def test_each_change_deletes_the_counter(counters, alice, quota, model):
    """The next look shows each reservation, release, grant and taking back."""

    def change(call, *arguments):
        counters.pass_a_moment()
        before = ledger.overview(alice)
        assert counters.of(alice)
        with transaction.atomic():
            call(*arguments)
        assert counters.of(alice) == {}
        assert ledger.overview(alice) == [ledger.state(alice.pk, quota.pk)] != before

    change(ledger.reserve, alice.pk, model.pk, "g1")
    change(ledger.release, "g1", "interrupted")
    change(ledger.grant, alice.pk, quota.pk, 5, "gift")
    change(ledger.grant, alice.pk, quota.pk, -2, "mistake")
    Quota.objects.update(daily_limit=0)
    quotas_app().snapshot.forget()
    change(ledger.reserve, alice.pk, model.pk, "g2")


def test_settling_changes_no_figure(counters, alice, quota, model):
    """Because a reserved unit was counted, settling leaves the counter alone."""
    reserve(alice, model, "g1")
    counters.pass_a_moment()
    remaining(alice)
    with transaction.atomic():
        ledger.settle("g1", "stop")
    assert counters.of(alice) == {quota.pk: Figures(used=1, limit=3, credits=0)}
    assert ledger.overview(alice) == [ledger.state(alice.pk, quota.pk)]


def test_a_slow_reader_stores_nothing_old(counters, alice, quota, model):
    """Redis refuses figures that were read before a change and arrive after it."""
    old, read_at = {quota.pk: Figures(used=0, limit=3, credits=0)}, timezone.now()
    reserve(alice, model, "g1")
    quotas_app().hints.store(alice.pk, old, read_at)
    assert counters.of(alice) == {}
    assert remaining(alice) == 2
    assert 0 < counters.redis.pttl(counters.key(alice)) <= 1000 * hints.CHANGED_SECONDS


def json(read_at=None, used=0, limit=3, credit=0, quota="1"):
    figures = {"used": used, "limit": limit, "credits": credit}
    return orjson.dumps({"read_at": int(time.time()) if read_at is None else read_at, "quotas": {quota: figures}})


BROKEN_BYTES = [b"", b"broken", b"\xff\x00\xfe", b"[]", b"{}", b"7"]
BROKEN_FIGURES = [
    {"used": -1},
    {"credit": 2**40},
    {"quota": "x"},
    {"quota": "999999"},
    {"read_at": 1},
    {"read_at": 2**62},
]


@pytest.mark.parametrize("value", [*BROKEN_BYTES, *BROKEN_FIGURES], ids=str)
def test_a_broken_counter_is_not_believed(counters, alice, model, value):
    """A counter spoilt by an operator is ignored, and mended by the next change."""
    reserve(alice, model, "g1")
    counters.redis.set(counters.key(alice), value if isinstance(value, bytes) else json(**value))
    assert remaining(alice) == 2
    assert not exhausted(counters, alice)
    reserve(alice, model, "g2")
    assert 0 < counters.redis.pttl(counters.key(alice)) <= 1000 * hints.CHANGED_SECONDS
    counters.pass_a_moment()
    assert (remaining(alice), counters.redis.dbsize()) == (1, 1)


def test_a_change_of_a_database_thread_is_sent_before_it_is_reported(counters, alice, quota):
    """A caller that waits for `sent` finds the counter deleted, although the database thread did not wait for Redis."""
    counters.redis.set(counters.key(alice), json())

    async def change() -> bytes:
        await database.run(quotas_app().hints.changed, alice.pk)
        await quotas_app().hints.sent()
        return counters.redis.get(counters.key(alice))

    assert counters.run(change()) == b""


def test_a_key_of_another_type_is_not_believed(counters, alice, model):
    """A list in a counter's place is replaced; Redis does not count as away."""
    counters.redis.rpush(counters.key(alice), 1, 2, 3)
    assert remaining(alice) == 3
    assert not exhausted(counters, alice)
    assert runtime().redis.may_ask()
    reserve(alice, model, "g1")
    assert counters.redis.type(counters.key(alice)) == b"string"


def test_a_full_redis_costs_only_the_counters(counters, alice, model):
    """While Redis refuses writes, pages show the ledger; Redis does not count as away."""
    counters.redis.config_set("maxmemory", 1)
    try:
        reserve(alice, model, "g1")
        assert remaining(alice) == 2
        assert runtime().redis.may_ask()
    finally:
        counters.redis.config_set("maxmemory", 0)


def test_limits_are_those_of_now(counters, alice, quota, model):
    """A limit that an admin changes is shown although the counter was stored before."""
    reserve(alice, model, "g1")
    counters.pass_a_moment()
    assert remaining(alice) == 2
    Quota.objects.update(daily_limit=10)
    quotas_app().snapshot.forget()
    assert remaining(alice) == 9
    limit = QuotaGroupLimit.objects.create(quota=quota, group=factories.group("vip", alice), daily_limit=20)
    quotas_app().snapshot.forget()
    assert remaining(alice) == 19
    limit.delete()
    quotas_app().snapshot.forget()
    assert remaining(alice) == 9


def test_a_new_quota_is_shown_at_once(counters, alice):
    """Pages ignore a counter that lacks a newer quota."""
    remaining(alice)
    factories.quota("premium", daily_limit=7)
    quotas_app().snapshot.forget()
    assert [state["remaining"] for state in ledger.overview(alice)] == [3, 7]


def test_exhausted_is_confirmed_by_one_read(counters, alice, quota, model, django_assert_num_queries):
    """The ledger confirms in one statement that nothing is left, until a grant."""
    remaining(alice)
    assert not exhausted(counters, alice)
    use_up(counters, alice, model)
    assert exhausted(counters, alice)
    before = days.seconds_to_reset(timezone.now())
    with django_assert_num_queries(1), pytest.raises(QuotaExhausted) as refused:
        ledger.confirm_exhausted(alice.pk, model.pk)
    assert days.seconds_to_reset(timezone.now()) <= refused.value.retry_after <= before
    ledger.grant(alice.pk, quota.pk, 1, "gift")
    assert not exhausted(counters, alice)
    ledger.confirm_exhausted(alice.pk, model.pk)


def test_a_wrong_counter_refuses_no_user(counters, alice, model):
    """The confirming read deletes a counter that shows too little."""
    use_up(counters, alice, model)
    DailyUsage.objects.update(used=0)
    assert exhausted(counters, alice)
    ledger.confirm_exhausted(alice.pk, model.pk)
    assert not exhausted(counters, alice)
    assert reserve(alice, model, "g4").remaining == 2


def test_a_refusal_lets_the_next_one_be_early(counters, alice, model):
    """A transaction that refuses stores the figures, although it is rolled back."""
    reserve(alice, model, "g1", "g2", "g3")
    counters.pass_a_moment()
    with pytest.raises(QuotaExhausted):
        counters.run(database.run(reserve, alice, model, "g4"))
    until = time.monotonic() + 60
    while not exhausted(counters, alice):  # a database thread does not wait for Redis
        assert time.monotonic() < until
    with pytest.raises(QuotaExhausted):
        ledger.confirm_exhausted(alice.pk, model.pk)


def test_an_unknown_model_has_no_counter(counters, alice, model):
    """A counter does not refuse a model that is unknown or not yet read."""
    use_up(counters, alice, model)
    assert not exhausted(counters, alice, "nothing")
    quotas_app().snapshot.forget()
    assert not exhausted(counters, alice)


def test_without_redis_the_ledger_is_shown(counters, alice, model, settings):
    """Without REDIS_URL nothing is stored, and pages show the ledger."""
    settings.REDIS_URL = ""
    reserve(alice, model, "g1", "g2", "g3")
    assert remaining(alice) == 0
    assert not exhausted(counters, alice)
    assert counters.redis.dbsize() == 0


@pytest.fixture
def failures(monkeypatch):
    """Return the failures of Redis that the process notes; each has cost a wait, and others wait no more."""
    found, failed = [], runtime().redis.failed

    def note(error):
        found.append(error)
        failed(error)

    monkeypatch.setattr(runtime().redis, "failed", note)
    return found


def test_redis_stopped_and_started(counters, alice, model, failures):
    """While Redis is away, pages show the ledger, after one short wait at most."""
    assert remaining(alice) == 3
    counters.server.stop()
    try:
        reserve(alice, model, "g1")
        assert remaining(alice) == 2
        assert len(failures) == 1
    finally:
        counters.server.start()
    runtime().redis.succeeded()
    assert remaining(alice) == 2


def test_frozen_redis(counters, alice, model, failures, monkeypatch):
    """A frozen Redis costs one short wait, no unit, and 30 seconds of old figures."""
    assert remaining(alice) == 3
    monkeypatch.setattr(redis_clients, "REPLY_SECONDS", 0.5)
    counters.server.signal(signal.SIGSTOP)
    try:
        for number in range(4):
            with pytest.raises(QuotaExhausted) if number == 3 else transaction.atomic():
                reserve(alice, model, f"g{number}")
            assert remaining(alice) == max(0, 2 - number)
        assert len(failures) == 1
        runtime().redis.succeeded()
        assert counters.run(turns_of_a_wait(alice)) > 1
        assert len(failures) == 2
    finally:
        counters.server.signal(signal.SIGCONT)
    runtime().redis.succeeded()
    assert remaining(alice) in {0, 3}
    at(monkeypatch, timezone.now() + timedelta(seconds=TRUSTED_SECONDS))
    assert remaining(alice) == 0


async def turns_of_a_wait(user):
    """Return how often other work gets its turn while the serving loop waits for Redis."""
    waiting, turns = asyncio.create_task(quotas_app().hints.read(user.pk)), 0
    while not waiting.done():
        await asyncio.sleep(0.02)
        turns += 1
    return turns


def test_no_transaction_or_database_thread_waits(counters, alice, model, django_assert_num_queries):
    """A frozen Redis delays neither transactions nor database threads."""
    remaining(alice)
    counters.server.signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        counters.run(database.run(reserve, alice, model, "g1"))
        counters.run(database.run(ledger.confirm_exhausted, alice.pk, model.pk))
        assert counters.run(database.run(remaining, alice)) == 2
        with transaction.atomic():
            assert remaining(alice) == 2
            assert time.monotonic() - started < redis_clients.REPLY_SECONDS
            transaction.set_rollback(True)
    finally:
        counters.server.signal(signal.SIGCONT)


def test_few_connections(counters, alice):
    """However many requests ask at once, a process has few connections for them."""

    async def ask_many():
        await asyncio.gather(*(quotas_app().hints.exhausted(alice.pk, "glm-4") for _ in range(500)))

    def ours() -> list[object]:
        own = counters.redis.client_info()["addr"]
        return [client for client in counters.redis.client_list() if client["addr"] != own]

    while not ours():  # on a busy machine all of them may give up on connecting
        counters.run(ask_many())
    # The server closes connections that were given up when it next reads from them; the others stay.
    wait_until(lambda: len(ours()) <= redis_clients.CONNECTIONS)
