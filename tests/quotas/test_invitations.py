"""Invitations: when they earn something, how often, and when nothing at all."""

from datetime import timedelta
from itertools import count

import pytest
from django.db import IntegrityError, transaction
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


def answer(person, model, end=ledger.settle):
    """End one answer as `chat.ending` does."""
    reference = next(references)
    with transaction.atomic():
        ledger.reserve(person.pk, model.pk, reference)
        charge = end(reference, "stop")
        if charge.invitation:
            invitations.reward(charge.invitation)
    return charge


def credit(person, quota):
    return ledger.state(person.pk, quota.pk)["credits"]


def test_it_works(alice, bob, quota, model):
    """The invited have their credits at once, the inviter those of the first charged answer, and of no other."""
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
    """Promises that are more than a column holds, together, are no reason to fail the answer that makes them real."""
    Quota.objects.update(inviter_credits=2**31 - 1)
    factories.quota("premium", inviter_credits=2**31 - 1)
    join(alice, bob)
    answer(bob, model)
    assert credit(alice, quota) == 2**31 - 1
    assert Invitation.objects.get().reward == 2**31 - 1


def test_an_uncharged_answer_earns_nothing(alice, bob, quota, model):
    """What failed or was empty is no answer; the first charged one after it earns."""
    join(alice, bob)
    assert answer(bob, model, ledger.release).invitation is None
    assert credit(alice, quota) == 0
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_an_answer_paid_by_credit_counts(alice, bob, quota, model):
    """An answer that cost a credit is a charged one."""
    Quota.objects.update(daily_limit=0)
    join(alice, bob)
    assert answer(bob, model).source == "credit"
    assert (credit(bob, quota), credit(alice, quota)) == (4, 10)


def test_a_ring_that_never_asks_earns_nothing(alice, bob, carol, quota, model):
    """Accounts that invite each other in a row without a single answer have earned nothing."""
    join(alice, bob)
    join(bob, carol)
    assert [invitations.sums(person.pk)["earned"] for person in (alice, bob, carol)] == [0, 0, 0]
    assert credit(alice, quota) == 0
    assert not LedgerEntry.objects.filter(reason="inviter").exists()


def test_who_had_an_account_earns_nobody_anything(alice, bob, quota, model):
    """Joining again is noted, and gives neither side a credit."""
    join(alice, bob, earns=False)
    answer(bob, model)
    assert (credit(bob, quota), credit(alice, quota)) == (0, 0)
    assert invitations.sums(alice.pk) == {"joined": 1, "pending": 0, "earned": 0}


def test_credits_are_those_of_the_moment(alice, bob, quota, model):
    """An inviter gets what the quotas promise when the answer is charged, from each that promises something."""
    premium = factories.quota("premium", inviter_credits=2)
    join(alice, bob)
    assert invitations.sums(alice.pk)["pending"] == 12
    Quota.objects.filter(pk=quota.pk).update(inviter_credits=7)
    answer(bob, model)
    Quota.objects.update(inviter_credits=1)
    assert (credit(alice, quota), credit(alice, premium)) == (7, 2)
    assert invitations.sums(alice.pk)["earned"] == 9


def test_quotas_that_promise_nothing(alice, bob, quota, model):
    """Where nothing is promised the invitation ends all the same, with nothing earned."""
    Quota.objects.update(inviter_credits=0, invitee_credits=0)
    join(alice, bob)
    answer(bob, model)
    assert Invitation.objects.get().status == "credited"
    assert not LedgerEntry.objects.filter(amount__gt=0).exists()


def test_twenty_a_day(alice, quota, model, monkeypatch):
    """Twenty are rewarded on a day; the others wait, and earn with an answer of another day."""
    friends = [friend(alice) for _ in range(REWARDS_A_DAY + 2)]
    for person in friends:
        answer(person, model)
    assert credit(alice, quota) == 200
    assert invitations.sums(alice.pk) == {"joined": 22, "pending": 20, "earned": 200}
    answer(friends[-1], model)
    assert credit(alice, quota) == 200
    tomorrow = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: tomorrow)
    for person in friends:
        answer(person, model)
    assert credit(alice, quota) == 220
    consistency.check(alice.pk, quota.pk)


def test_deleted_friends_free_no_places(alice, quota, model):
    """Deleting those who were rewarded takes nothing away and makes no room for more on that day."""
    for _ in range(REWARDS_A_DAY):
        person = friend(alice)
        answer(person, model)
        person.delete()
    assert invitations.sums(alice.pk) == {"joined": 0, "pending": 0, "earned": 200}
    answer(friend(alice), model)
    assert credit(alice, quota) == 200


def test_a_disabled_inviter_waits(alice, bob, quota, model):
    """Nobody earns while they are disabled; when they are back, the next answer counts."""
    join(alice, bob)
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    answer(bob, model)
    assert (credit(alice, quota), Invitation.objects.get().status) == (0, "pending")
    type(alice).objects.filter(pk=alice.pk).update(is_active=True)
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_a_deleted_inviter(alice, bob, quota, model):
    """Answers go on when the inviter is gone."""
    join(alice, bob)
    alice.delete()
    assert answer(bob, model).amount == 1
    assert not Invitation.objects.exists()


def test_an_inviter_with_all_there_is(alice, bob, quota, model):
    """An inviter who has more credits than can be counted does not keep the invited from their answer."""
    factories.credits_for(alice, quota, 2_147_483_647)
    join(alice, bob)
    assert answer(bob, model).amount == 1
    assert Invitation.objects.get().status == "credited"
    assert invitations.sums(alice.pk)["earned"] == 0


def test_undone_with_the_answer(alice, bob, quota, model):
    """An end that is rolled back leaves the invitation as it was, and the next end earns."""
    join(alice, bob)
    with transaction.atomic():
        answer(bob, model)
        transaction.set_rollback(True)
    assert (credit(alice, quota), Invitation.objects.get().status) == (0, "pending")
    answer(bob, model)
    assert credit(alice, quota) == 10


def test_nobody_invites_themselves(alice, bob, quota):
    """The database takes neither an invitation of oneself nor a second one of the same person."""
    with pytest.raises(IntegrityError):
        join(alice, alice)
    join(alice, bob)
    with pytest.raises(IntegrityError):
        join(factories.user(), bob)
    assert credit(bob, quota) == 5


def test_no_statement_for_others(alice, bob, quota, model, django_assert_num_queries):
    """Ending an answer costs as many statements as ever; only the first charged one of the invited costs more."""
    invited = friend(alice)
    for person, settling, rewarding in ((bob, 3, 0), (invited, 3, 11), (invited, 3, 0)):
        reference = next(references)
        ledger.reserve(person.pk, model.pk, reference)
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
    """An invited person's credits that cannot be counted make no half an account."""
    Quota.objects.update(invitee_credits=2_147_483_647)
    factories.credits_for(bob, quota, 1)
    with pytest.raises(InvalidRequest):
        join(alice, bob)
    assert not Invitation.objects.exists()
