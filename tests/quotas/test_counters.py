"""Counters in Redis: what the ledger said, however it is lost, delayed, spoilt or frozen; and never more than that."""

import asyncio
import io
import signal
import time
from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from quotas import counts, days, hints, ledger, snapshot
from quotas.errors import QuotaExhausted
from quotas.models import CreditBalance, DailyUsage, Quota, QuotaGroupLimit
from runtime import redis_clients
from runtime.apps import runtime
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quota():
    return factories.quota("standard", daily_limit=3)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


@pytest.fixture(autouse=True)
def counted(counting, model):
    """Everything here is counted."""
    return counting


def reserve(person, model, reference):
    with transaction.atomic():
        return ledger.reserve(person.pk, model.pk, reference)


def reserve_in_vain(person, model):
    with transaction.atomic():
        ledger.reserve(person.pk, model.pk, "g1")
        raise ZeroDivisionError


def remaining(person):
    (state,) = ledger.overview(person)
    return state["remaining"]


def name(person, quota):
    return counts.key(person.pk, quota.pk, days.day_of(timezone.now()))


def in_redis(counting, person, quota):
    """Return what the counter says, None when it says nothing that is ours."""
    raw = tuple((counting.redis.hget(name(person, quota), field) or b"").decode() for field in ("used", "credits"))
    return counts.read(person.pk, quota.pk, days.day_of(timezone.now()), raw)


def said(**changes):
    """Return a copy of what the ledger may have said."""
    usual = {"used": 1, "used_revision": 1, "limit": 3, "credits": 0, "credits_revision": 0}
    day = days.day_of(timezone.now())
    return counts.Counts(user=1, quota=1, day=day, read_at=int(time.time()), **{**usual, **changes})


def tell(counting, copy, doubted=counts.NOTHING):
    hints._add(copy, doubted)
    counting.run(hints.flush())


def test_it_works(counting, alice, quota, model, django_assert_num_queries):
    """What was reserved is in Redis once it is committed, and pages read it there without asking the ledger."""
    reserve(alice, model, "g1")
    found = in_redis(counting, alice, quota)
    assert (found.used, found.limit, found.credits) == (1, 3, 0)
    with django_assert_num_queries(0):
        assert remaining(alice) == 2
    assert ledger.overview(alice) == [ledger.state(alice.pk, quota.pk)]


def test_built_on_first_touch(counting, alice, quota):
    """Who has never asked has no counter until somebody looks; it lives past midnight."""
    assert counting.names() == []
    assert remaining(alice) == 3
    assert counting.names() == [name(alice, quota)]
    left = days.seconds_to_reset(timezone.now())
    assert left + 3600 < counting.redis.ttl(name(alice, quota)) <= left + 3 * 3600


def test_nothing_uncommitted(counting, alice, quota, model):
    """A transaction that fails tells nobody anything."""
    with pytest.raises(ZeroDivisionError):
        reserve_in_vain(alice, model)
    assert counting.names() == []
    assert remaining(alice) == 3


def test_every_change_is_told(counting, alice, quota, model):
    """Reserving, releasing, granting and taking back are each in Redis when the call returns."""
    reserve(alice, model, "g1")
    with transaction.atomic():
        ledger.release("g1", "interrupted")
    assert in_redis(counting, alice, quota).used == 0
    ledger.grant(alice.pk, quota.pk, 5, "gift")
    assert in_redis(counting, alice, quota).credits == 5
    ledger.grant(alice.pk, quota.pk, -2, "mistake")
    assert in_redis(counting, alice, quota).credits == 3
    Quota.objects.update(daily_limit=0)
    reserve(alice, model, "g2")
    assert in_redis(counting, alice, quota).credits == 2
    with transaction.atomic():
        ledger.settle("g2", "stop")
    assert in_redis(counting, alice, quota).credits == 2


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_any_order(counting, order):
    """Copies of two rows that change independently may arrive in any order: the newest of each row stays."""
    copies = [
        said(used=1, used_revision=1),
        said(used=2, used_revision=2),
        said(used=1, used_revision=1, credits=5, credits_revision=1),
        said(used=1, used_revision=3, credits=5, credits_revision=1),
    ]
    for number in order:
        tell(counting, copies[number])
    raw = tuple(counting.redis.hget(copies[0].key, field).decode() for field in ("used", "credits"))
    found = counts.read(1, 1, copies[0].day, raw)
    assert (found.used, found.used_revision, found.credits, found.credits_revision) == (1, 3, 5, 1)


