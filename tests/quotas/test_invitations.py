"""Invitations: when they earn credits, and how many."""

from datetime import timedelta
from itertools import count

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from quotas import invitations, ledger
from quotas.models import REWARDS_A_DAY, Invitation, LedgerEntry, Quota
from tests import factories
from tests.quotas import consistency
from web.refusals import InvalidRequest

pytestmark = pytest.mark.django_db

references = (f"g{number}" for number in count())


@pytest.fixture
def quota():
    return factories.quota("standard", daily_limit=3, inviter_credits=10, invitee_credits=5)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


def join(inviter, invited, *, earns=True):
    with transaction.atomic():
        invitations.join(inviter.pk, invited.pk, earns=earns)
    return invited


def friend(inviter):
    return join(inviter, factories.user(password=None))


def answer(user, model, end=ledger.settle):
    """Reserve and end one unit as `chat.generations.finish` does."""
    reference = next(references)
    with transaction.atomic():
        ledger.reserve(user.pk, model.pk, reference)
        charge = end(reference, "stop")
        if charge.invitation:
            invitations.reward(charge.invitation)
    return charge


def credit(user, quota):
    return ledger.state(user.pk, quota.pk)["credits"]


def test_both_sides_get_credits(alice, bob, quota, model):
    """Invited users get credits at once, inviters with the first charged completion only."""
    join(alice, bob)
    assert (credit(bob, quota), credit(alice, quota)) == (5, 0)
    assert invitations.sums(alice.pk) == {"joined": 1, "pending": 10, "earned": 0}
    answer(bob, model)
    assert (credit(bob, quota), credit(alice, quota)) == (5, 10)
    assert invitations.sums(alice.pk) == {"joined": 1, "pending": 0, "earned": 10}
    answer(bob, model)
    assert credit(alice, quota) == 10
    entry = LedgerEntry.objects.get(user=alice)
    assert (entry.amount, entry.source, entry.reason, entry.reference) == (10, "credit", "inviter", "")
    row = Invitation.objects.get()
    assert (row.status, row.reward, row.credited_at is None) == ("credited", 10, False)
    consistency.check(alice.pk, quota.pk)


def test_more_than_can_be_noted(alice, bob, quota, model):
    """Rewards whose sum exceeds their column do not fail the completion."""
    Quota.objects.update(inviter_credits=2**31 - 1)
    factories.quota("premium", inviter_credits=2**31 - 1)
    join(alice, bob)
    answer(bob, model)
    assert credit(alice, quota) == 2**31 - 1
    assert Invitation.objects.get().reward == 2**31 - 1


def test_an_uncharged_completion_earns_nothing(alice, bob, quota, model):
    """A failed or empty completion earns nothing; the first charged one after it does."""
    join(alice, bob)
    assert answer(bob, model, ledger.release).invitation is None
    assert credit(alice, quota) == 0
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_a_completion_paid_by_credit_counts(alice, bob, quota, model):
    """A completion that cost a credit is a charged one."""
    Quota.objects.update(daily_limit=0)
    join(alice, bob)
    assert answer(bob, model).source == "credit"
    assert (credit(bob, quota), credit(alice, quota)) == (4, 10)


def test_a_ring_that_never_asks_earns_nothing(alice, bob, carol, quota, model):
    """Accounts that invite each other without a completion earn nothing."""
    join(alice, bob)
    join(bob, carol)
    assert [invitations.sums(user.pk)["earned"] for user in (alice, bob, carol)] == [0, 0, 0]
    assert credit(alice, quota) == 0
    assert not LedgerEntry.objects.filter(reason="inviter").exists()


def test_a_returning_user_earns_nothing(alice, bob, quota, model):
    """Joining again is recorded, and gives neither side a credit."""
    join(alice, bob, earns=False)
    answer(bob, model)
    assert (credit(bob, quota), credit(alice, quota)) == (0, 0)
    assert invitations.sums(alice.pk) == {"joined": 1, "pending": 0, "earned": 0}


def test_credits_are_those_of_the_moment(alice, bob, quota, model):
    """An inviter gets each quota's credits at the time of the charge."""
    premium = factories.quota("premium", inviter_credits=2)
    join(alice, bob)
    assert invitations.sums(alice.pk)["pending"] == 12
    Quota.objects.filter(pk=quota.pk).update(inviter_credits=7)
    answer(bob, model)
    Quota.objects.update(inviter_credits=1)
    assert (credit(alice, quota), credit(alice, premium)) == (7, 2)
    assert invitations.sums(alice.pk)["earned"] == 9


