"""Random histories of reserving, ending, granting, redeeming, inviting and crashing, against a short model."""

import asyncio
import math
import os
from collections import Counter
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
from quotas.apps import quotas_app
from quotas.errors import InvalidCode, QuotaExhausted
from quotas.models import REWARDS_A_DAY
from tests import factories
from tests.quotas import consistency
from web.refusals import InvalidRequest

LIMIT = 2
REWARD = 2
EXAMPLES = settings(max_examples=1_000 if os.environ.get("SOAK") == "1" else 30, stateful_step_count=30, deadline=None)


def committed(call, *arguments):
    with transaction.atomic():
        return call(*arguments)


def clear():
    """Empty all tables of the product."""
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed}
    kept = {"django_content_type", "auth_permission"}
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), sorted(tables - kept)))


class Histories(RuleBasedStateMachine):
    """Two users, one quota. Each history is a transaction that is rolled back."""

    open_units = Bundle("open_units")
    ended_units = Bundle("ended_units")
    codes = Bundle("codes")
    people = st.sampled_from([0, 1])

    def __init__(self) -> None:
        super().__init__()
        self.begin()
        self.quota = factories.quota(daily_limit=LIMIT, inviter_credits=REWARD)
        self.model = factories.chat_model(of=self.quota)
        self.users = [factories.user(password=None).pk for _ in range(2)]
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
            for user in self.users:
                consistency.check(user, self.quota.pk)
        finally:
            self.end()

    def left(self, who: int) -> str | None:
        if self.used[who, ledger.day_of(self.now)] < LIMIT:
            return "daily"
        return "credit" if self.credits[who] else None

    @rule(target=open_units, who=people)
    def reserve(self, who):
        source, self.count = self.left(who), self.count + 1
        reference = f"{self.quota.pk}-{self.count}"
        try:
            committed(ledger.reserve, self.users[who], self.model.pk, reference, self.now)
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

    @rule(target=ended_units, unit=consumes(open_units))
    def settle(self, unit):
        charge = committed(ledger.settle, unit[0], "stop")
        assert charge.as_json() == {"amount": 1, "source": unit[3], "reason": "stop"}
        return unit[0], charge

    @rule(target=ended_units, unit=consumes(open_units))
    def release(self, unit):
        charge = committed(ledger.release, unit[0], "interrupted")
        assert charge.as_json() == {"amount": 0, "source": "none", "reason": "interrupted"}
        self.take(*unit[1:], -1)
        return unit[0], charge

    @rule(unit=ended_units, end=st.sampled_from([ledger.settle, ledger.release]))
    def end_again(self, unit, end):
        assert committed(end, unit[0], "late") == unit[1]

    @rule(who=people, amount=st.integers(-3, 3))
    def grant(self, who, amount):
        possible = amount != 0 and self.credits[who] + amount >= 0
        try:
            ledger.grant(self.users[who], self.quota.pk, amount, "gift")
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
                redeem_codes.redeem(self.users[who], text)
            return
        redeem_codes.redeem(self.users[who], text)
        self.redeemed.add(text)
        self.credits[who] += worth

    @rule(who=people, answers=st.integers(0, 2))
    def invite(self, who, answers):
        """A friend joins and sends prompts; the first earns, up to the day's share."""
        friend, day = factories.user(password=None).pk, ledger.day_of(timezone.now())
        committed(lambda: invitations.join(self.users[who], friend, earns=True))
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

    @rule(who=people, unit=open_units)
    def crash(self, who, unit):
        (code,) = redeem_codes.make(self.quota, 1, 1, None, None)
        for call, arguments in (
            (ledger.reserve, (self.users[who], self.model.pk, "lost", self.now)),
            (ledger.settle, (unit[0], "stop")),
            (ledger.release, (unit[0], "stop")),
            (ledger.grant, (self.users[who], self.quota.pk, 1, "lost")),
            (redeem_codes.redeem, (self.users[who], code.code)),
        ):
            with pytest.raises((ZeroDivisionError, QuotaExhausted)):
                self.crash_after(call, *arguments)

    def crash_after(self, call, *arguments):
        with transaction.atomic():
            call(*arguments)
            raise ZeroDivisionError

    @invariant()
    def users_see_what_they_have(self):
        for who, user in enumerate(self.users):
            state = ledger.state(user, self.quota.pk, self.now)
            used, credit = self.right(who)
            assert (state["used_today"], state["credits"]) == (used, credit)
            assert state["remaining"] == LIMIT - used + credit

    def right(self, who: int) -> tuple[int, int]:
        return self.used[who, ledger.day_of(self.now)], self.credits[who]