def spoil_type(redis, key):
    redis.delete(key)
    redis.set(key, "nonsense")


def spoil_list(redis, key):
    redis.delete(key)
    redis.rpush(key, 1, 2, 3)


def spoil_numbers(redis, key):
    redis.hset(key, mapping={"used": 999_999, "credits": -5})


def spoil_revision(redis, key):
    used = redis.hget(key, "used").decode().split()
    redis.hset(key, "used", " ".join(["99999999999999999999999", *used[1:]]))


def spoil_one_figure(redis, key):
    used = redis.hget(key, "used").decode().split()
    redis.hset(key, "used", " ".join([used[0], "0", *used[2:]]))


def spoil_bytes(redis, key):
    redis.hset(key, mapping={"used": b"\xff\x00\xfe", "credits": b""})


def spoil_half(redis, key):
    redis.hdel(key, "credits")


def lose(redis, key):
    redis.flushall()


NONSENSE = [
    spoil_type,
    spoil_list,
    spoil_numbers,
    spoil_revision,
    spoil_one_figure,
    spoil_bytes,
    spoil_half,
    lose,
]


@pytest.mark.parametrize("spoil", NONSENSE)
def test_nonsense_is_not_believed(counting, alice, quota, model, spoil):
    """Whatever somebody makes of a counter by hand, people see what the ledger says, and the counter is right again."""
    reserve(alice, model, "g1")
    spoil(counting.redis, name(alice, quota))
    assert remaining(alice) == 2
    assert in_redis(counting, alice, quota).used == 1


@pytest.mark.parametrize("spoil", NONSENSE)
def test_nonsense_gives_way_to_news(counting, alice, quota, model, spoil):
    """The next change puts a spoilt counter right, without anybody having looked at it."""
    reserve(alice, model, "g1")
    spoil(counting.redis, name(alice, quota))
    reserve(alice, model, "g2")
    assert in_redis(counting, alice, quota).used == 2


def test_somebody_elses_counter_is_nonsense(counting, alice, bob, quota, model):
    """A genuine counter in another one's place is not believed."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    assert remaining(bob) == 3
    counting.redis.hset(name(bob, quota), mapping=counting.redis.hgetall(name(alice, quota)))
    assert remaining(bob) == 3


def test_news_in_one_field_survives_nonsense_in_the_other(counting):
    """Where only one field was spoilt, an older copy replaces that one and leaves the newer other one alone."""
    tell(counting, said(used=2, used_revision=2, credits=7, credits_revision=9))
    counting.redis.hset(said().key, "used", "99999 nonsense")
    tell(counting, said(used=3, used_revision=3, credits=5, credits_revision=8))
    raw = tuple(counting.redis.hget(said().key, field).decode() for field in ("used", "credits"))
    found = counts.read(1, 1, said().day, raw)
    assert (found.used, found.credits) == (3, 7)


def test_old_news_after_a_loss(counting, alice, quota, model):
    """What Redis hears late from others, having lost what this process told it, is not shown; our own is not told."""
    reserve(alice, model, "g1")
    old, sealed = in_redis(counting, alice, quota), counting.redis.hgetall(name(alice, quota))
    reserve(alice, model, "g2")
    counting.redis.flushall()
    hints.note([old], {})
    counting.run(hints.flush())
    assert counting.names() == []
    counting.redis.hset(name(alice, quota), mapping=sealed)
    assert remaining(alice) == 1
    assert in_redis(counting, alice, quota).used == 2


def test_books_that_were_restored(counting, alice, quota, model, monkeypatch):
    """Books set back, from a backup or by hand, are older than the counter: the next comparison puts it right."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    DailyUsage.objects.update(used=1, revision=1)
    monkeypatch.setattr(hints, "TRUSTED_SECONDS", 0)
    assert remaining(alice) == 2
    assert in_redis(counting, alice, quota).used == 1


