"""Random histories of reserve, settle, release, grant, redeem, invite, day change and crash, against a short model."""

import os
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from django.apps import apps
from django.core.management.color import no_style
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from accounts.models import User
from providers.apps import providers_app
from quotas import hints, invitations, ledger, redeem_codes
from quotas import snapshot as table
from quotas.errors import InvalidCode, QuotaExhausted
from quotas.models import REWARDS_A_DAY
from runtime import redis_clients
from runtime.apps import runtime
from tests import factories
from tests.quotas import books
from tests.quotas.conftest import Counting, forget
from web.refusals import InvalidRequest

LIMIT = 2
REWARD = 2
EXAMPLES = 1_000 if os.environ.get("SOAK") == "1" else 30


def committed(call, *arguments):
    with transaction.atomic():
        return call(*arguments)


def clear():
    """Empty all tables of the product."""
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    kept = {"django_content_type", "auth_permission"}
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), sorted(tables - kept)))


class Histories(RuleBasedStateMachine):
    """Two people, one quota. Each history is a transaction that is rolled back at its end."""

    held = Bundle("held")
    ended = Bundle("ended")
    codes = Bundle("codes")
    people = st.sampled_from([0, 1])

    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.quota = factories.quota(daily_limit=LIMIT, inviter_credits=REWARD)
        self.model = factories.chat_model(of=self.quota)
        self.persons = [factories.user(password=None).pk for _ in range(2)]
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.used: Counter = Counter()
        self.credits: Counter = Counter()
        self.rewards: Counter = Counter()
        self.redeemed: set[str] = set()
        self.count = 0

    def begin(self) -> None:
        self.history = transaction.atomic()
        self.history.__enter__()

    def end(self) -> None:
        transaction.set_rollback(True)
        self.history.__exit__(None, None, None)

    def teardown(self) -> None:
        try:
            for person in self.persons:
                books.check(person, self.quota.pk)
        finally:
            self.end()

    def left(self, who: int) -> str | None:
        if self.used[who, ledger.day_of(self.now)] < LIMIT:
            return "daily"
        return "credit" if self.credits[who] else None

    @rule(target=held, who=people)
    def reserve(self, who):
        source, self.count = self.left(who), self.count + 1
        reference = f"{self.quota.pk}-{self.count}"
        try:
            committed(ledger.reserve, self.persons[who], self.model.pk, reference, self.now)
        except QuotaExhausted:
            assert source is None
            return multiple()
        self.take(who, ledger.day_of(self.now), source, 1)
        return reference, who, ledger.day_of(self.now), source

    def take(self, who, day, source, amount):
        if source == "daily":
            self.used[who, day] += amount
        else:
            assert source == "credit"
            self.credits[who] -= amount

    @rule(target=ended, unit=consumes(held))
    def settle(self, unit):
        charge = committed(ledger.settle, unit[0], "stop")
        assert charge.as_json() == {"amount": 1, "source": unit[3], "reason": "stop"}
        return unit[0], charge

    @rule(target=ended, unit=consumes(held))
    def release(self, unit):
        charge = committed(ledger.release, unit[0], "interrupted")
        assert charge.as_json() == {"amount": 0, "source": "none", "reason": "interrupted"}
        self.take(*unit[1:], -1)
        return unit[0], charge

    @rule(unit=ended, end=st.sampled_from([ledger.settle, ledger.release]))
    def end_again(self, unit, end):
        assert committed(end, unit[0], "late") == unit[1]

    @rule(who=people, amount=st.integers(-3, 3))
    def grant(self, who, amount):
        possible = amount != 0 and self.credits[who] + amount >= 0
        try:
            ledger.grant(self.persons[who], self.quota.pk, amount, "gift")
        except InvalidRequest:
            assert not possible
        else:
            assert possible
            self.credits[who] += amount

    @rule(target=codes, worth=st.integers(1, 3))
    def make_code(self, worth):
        return redeem_codes.make(self.quota, worth, 1, None, None)[0].code, worth

    @rule(who=people, code=codes)
    def redeem(self, who, code):
        text, worth = code
        if text in self.redeemed:
            with pytest.raises(InvalidCode):
                redeem_codes.redeem(self.persons[who], text)
            return
        redeem_codes.redeem(self.persons[who], text)
        self.redeemed.add(text)
        self.credits[who] += worth

    @rule(who=people, answers=st.integers(0, 2))
    def invite(self, who, answers):
        """A friend joins, and answers so often: the first time earns, as long as the day has not had its share."""
        friend, day = factories.user(password=None).pk, ledger.day_of(timezone.now())
        committed(lambda: invitations.join(self.persons[who], friend, earns=True))
        for number in range(answers):
            committed(self.answer_of_friend, friend, f"{friend}-friend-{number}")
        if answers and self.rewards[who, day] < REWARDS_A_DAY:
            self.rewards[who, day] += 1
            self.credits[who] += REWARD

    def answer_of_friend(self, friend, reference):
        ledger.reserve(friend, self.model.pk, reference, self.now)
        charge = ledger.settle(reference, "stop")
        if charge.invitation:
            invitations.reward(charge.invitation)

    @rule(hours=st.sampled_from([-1, 1, 11, 24]))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)

    @rule(who=people, unit=held)
    def crash(self, who, unit):
        (code,) = redeem_codes.make(self.quota, 1, 1, None, None)
        for call, arguments in (
            (ledger.reserve, (self.persons[who], self.model.pk, "lost", self.now)),
            (ledger.settle, (unit[0], "stop")),
            (ledger.release, (unit[0], "stop")),
            (ledger.grant, (self.persons[who], self.quota.pk, 1, "lost")),
            (redeem_codes.redeem, (self.persons[who], code.code)),
        ):
            with pytest.raises((ZeroDivisionError, QuotaExhausted)):
                self.crash_after(call, *arguments)

    def crash_after(self, call, *arguments):
        with transaction.atomic():
            call(*arguments)
            raise ZeroDivisionError

    @invariant()
    def people_see_what_they_have(self):
        for who, person in enumerate(self.persons):
            state = ledger.state(person, self.quota.pk, self.now)
            used, credit = self.right(who)
            assert (state["used_today"], state["credits"]) == (used, credit)
            assert state["remaining"] == LIMIT - used + credit

    def right(self, who: int) -> tuple[int, int]:
        return self.used[who, ledger.day_of(self.now)], self.credits[who]


