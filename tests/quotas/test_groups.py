"""Limits by group: the best limit of the user's groups counts."""

import pytest
from django.db import IntegrityError, connection, transaction

from providers.apps import providers_app
from quotas import ledger
from quotas.apps import quotas_app
from quotas.errors import QuotaExhausted
from quotas.models import QuotaGroupLimit
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota():
    return factories.quota("standard", daily_limit=2)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


def limit(quota, name, daily_limit, *members):
    group = factories.group(name, *members)
    return QuotaGroupLimit.objects.create(quota=quota, group=group, daily_limit=daily_limit)


def granted(user, model, tries=12):
    """Return how many units a user gets before the refusal, and the refusal."""
    for number in range(tries):
        try:
            with transaction.atomic():
                ledger.reserve(user.pk, model.pk, f"{user.pk}-{model.pk}-{number}")
        except QuotaExhausted as refusal:
            return number, refusal
    return tries, None


def test_members_have_the_groups_limit(alice, bob, quota, model):
    """Members have the group's limit, other users the quota's own."""
    limit(quota, "students", 5, alice)
    assert granted(alice, model)[0] == 5
    assert granted(bob, model)[0] == 2
    shown = [ledger.overview(user)[0] for user in (alice, bob)]
    assert [(state["daily_limit"], state["remaining"]) for state in shown] == [(5, 0), (2, 0)]
    assert shown == [ledger.state(user.pk, quota.pk) for user in (alice, bob)]


@pytest.mark.parametrize(
    ("everybody", "groups", "holds"),
    [
        (2, [5, 3], 5),
        (2, [5, None], None),
        (2, [None], None),
        (2, [1], 1),
        (2, [0], 0),
        (2, [0, 4], 4),
        (None, [3], 3),
        (0, [3], 3),
        (2, [], 2),
    ],
)
def test_the_best_group_counts(alice, quota, model, everybody, groups, holds):
    """The best limit of the user's groups replaces the quota's own, even a better one."""
    quota.daily_limit = everybody
    quota.save()
    for number, daily_limit in enumerate(groups):
        limit(quota, f"group{number}", daily_limit, alice)
    limit(quota, "of others", 11)
    number, refusal = granted(alice, model)
    assert number == (12 if holds is None else holds)
    (state,) = ledger.overview(alice)
    assert (state["daily_limit"], state["remaining"]) == (holds, None if holds is None else 0)
    if refusal:
        assert (refusal.retry_after is None) is (holds == 0)


def test_other_quotas_are_not_meant(alice, quota, model):
    """A limit is one quota's; the others keep theirs."""
    other = factories.chat_model("gpt-4", of=factories.quota("premium", daily_limit=1))
    limit(quota, "students", 3, alice)
    assert granted(alice, model)[0] == 3
    assert granted(alice, other)[0] == 1


def test_credits_come_after_the_groups_limit(alice, quota, model):
    """Credits buy one completion each once the group's allowance is used up."""
    limit(quota, "students", 3, alice)
    factories.credits_for(alice, quota, 2)
    assert granted(alice, model)[0] == 5


def test_joining_counts_at_once(alice, quota, model):
    """Joining or leaving a group changes the limit at the next call."""
    assert granted(alice, model)[0] == 2
    row = limit(quota, "students", 3)
    row.group.user_set.add(alice)
    with transaction.atomic():
        assert ledger.reserve(alice.pk, model.pk, "third").remaining == 0
    row.group.user_set.remove(alice)
    with pytest.raises(QuotaExhausted):
        ledger.reserve(alice.pk, model.pk, "fourth")


def test_one_limit_for_a_group(quota):
    """A group has one limit on a quota."""
    row = limit(quota, "students", 3)
    with pytest.raises(IntegrityError), transaction.atomic():
        QuotaGroupLimit.objects.create(quota=quota, group=row.group, daily_limit=4)
    assert str(row) == "standard: students"


def test_nothing_configured_costs_nothing(alice, quota, model, django_assert_num_queries):
    """Groups cost a query only where a limit or a model depends on them."""
    reserving = 3 if connection.vendor == "sqlite" else 2
    ledger.reserve(alice.pk, model.pk, "first of the day")
    quotas_app().snapshot.current()
    with django_assert_num_queries(1):
        ledger.overview(alice)
    with django_assert_num_queries(reserving):
        ledger.reserve(alice.pk, model.pk, "g1")
    limit(quota, "students", 3, alice)
    quotas_app().snapshot.forget()
    quotas_app().snapshot.current()
    with django_assert_num_queries(2):
        ledger.overview(alice)
    with django_assert_num_queries(reserving):
        ledger.reserve(alice.pk, model.pk, "g2")


def test_reserved_models_are_shown_to_members(alice, bob, quota, model):
    """A quota names only the models that the user may use."""
    reserved = factories.chat_model("secret", of=quota)
    hidden = factories.chat_model("hidden", of=factories.quota("hidden"))
    for one in (reserved, hidden):
        one.groups.add(factories.group(f"users of {one.slug}", alice))
    for known in (providers_app().configuration, quotas_app().snapshot):
        known.forget()
    assert [(state["slug"], state["models"]) for state in ledger.overview(alice)] == [
        ("standard", ["glm-4", "secret"]),
        ("hidden", ["hidden"]),
    ]
    assert [(state["slug"], state["models"]) for state in ledger.overview(bob)] == [("standard", ["glm-4"])]
    assert ledger.state(bob.pk, quota.pk)["models"] == ["glm-4"]


def test_a_quota_of_others(alice, bob, quota, model):
    """A quota of a group's models is shown to members and credit owners."""
    model.groups.add(factories.group("few", bob))
    providers_app().configuration.forget()
    quotas_app().snapshot.forget()
    assert [ledger.overview(user) for user in (alice, bob)] == [[], [ledger.state(bob.pk, quota.pk)]]
    factories.credits_for(alice, quota, 2)
    (state,) = ledger.overview(alice)
    assert (state["models"], state["credits"]) == ([], 2)