def test_an_old_counter_is_compared(counting, alice, quota, model, monkeypatch):
    """A counter that its writer could not keep up to date, having died, is believed for half a minute at most."""
    reserve(alice, model, "g1")
    DailyUsage.objects.update(used=2, revision=2)
    assert remaining(alice) == 2
    later = timezone.now() + timedelta(seconds=31)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert remaining(alice) == 1


def test_limits_are_those_of_now(counting, alice, quota, model):
    """A limit that an admin changes, for all or for a group, is shown although the counter was written before."""
    reserve(alice, model, "g1")
    Quota.objects.update(daily_limit=10)
    snapshot.forget()
    assert remaining(alice) == 9
    limit = QuotaGroupLimit.objects.create(quota=quota, group=factories.group("vip", alice), daily_limit=20)
    snapshot.forget()
    assert remaining(alice) == 19
    limit.delete()
    snapshot.forget()
    assert remaining(alice) == 9


def test_exhausted_is_confirmed(counting, alice, quota, model):
    """The counter says that nothing is left, the ledger confirms it; a unit that comes back ends that at once."""
    assert counting.run(hints.seems_exhausted(alice.pk, "glm-4")) is None
    for number in range(3):
        reserve(alice, model, f"g{number}")
    seen = counting.run(hints.seems_exhausted(alice.pk, "glm-4"))
    assert seen
    with pytest.raises(QuotaExhausted) as refused:
        ledger.check(alice.pk, model.pk, seen)
    assert refused.value.retry_after == pytest.approx(days.seconds_to_reset(timezone.now()), abs=5)
    ledger.grant(alice.pk, quota.pk, 1, "gift")
    assert counting.run(hints.seems_exhausted(alice.pk, "glm-4")) is None