def test_quotas_that_promise_nothing(alice, bob, quota, model):
    """Without credits to give, the invitation ends all the same."""
    Quota.objects.update(inviter_credits=0, invitee_credits=0)
    join(alice, bob)
    answer(bob, model)
    assert Invitation.objects.get().status == "credited"
    assert not LedgerEntry.objects.filter(amount__gt=0).exists()


@pytest.mark.contract("twenty rewarded invitations a day")
def test_twenty_a_day(alice, quota, model, monkeypatch):
    """Twenty invitations earn on a day; the others earn on another day."""
    friends = [friend(alice) for _ in range(REWARDS_A_DAY + 2)]
    for user in friends:
        answer(user, model)
    assert credit(alice, quota) == 200
    assert invitations.sums(alice.pk) == {"joined": 22, "pending": 20, "earned": 200}
    answer(friends[-1], model)
    assert credit(alice, quota) == 200
    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    for user in friends:
        answer(user, model)
    assert credit(alice, quota) == 220
    consistency.check(alice.pk, quota.pk)


def test_deleted_friends_free_no_places(alice, quota, model):
    """Deleting invited users makes no room for more rewards on that day."""
    for _ in range(REWARDS_A_DAY):
        user = friend(alice)
        answer(user, model)
        user.delete()
    assert invitations.sums(alice.pk) == {"joined": 0, "pending": 0, "earned": 200}
    answer(friend(alice), model)
    assert credit(alice, quota) == 200


def test_a_disabled_inviter_waits(alice, bob, quota, model):
    """A disabled inviter earns nothing until enabled again."""
    join(alice, bob)
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    answer(bob, model)
    assert (credit(alice, quota), Invitation.objects.get().status) == (0, "pending")
    type(alice).objects.filter(pk=alice.pk).update(is_active=True)
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_a_deleted_inviter(alice, bob, quota, model):
    """Completions go on after the inviter was deleted."""
    join(alice, bob)
    alice.delete()
    assert answer(bob, model).amount == 1
    assert not Invitation.objects.exists()


def test_an_inviter_with_all_there_is(alice, bob, quota, model):
    """An inviter's full balance does not fail the invited user's completion."""
    factories.credits_for(alice, quota, 2_147_483_647)
    join(alice, bob)
    assert answer(bob, model).amount == 1
    assert Invitation.objects.get().status == "credited"
    assert invitations.sums(alice.pk)["earned"] == 0


def test_undone_with_the_answer(alice, bob, quota, model):
    """An end that is rolled back leaves the invitation pending; the next end earns."""
    join(alice, bob)
    with transaction.atomic():
        answer(bob, model)
        transaction.set_rollback(True)
    assert (credit(alice, quota), Invitation.objects.get().status) == (0, "pending")
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_no_self_invitation(alice, bob, quota):
    """The database refuses an invitation of oneself, and a second one of a user."""
    with pytest.raises(IntegrityError):
        join(alice, alice)
    join(alice, bob)
    with pytest.raises(IntegrityError):
        join(factories.user(), bob)
    assert credit(bob, quota) == 5


def test_no_statement_for_others(alice, bob, quota, model, django_assert_num_queries):
    """Only an invited user's first charged completion costs more statements."""
    invited = friend(alice)
    # SQLite has none that changes rows and returns them.
    settling = 2 if connection.vendor == "postgresql" else 3
    for user, rewarding in ((bob, 0), (invited, 11), (invited, 0)):
        reference = next(references)
        ledger.reserve(user.pk, model.pk, reference)
        with django_assert_num_queries(settling):
            charge = ledger.settle(reference, "stop")
        assert bool(charge.invitation) == bool(rewarding)
        if charge.invitation:
            with django_assert_num_queries(rewarding):
                invitations.reward(charge.invitation)


def test_few_queries(alice, quota, django_assert_num_queries):
    """The list is one query and the sums are two, however many were invited."""
    for _ in range(5):
        friend(alice)
    with django_assert_num_queries(3):
        assert len([row.invited.username for row in invitations.of(alice.pk)]) == 5
        assert invitations.sums(alice.pk)["pending"] == 50


def test_grants_that_cannot_be(alice, bob, quota):
    """Credits beyond the balance leave no half-made account."""
    Quota.objects.update(invitee_credits=2_147_483_647)
    factories.credits_for(bob, quota, 1)
    with pytest.raises(InvalidRequest):
        join(alice, bob)
    assert not Invitation.objects.exists()
