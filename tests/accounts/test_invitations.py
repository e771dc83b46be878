"""GET /api/invitations/, and the rules for which users count as newly invited."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.db import connections, transaction
from django.test import Client

from accounts import addresses
from accounts.models import UsedAddress, User
from quotas import ledger
from quotas.models import Invitation, Quota
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/api/invitations/"


@pytest.fixture(autouse=True)
def quota(db: None) -> Quota:
    return factories.quota("standard", inviter_credits=10, invitee_credits=5, models=[factories.chat_model("glm")])


def register(inviter: User | None, email: str, name: str = "erin") -> Any:
    body = {"username": name, "email": email, "password": "a long enough one"}
    if inviter:
        body["invite_code"] = inviter.invite_code
    response = Client().post("/api/auth/register/", body, "application/json")
    assert response.status_code == 201, response.content
    return User.objects.get(username=name)


def credit(user: User, quota: Quota) -> int:
    return int(ledger.state(user.pk, quota.pk)["credits"])


def invitations_of(bearer: Any, user: User) -> dict[str, Any]:
    response = bearer(user).get(URL)
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.contract("GET /api/invitations/")
def test_the_list_shows_code_link_and_who_joined(alice: User, bearer: Any, quota: Quota) -> None:
    """The list has code, link, invited users with their dates, and pending credits."""
    erin = register(alice, "erin@example.org")
    body = invitations_of(bearer, alice)
    joined = body["invited"][0].pop("joined_at")
    assert joined.endswith("+08:00")
    assert body == {
        "code": alice.invite_code,
        "url": f"http://testserver/accounts/signup/?invite={alice.invite_code}",
        "invited": [{"username": "erin", "credited": False}],
        "pending": 10,
        "earned": 0,
    }
    assert credit(erin, quota) == 5


def test_a_user_without_invitations_has_a_code(alice: User, bearer: Any) -> None:
    """A user who has invited no friend has a code and a link."""
    body = invitations_of(bearer, alice)
    assert (body["invited"], body["pending"], body["earned"]) == ([], 0, 0)


def test_others_invitations_are_not_shown(alice: User, bob: User, bearer: Any) -> None:
    """A user sees only those invited with their own code."""
    register(alice, "erin@example.org")
    assert invitations_of(bearer, bob)["invited"] == []


def test_anonymous_clients_are_refused() -> None:
    """A client without credentials gets 401."""
    assert Client().get(URL).status_code == 401


@pytest.mark.parametrize("again", ["erin@example.org", "ERIN@Example.ORG", "erin+2@example.org"])
def test_signing_up_again_earns_nothing(again: str, alice: User, bearer: Any, quota: Quota) -> None:
    """A user who deletes the account and signs up again with the same mailbox earns nothing."""
    register(None, "erin@example.org").delete()
    erin = register(alice, again)
    assert (credit(erin, quota), invitations_of(bearer, alice)["pending"]) == (0, 0)
    assert invitations_of(bearer, alice)["invited"][0]["credited"] is False


def test_own_mailbox_earns_nothing(alice: User, bearer: Any, quota: Quota) -> None:
    """Inviting one's own address in another spelling earns nothing."""
    second = register(alice, "alice+friend@example.org")
    assert (credit(second, quota), invitations_of(bearer, alice)["pending"]) == (0, 0)


def test_a_former_address_is_not_new(alice: User, bob: User, bearer: Any) -> None:
    """An address that an account had before it changed to another does not count as new."""
    address = EmailAddress.objects.create(user=bob, email="robert@example.org", verified=True)
    address.set_as_primary()
    EmailAddress.objects.get(email="bob@example.org").remove()
    register(alice, "bob@example.org", "frank")
    assert invitations_of(bearer, alice)["pending"] == 0


def test_another_spelling_of_a_changed_address_is_not_new(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """Another spelling of an account's current address does not count as new."""
    bob.email = "r.obert@gmail.com"
    bob.save()
    frank = register(alice, "Robert+x@googlemail.com", "frank")
    assert (credit(frank, quota), invitations_of(bearer, alice)["pending"]) == (0, 0)


def test_of_two_spellings_the_first_counts(alice: User, bearer: Any) -> None:
    """Of two accounts with spellings of one mailbox only the first counts."""
    register(alice, "frank+1@example.org", "frank1")
    register(alice, "frank+2@example.org", "frank2")
    assert invitations_of(bearer, alice)["pending"] == 10


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_spellings_one_counts(alice: User, quota: Quota) -> None:
    """Of eight concurrent sign-ups with spellings of one mailbox exactly one counts as new."""

    def attempt(number: int) -> None:
        try:
            register(alice, f"frank+{number}@example.org", f"frank{number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        list(hands.map(attempt, range(8)))
    statuses = sorted(Invitation.objects.values_list("status", flat=True))
    assert statuses == ["nothing"] * 7 + ["pending"]


def test_saving_other_fields_records_no_address(alice: User, django_assert_num_queries: Any) -> None:
    """Saving other fields takes one statement; only addresses are recorded."""
    with transaction.atomic(), django_assert_num_queries(3):  # with a savepoint
        alice.save(update_fields=["last_login"])
    assert UsedAddress.objects.count() == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a@example.org", "A@EXAMPLE.org", True),
        ("a+b@example.org", "a@example.org", True),
        ("a.b@gmail.com", "ab+c@googlemail.com", True),
        ("a.b@example.org", "ab@example.org", False),
        ("a@example.org", "a@example.com", False),
        ("+a@example.org", "+b@example.org", False),
        ("a@b", "a", False),
        ('"a"@example.org', "a@example.org", True),
        ('"\\a\\B+c"@example.org', "ab@example.org", True),
        ('"a b"@example.org', "ab@example.org", False),
        ("a@bücher.example", "a@xn--bcher-kva.example", True),
        ("a@BÜCHER.example", "a@bücher.example", True),
        ("a@-.example", "a@--.example", False),
    ],
)
def test_spellings_of_one_mailbox_have_one_digest(one: str, other: str, same: bool) -> None:
    """Case, width, tags, quotes and the form of the host do not matter; dots only outside Gmail."""
    assert (addresses.email_digest(one) == addresses.email_digest(other)) is same


def test_digests_reveal_nothing(alice: User, settings: Any) -> None:
    """A digest depends on the secret key and contains no part of the address."""
    digest = UsedAddress.objects.get().digest
    assert digest == addresses.email_digest("alice@example.org")
    assert "alice" not in digest
    settings.SECRET_KEY = "another"
    assert digest != addresses.email_digest("alice@example.org")


def test_migrations_record_older_accounts(alice: User, bob: User) -> None:
    """Migrations record addresses and invitations of accounts older than the tables."""
    User.objects.filter(pk=bob.pk).update(invited_by=alice, date_joined=datetime(2026, 1, 1, tzinfo=UTC))
    SocialAccount.objects.create(user=bob, provider="weixin", uid="wx-1")
    UsedAddress.objects.all().delete()
    for step in ("0004_fill_used_addresses", "0005_fill_invitations"):
        import_module(f"accounts.migrations.{step}").fill(apps, None)
    login = addresses.login_digest("weixin", "wx-1")
    known = {addresses.email_digest(alice.email): alice.pk, addresses.email_digest(bob.email): bob.pk, login: bob.pk}
    assert dict(UsedAddress.objects.values_list("digest", "user_id")) == known
    (row,) = Invitation.objects.all()
    assert (row.inviter, row.invited, row.status, row.joined_at.year) == (alice, bob, "pending", 2026)
    assert row.joined_at.month == 1