def test_a_wrong_no_is_found_out(counting, alice, quota, model):
    """A counter that says nothing is left, against the ledger, refuses nobody and is repaired by the one look."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    DailyUsage.objects.update(used=0, revision=0)
    seen = counting.run(hints.seems_exhausted(alice.pk, "glm-4"))
    ledger.check(alice.pk, model.pk, seen)
    assert counting.run(hints.seems_exhausted(alice.pk, "glm-4")) is None
    assert reserve(alice, model, "g3").remaining == 2


def test_one_read_confirms(counting, alice, quota, model, django_assert_num_queries):
    """Confirming that nothing is left is one statement."""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    with django_assert_num_queries(1), pytest.raises(QuotaExhausted):
        ledger.check(alice.pk, model.pk, counts.Found(None, False, counts.NOTHING))


def test_a_model_nobody_knows_is_not_counted(counting, alice):
    """Of a model that has no quota, or does not exist, no counter says anything."""
    snapshot.forget()
    assert counting.run(hints.seems_exhausted(alice.pk, "glm-4")) is None
    snapshot.current()
    assert counting.run(hints.seems_exhausted(alice.pk, "nothing")) is None


def test_the_same_without_redis(counting, alice, quota, model, settings):
    """Without REDIS_URL nobody is asked, nothing is kept, and everything is as the ledger says."""
    settings.REDIS_URL = ""
    for number in range(3):
        reserve(alice, model, f"g{number}")
    assert remaining(alice) == 0
    assert counting.run(hints.seems_exhausted(alice.pk, "glm-4")) is None
    assert (counting.names(), hints.untold()) == ([], 0)


def test_redis_away_and_back(counting, alice, quota, model):
    """While Redis is away the ledger is asked; what it said meanwhile is told when Redis is back."""
    reserve(alice, model, "g1")
    counting.server.stop()
    try:
        started = time.monotonic()
        reserve(alice, model, "g2")
        assert remaining(alice) == 1
        assert time.monotonic() - started < 2
        assert hints.untold() == 1
    finally:
        counting.server.start()
    until = time.monotonic() + 10
    while hints.untold():
        counting.run(hints.flush())
        assert time.monotonic() < until
    assert in_redis(counting, alice, quota).used == 2


def test_frozen_redis(counting, alice, quota, model):
    """A frozen Redis costs one short wait; then nobody waits, the loop least of all; nothing wrong is shown after."""
    reserve(alice, model, "g1")
    watch, stalls = counting.run(watched())
    counting.server.signal(signal.SIGSTOP)
    try:
        waits = []
        for number in range(2, 5):
            started = time.monotonic()
            with pytest.raises(QuotaExhausted) if number == 4 else transaction.atomic():
                reserve(alice, model, f"g{number}")
            assert remaining(alice) == max(0, 3 - number)
            waits.append(time.monotonic() - started)
        assert waits[0] < 2
        assert min(waits[1:]) < 0.5
    finally:
        counting.server.signal(signal.SIGCONT)
    assert remaining(alice) == 0  # what stands in Redis is older, and this process knows it
    assert max(stalls) < 0.5
    counting.loop.call_soon_threadsafe(watch.cancel)


async def watched():
    """Start measuring how long the serving loop is held up; return the task, and the list of delays, which grows."""
    delays = []

    async def watch():
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.02)
            delays.append(time.monotonic() - started - 0.02)

    return asyncio.create_task(watch()), delays


def test_what_cannot_be_told_is_bounded(counting, monkeypatch):
    """While Redis is away, only so much is kept for it; what was noted last stays."""
    monkeypatch.setattr(hints, "MOST", 5)
    for user in range(8):
        hints._add(replace(said(), user=user), counts.NOTHING)
    assert [copy.user for copy, _doubted in hints._untold.values()] == [3, 4, 5, 6, 7]


def test_rebuilt(counting, alice, bob, quota, model):
    """`rebuild_counters` throws away what stands there, of yesterday too, and writes what the ledger says."""
    reserve(alice, model, "g1")
    ledger.grant(bob.pk, quota.pk, 4, "gift")
    yesterday = counts.key(alice.pk, quota.pk, days.day_of(timezone.now() - timedelta(days=1)))
    spoil_numbers(counting.redis, yesterday)
    spoil_type(counting.redis, name(alice, quota))
    counting.redis.set("somebody:else", 1)
    output = io.StringIO()
    counting.run(runtime().redis.aclose())  # the command has a loop of its own, as in a process of its own
    call_command("rebuild_counters", stdout=output)
    assert output.getvalue() == "3 counters thrown away, those of 2 people built.\n"
    assert counting.names() == sorted(["somebody:else", name(alice, quota), name(bob, quota)])
    assert in_redis(counting, alice, quota).used == 1
    assert in_redis(counting, bob, quota).credits == 4


def test_rebuilding_without_redis(counting, settings):
    """Without Redis there is nothing to rebuild; with one that is away the command says so."""
    counting.server.stop()
    try:
        with pytest.raises(CommandError, match="REDIS_URL"):
            call_command("rebuild_counters")
    finally:
        counting.server.start()
    settings.REDIS_URL = ""
    output = io.StringIO()
    call_command("rebuild_counters", stdout=output)
    assert "no REDIS_URL" in output.getvalue()


def test_few_connections(counting, alice, quota, model):
    """However many ask at once, a process has few connections for it."""

    async def ask_many():
        await asyncio.gather(*(hints.seems_exhausted(alice.pk, "glm-4") for _ in range(500)))

    snapshot.current()
    counting.run(ask_many())
    ours = [client for client in counting.redis.client_list() if client["addr"] != counting.redis.client_info()["addr"]]
    assert 1 <= len(ours) <= redis_clients.CONNECTIONS


def test_balances_have_revisions(counting, alice, quota, model):
    """Each change of a row of the books raises its revision, whatever it does to the figure."""
    ledger.grant(alice.pk, quota.pk, 2, "gift")
    ledger.grant(alice.pk, quota.pk, -1, "mistake")
    reserve(alice, model, "g1")
    with transaction.atomic():
        ledger.release("g1", "interrupted")
    assert CreditBalance.objects.values_list("credits", "revision").get() == (1, 2)
    assert DailyUsage.objects.values_list("used", "revision").get() == (0, 2)
    assert connection.in_atomic_block is False