class CountedHistories(Histories):
    """The same with counters, to which the news come late and in any order, and which are lost and spoilt meanwhile.

    Each history is committed step by step. `late` are the news that Redis has not heard; `behind` is who may be shown
    older figures until the ledger is read for them again: something old came after the counter was lost.
    """

    counting: Counting

    def begin(self) -> None:
        self.late: list = []
        self.behind: set = set()
        self.patches = [
            mock.patch.object(timezone, "now", self.what_time),
            mock.patch.object(hints, "note", self.hear),
        ]
        self.now = datetime.now(UTC)
        for patch in self.patches:
            patch.start()
        self.counting.redis.flushall()
        forget()
        clear()  # what earlier histories have left
        providers_app().configuration.forget()
        table.forget()

    def what_time(self) -> datetime:
        return self.now

    def hear(self, read, seen) -> None:
        self.late.append((list(read), dict(seen)))

    @contextmanager
    def heard_at_once(self):
        """Let Redis hear now of what is noted inside."""
        before = len(self.late)
        yield
        for note in self.late[before:]:
            self.tell(note)
        del self.late[before:]

    def end(self) -> None:
        for patch in self.patches:
            patch.stop()

    def teardown(self) -> None:
        try:
            while self.late:
                self.deliver(-1)
            for who in (0, 1):
                self.look(who)
                self.contact(who)
                self.look(who)
        finally:
            super().teardown()

    def tell(self, note) -> None:
        with mock.patch.object(runtime().redis, "from_thread"):  # flushed here, not by the page's thread
            NOTE(*note)
        self.counting.run(hints.flush())

    @rule(number=st.integers(0, 20))
    def deliver(self, number):
        if self.late:
            self.tell(self.late.pop(number % len(self.late)))

    @rule()
    def lost(self):
        self.counting.redis.flushall()
        self.left_behind()

    @rule(field=st.sampled_from(["used", "credits"]), value=st.sampled_from(["", "7", "9999 1 9 {0} x", "0 9 {0} x"]))
    def spoilt(self, field, value):
        for name in self.counting.names():
            self.counting.redis.hset(name, field, value.format(int(self.now.timestamp())))
        self.left_behind()

    def left_behind(self) -> None:
        self.behind |= self.waiting()

    def waiting(self) -> set[int]:
        return {copy.user for read, _seen in self.late for copy in read}

    @rule(seconds=st.integers(0, 40))
    def moments_pass(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(who=Histories.people)
    def contact(self, who):
        """After the ledger was read for somebody, and Redis heard of it, no counter says anything else."""
        with self.heard_at_once():
            state = ledger.state(self.persons[who], self.quota.pk, self.now)
        self.behind.discard(self.persons[who])
        said = self.found(who)
        assert said is None or (said.used, said.credits) == (state["used_today"], state["credits"])

    def found(self, who):
        return self.counting.run(hints.look(self.persons[who], [self.quota.pk], self.now))[self.quota.pk].counts

    @rule(who=Histories.people)
    def look(self, who):
        """What a page shows is what the ledger says, unless news are on their way."""
        person = self.persons[who]
        with self.heard_at_once():
            (shown,) = ledger.overview(User(pk=person))
        if person not in self.behind | self.waiting():
            said = self.found(who)
            assert (shown["used_today"], shown["credits"]) == (said.used, said.credits) == self.right(who)

    @invariant()
    def people_see_what_they_have(self):
        before = len(self.late)
        super().people_see_what_they_have()
        del self.late[before:]  # looking for the test's sake is not part of the history


NOTE = hints.note


@pytest.mark.soak
@pytest.mark.django_db
def test_it_works():
    """Whatever happens in whatever order, the books agree with each other and with what people were told."""
    run_state_machine_as_test(
        Histories, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_counters_follow(counting, monkeypatch):
    """Whatever happens to the counters, and however late the news, after contact they say what the ledger says."""
    monkeypatch.setattr(redis_clients, "REPLY_SECONDS", 20.0)  # on a crowded machine
    CountedHistories.counting = counting
    run_state_machine_as_test(
        CountedHistories, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )
