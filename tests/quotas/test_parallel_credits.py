"""One code or one inviter in several processes at once, on SQLite and PostgreSQL."""

from itertools import chain

import pytest

from quotas import invitations, ledger, redeem_codes
from quotas.models import REWARDS_A_DAY, Invitation, InviterDay, LedgerEntry, RedeemCode
from tests import factories, servers
from tests.quotas import consistency, race, workers

pytestmark = [pytest.mark.server, pytest.mark.soak]


@pytest.fixture
def quota(here):
    return factories.quota(daily_limit=100, inviter_credits=10, invitee_credits=5)


@pytest.fixture
def model(quota):
    return factories.chat_model(of=quota)


@pytest.fixture
def inviter(here):
    return factories.user(password=None)


def invited(inviter, count):
    people = [factories.user(password=None).pk for _ in range(count)]
    for user in people:
        invitations.join(inviter.pk, user, earns=True)
    return people


def earned(inviter, quota):
    consistency.check(inviter.pk, quota.pk)
    entries = LedgerEntry.objects.filter(user=inviter, reason="inviter")
    assert ledger.state(inviter.pk, quota.pk)["credits"] == 10 * len(entries) == invitations.sums(inviter.pk)["earned"]
    return len(entries)


def test_one_code_redeemed_by_many(variables, quota):
    """Of two hundred attempts to redeem one code, one succeeds."""
    (code,) = redeem_codes.make(quota, 7, 1, None, None)
    people = [factories.user(password=None).pk for _ in range(20)]
    tries = people[:1] * 40 + people * 3
    rows = [[tries, code.code, 12], [tries, code.code, 12]]
    (winner,) = chain.from_iterable(servers.in_processes(workers.redeem_each, rows, variables))
    entry = LedgerEntry.objects.get()
    assert (entry.user_id, entry.amount, RedeemCode.objects.get().redeemed_by_id) == (winner, 7, winner)
    consistency.check(winner, quota.pk)


def test_first_completions_of_one_user(variables, inviter, quota, model):
    """Forty first completions of one invited user, settled at once, earn once."""
    (user,) = invited(inviter, 1)
    rows = [[[user] * 20, model.pk, name, 10] for name in ("p", "q")]
    assert sum(servers.in_processes(workers.answer_each, rows, variables)) == 40
    assert earned(inviter, quota) == 1


def test_first_completions_of_many(variables, inviter, quota, model):
    """Thirty first completions at once earn the day's share, not one more."""
    people = invited(inviter, REWARDS_A_DAY + 10)
    rows = [[people[first::2], model.pk, f"p{first}", 8] for first in range(2)]
    assert sum(servers.in_processes(workers.answer_each, rows, variables)) == 30
    assert earned(inviter, quota) == REWARDS_A_DAY
    assert InviterDay.objects.get().rewarded == REWARDS_A_DAY
    assert Invitation.objects.filter(status="pending").count() == 10


def test_killed_while_settling(variables, inviter, quota, model):
    """Killed before the commit, the invitation stays pending, and then earns once."""
    (user,) = invited(inviter, 1)
    for reference in ("g1", "g2"):
        assert race.reserve(user, model.pk, reference)
    with pytest.raises(AssertionError, match=r"a worker process failed \(-9\)"):
        servers.in_processes(workers.die_while_settling, [["g1"]], variables)
    assert earned(inviter, quota) == 0
    assert Invitation.objects.get().status == "pending"
    assert servers.in_processes(workers.settle_each, [[["g1", "g2"]], [["g2", "g1"]]], variables) == [[1, 1]] * 2
    assert earned(inviter, quota) == 1