class SlowRedis:
    """A Redis that carries out a command at once, or late and in another order."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, float]] = {}
        self.late: list[tuple[str, bytes, bool, float]] = []
        self.clock, self.prompt = 0.0, True

    async def get(self, name):
        value, dies_at = self.values.get(name, (None, 0.0))
        return value if self.clock < dies_at else None

    async def set(self, name, value, nx=False, ex=math.inf):
        if self.prompt:
            self.carry_out(name, value, nx, ex)
        else:
            self.late.append((name, value, nx, ex))

    def carry_out(self, name, value, nx, ex):
        if not nx or self.clock >= self.values.get(name, (b"", 0.0))[1]:
            self.values[name] = value, self.clock + ex


class CountedHistories(Histories):
    """The same with counters and a slow Redis that loses commands and data.

    `truth` lists what each user had at each moment. Until `doubtful`, a counter may show older figures:
    while a command is late, and half a minute after it came or was lost.
    """

    def begin(self) -> None:
        self.redis = SlowRedis()
        self.truth: dict[int, list] = {0: [], 1: []}
        self.doubtful, self.polling = 0.0, True
        self.patches = [
            mock.patch.object(timezone, "now", self.what_time),
            mock.patch.object(quotas_app().hints, "_ask", lambda command: command(self.redis)),
        ]
        self.now = datetime.now(UTC)
        for patch in self.patches:
            patch.start()
        clear()  # what earlier histories have left
        providers_app().configuration.forget()
        quotas_app().snapshot.forget()

    def what_time(self) -> datetime:
        return self.now

    def end(self) -> None:
        for patch in self.patches:
            patch.stop()

    @rule(prompt=st.booleans())
    def network(self, prompt):
        self.redis.prompt = prompt

    @rule(number=st.integers(0, 20), lost=st.booleans())
    def deliver(self, number, lost):
        if self.redis.late:
            command = self.redis.late.pop(number % len(self.redis.late))
            self.doubtful = self.redis.clock + hints.TRUSTED_SECONDS
            if not lost:
                self.redis.carry_out(*command)

    @rule()
    def flush(self):
        self.redis.values.clear()

    @rule(value=st.sampled_from([b"", b"nonsense", b"[]", b'{"read_at": 1, "quotas": {}}']))
    def spoil(self, value):
        for name in self.redis.values:
            self.redis.values[name] = value, math.inf

    @rule(seconds=st.integers(1, 40))
    def moments_pass(self, seconds):
        self.now += timedelta(seconds=seconds)
        self.redis.clock += seconds

    @rule(hours=st.sampled_from([-1, 1, 11, 24]))
    def time_passes(self, hours):
        super().time_passes(hours)
        self.redis.clock += abs(hours) * 3600

    @rule(polling=st.booleans())
    def pages(self, polling):
        self.polling = polling

    @rule(who=Histories.people)
    def look(self, who):
        """A page shows the ledger's figures, or those of the last half minute."""
        (shown,) = ledger.overview(User(pk=self.users[who]))
        figures = shown["used_today"], shown["credits"]
        if self.redis.late or self.redis.clock < self.doubtful:
            assert figures in [had for at, had in self.truth[who] if self.redis.clock - at < hints.TRUSTED_SECONDS]
        else:
            assert figures == self.right(who)

    @rule(who=Histories.people)
    def be_refused_early(self, who):
        """An early refusal happens only to a user with nothing left."""
        quotas_app().snapshot.current()
        if asyncio.run(quotas_app().hints.exhausted(self.users[who], self.model.slug)):
            try:
                ledger.confirm_exhausted(self.users[who], self.model.pk)
            except QuotaExhausted:
                assert self.left(who) is None
            else:
                assert self.left(who)

    @invariant()
    def open_pages_follow(self):
        for who, truth in self.truth.items():
            truth.append((self.redis.clock, self.right(who)))
            if self.polling:
                self.look(who)


@pytest.mark.soak
@pytest.mark.django_db
def test_ledger_follows_the_model():
    """In any order of events, tables and shown figures agree with the model."""
    run_state_machine_as_test(Histories, settings=EXAMPLES)


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_counters_are_soon_right(settings):
    """Whatever Redis does, figures are 30 seconds old at most, and refusals are right."""
    settings.REDIS_URL = "redis://used-by-no-test.invalid"
    run_state_machine_as_test(CountedHistories, settings=EXAMPLES)
