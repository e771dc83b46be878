"""GET /api/invitations/, and who counts as newly invited."""

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
    answer = Client().post("/api/auth/register/", body, "application/json")
    assert answer.status_code == 201, answer.content
    return User.objects.get(username=name)


def credit(person: User, quota: Quota) -> int:
    return int(ledger.state(person.pk, quota.pk)["credits"])


def shown(bearer: Any, person: User) -> dict[str, Any]:
    answer = bearer(person).get(URL)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.contract("GET /api/invitations/")
def test_the_list_shows_code_link_and_who_joined(alice: User, bearer: Any, quota: Quota) -> None:
    """The list has code, link, who joined and when, and what is still to come."""
    erin = register(alice, "erin@example.org")
    body = shown(bearer, alice)
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


def test_nobody_yet(alice: User, bearer: Any) -> None:
    """Who invited nobody has a code and a link all the same."""
    body = shown(bearer, alice)
    assert (body["invited"], body["pending"], body["earned"]) == ([], 0, 0)


def test_others_invitations_are_not_shown(alice: User, bob: User, bearer: Any) -> None:
    """Everybody sees only those who came by their own code."""
    register(alice, "erin@example.org")
    assert shown(bearer, bob)["invited"] == []


def test_strangers_are_refused() -> None:
    """Without a proof there is nothing to see."""
    assert Client().get(URL).status_code == 401


@pytest.mark.parametrize("again", ["erin@example.org", "ERIN@Example.ORG", "erin+2@example.org"])
def test_coming_again_earns_nothing(again: str, alice: User, bearer: Any, quota: Quota) -> None:
    """Who deletes the account and signs up again with the same mailbox brings nobody anything."""
    register(None, "erin@example.org").delete()
    erin = register(alice, again)
    assert (credit(erin, quota), shown(bearer, alice)["pending"]) == (0, 0)
    assert shown(bearer, alice)["invited"][0]["credited"] is False


def test_own_mailbox_earns_nothing(alice: User, bearer: Any, quota: Quota) -> None:
    """Inviting oneself under another spelling of one's own address earns nothing."""
    second = register(alice, "alice+friend@example.org")
    assert (credit(second, quota), shown(bearer, alice)["pending"]) == (0, 0)


def test_a_left_address_is_not_new(alice: User, bob: User, bearer: Any) -> None:
    """An address that an account has had stays known after the account has taken another one."""
    address = EmailAddress.objects.create(user=bob, email="robert@example.org", verified=True)
    address.set_as_primary()
    EmailAddress.objects.get(email="bob@example.org").remove()
    register(alice, "bob@example.org", "frank")
    assert shown(bearer, alice)["pending"] == 0


def test_a_new_address_of_an_old_account(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """Another spelling of the address that an account has now is not new either."""
    bob.email = "r.obert@gmail.com"
    bob.save()
    frank = register(alice, "Robert+x@googlemail.com", "frank")
    assert (credit(frank, quota), shown(bearer, alice)["pending"]) == (0, 0)


def test_two_spellings_at_once(alice: User, bearer: Any) -> None:
    """Nothing but the first of two spellings counts, whichever comes first."""
    register(alice, "frank+1@example.org", "frank1")
    register(alice, "frank+2@example.org", "frank2")
    assert shown(bearer, alice)["pending"] == 10


@pytest.mark.django_db(transaction=True)
def test_many_spellings_at_the_same_moment(alice: User, quota: Quota) -> None:
    """Of eight that sign up at once with spellings of one mailbox exactly one counts as new."""

    def attempt(number: int) -> None:
        try:
            register(alice, f"frank+{number}@example.org", f"frank{number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as hands:
        list(hands.map(attempt, range(8)))
    statuses = sorted(Invitation.objects.values_list("status", flat=True))
    assert statuses == ["nothing"] * 7 + ["pending"]


def test_other_saves_cost_nothing(alice: User, django_assert_num_queries: Any) -> None:
    """A login is one statement: only an address is remembered."""
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
def test_mailboxes(one: str, other: str, same: bool) -> None:
    """Case, width, tags, quotes and how a host is written do not matter, dots do not at Gmail; anything else does."""
    assert (addresses.email_digest(one) == addresses.email_digest(other)) is same


def test_digests_say_nothing(alice: User, settings: Any) -> None:
    """What is kept of an address depends on the secret key, and names nobody."""
    digest = UsedAddress.objects.get().digest
    assert digest == addresses.email_digest("alice@example.org")
    assert "alice" not in digest
    settings.SECRET_KEY = "another"
    assert digest != addresses.email_digest("alice@example.org")


def test_accounts_of_before(alice: User, bob: User) -> None:
    """Accounts older than the tables have their addresses known and their invitations pending."""
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
