"""Random histories of reserve, settle, release, grant, day change and crash, against a model of a few lines."""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
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

from quotas import ledger
from quotas.errors import QuotaExhausted
from runtime.refusals import InvalidRequest
from tests import factories
from tests.quotas import books

LIMIT = 2
EXAMPLES = 1_000 if os.environ.get("SOAK") == "1" else 30


class Histories(RuleBasedStateMachine):
    """Two people, one quota. Each history is a transaction that is rolled back at its end."""

    held = Bundle("held")
    ended = Bundle("ended")
    people = st.sampled_from([0, 1])

    def __init__(self) -> None:
        super().__init__()
        self.history = transaction.atomic()
        self.history.__enter__()
        self.quota = factories.quota(daily_limit=LIMIT)
        self.model = factories.chat_model(of=self.quota)
        self.persons = [factories.user(password=None).pk for _ in range(2)]
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.used: Counter = Counter()
        self.credits: Counter = Counter()
        self.count = 0

    def teardown(self) -> None:
        try:
            for person in self.persons:
                books.check(person, self.quota.pk)
        finally:
            transaction.set_rollback(True)
            self.history.__exit__(None, None, None)

    def left(self, who: int) -> str | None:
        if self.used[who, ledger.day_of(self.now)] < LIMIT:
            return "daily"
        return "credit" if self.credits[who] else None

    @rule(target=held, who=people)
    def reserve(self, who):
        source, self.count = self.left(who), self.count + 1
        reference = f"g{self.count}"
        try:
            with transaction.atomic():
                ledger.reserve(self.persons[who], self.model.pk, reference, self.now)
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
        charge = ledger.settle(unit[0], "stop")
        assert charge.as_json() == {"amount": 1, "source": unit[3], "reason": "stop"}
        return unit[0], charge

    @rule(target=ended, unit=consumes(held))
    def release(self, unit):
        charge = ledger.release(unit[0], "interrupted")
        assert charge.as_json() == {"amount": 0, "source": "none", "reason": "interrupted"}
        self.take(*unit[1:], -1)
        return unit[0], charge

    @rule(unit=ended, end=st.sampled_from([ledger.settle, ledger.release]))
    def end_again(self, unit, end):
        assert end(unit[0], "late") == unit[1]

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

    @rule(hours=st.sampled_from([-1, 1, 11, 24]))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)

    @rule(who=people, unit=held)
    def crash(self, who, unit):
        for call, arguments in (
            (ledger.reserve, (self.persons[who], self.model.pk, "lost", self.now)),
            (ledger.settle, (unit[0], "stop")),
            (ledger.release, (unit[0], "stop")),
            (ledger.grant, (self.persons[who], self.quota.pk, 1, "lost")),
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
            used = self.used[who, ledger.day_of(self.now)]
            assert (state["used_today"], state["credits"]) == (used, self.credits[who])
            assert state["remaining"] == LIMIT - used + self.credits[who]


@pytest.mark.soak
@pytest.mark.django_db
def test_it_works():
    """Whatever happens in whatever order, the books agree with each other and with what people were told."""
    run_state_machine_as_test(
        Histories, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )
