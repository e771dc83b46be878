"""`manage.py grant_credits`: to all chosen users through the ledger, or to none."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from quotas.models import CreditBalance, LedgerEntry, Quota
from tests import factories


@pytest.fixture
def quota(db: None) -> Quota:
    return factories.quota("standard")


def grant(*arguments: str) -> None:
    call_command("grant_credits", "standard", *arguments, "--reason", "term")


def balances() -> dict[str, int]:
    return dict(CreditBalance.objects.values_list("user__username", "credits"))


def test_each_named_user_gets_the_credits(quota: Quota, alice: Any, bob: Any, carol: Any) -> None:
    """Named users, members of a group or all active users get the credits, with the reason in the ledger."""
    bob.is_active = False
    bob.save()
    factories.group("class", bob, carol)
    grant("5", "--user", "alice", "--user", "bob")
    grant("2", "--group", "class")
    grant("1", "--all")
    grant("-1", "--user", "alice")
    assert balances() == {"alice": 5, "bob": 5, "carol": 3}
    assert set(LedgerEntry.objects.values_list("reason", flat=True)) == {"term"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-2", "--user", "alice", "--user", "bob"), "balance of bob does not allow -2"),
        (("5", "--user", "alice", "--user", "nobody"), "no user nobody"),
        (("5", "--group", "nobody"), "no group nobody"),
        (("0", "--user", "alice"), "does not allow"),
    ],
)
def test_a_mistake_changes_no_balance(quota: Quota, alice: Any, bob: Any, arguments: Any, message: str) -> None:
    """One user who cannot be charged, or is unknown, stops the command for all."""
    factories.credits_for(alice, quota, 3)
    with pytest.raises(CommandError, match=message):
        grant(*arguments)
    assert balances() == {"alice": 3}


def test_an_unknown_quota_is_refused(quota: Quota, alice: Any) -> None:
    """The message names it."""
    with pytest.raises(CommandError, match="no quota gold"):
        call_command("grant_credits", "gold", "1", "--user", "alice", "--reason", "term")
