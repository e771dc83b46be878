"""/api/admin/users/: accounts for automation, and the limits of staff."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts import jwt, permissions
from accounts.models import User
from tests import factories
from tests.staff import calling, send, staff_with

pytestmark = pytest.mark.django_db
URL = "/api/admin/users/"
RIGHTS = ("view_user", "add_user", "change_user", "delete_user")


def one(user: User) -> str:
    return f"{URL}{user.pk}/"


def row(user: User, **changes: Any) -> dict[str, Any]:
    body = {"id": user.pk, "username": user.username, "email": user.email, "is_active": True, "groups": []}
    return {**body, **changes}


def patch(actor: User, target: User, **changes: Any) -> Any:
    return send(calling(actor), "PATCH", one(target), changes)


def refused(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.mark.contract("staff: users")
def test_accounts_are_listed_made_changed_and_deleted(carol: User, alice: User) -> None:
    """Accounts are listed in a bare array, created, read, changed and deleted."""
    client = calling(carol)
    Group.objects.create(name="premium")
    created = send(client, "POST", URL, {"username": "erin", "email": "Erin@Example.org", "groups": ["premium"]})
    assert created.status_code == 201
    erin = User.objects.get(username="erin")
    assert created.json() == row(erin, email="erin@example.org", groups=["premium"])
    assert client.get(URL).json() == [row(carol), row(alice), created.json()]
    assert client.get(one(erin)).json() == created.json()
    assert patch(carol, erin, groups=[]).json() == row(erin)
    assert client.delete(one(erin)).status_code == 204
    assert client.get(one(erin)).status_code == 404


def test_a_new_account_has_no_password(carol: User) -> None:
    """An account created by staff has no usable password."""
    send(calling(carol), "POST", URL, {"username": "erin", "email": "erin@example.org"})
    assert not User.objects.get(username="erin").has_usable_password()
    assert not EmailAddress.objects.get(email="erin@example.org").verified


def test_a_disabled_user_is_cut_off(carol: User, alice: User) -> None:
    """A disabled user is refused, and accepted again when enabled."""
    client = Client(headers={"Authorization": f"Bearer {jwt.issue(alice)['access']}"})
    assert client.get("/api/me/").status_code == 200
    assert patch(carol, alice, is_active=False).json()["is_active"] is False
    assert client.get("/api/me/").status_code == 401
    patch(carol, alice, is_active=True)
    assert client.get("/api/me/").status_code == 200


def test_a_new_address_is_unverified(carol: User, alice: User) -> None:
    """An address that staff entered is unverified and replaces the previous one."""
    assert patch(carol, alice, email="A@Example.org").json()["email"] == "a@example.org"
    address = EmailAddress.objects.get(user=alice)
    assert (address.email, address.primary, address.verified) == ("a@example.org", True, False)
    patch(carol, alice, email="")
    assert not EmailAddress.objects.filter(user=alice).exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": "BOB"}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": ""}, "username"),
        ({"email": "Bob@example.org"}, "email"),
        ({"email": "bob"}, "email"),
        ({"groups": ["unknown"]}, "groups"),
        ({"is_active": "perhaps"}, "is_active"),
        ({"is_superuser": True}, "is_superuser"),
        ({"is_staff": True}, "is_staff"),
        ({"password": "secret"}, "password"),
    ],
)
def test_invalid_and_unknown_fields_are_refused(
    changes: dict[str, Any], field: str, carol: User, alice: User, bob: User
) -> None:
    """Invalid values and unknown fields are named; nothing is changed."""
    response = patch(carol, alice, **changes)
    assert (refused(response), list(response.json()["error"]["details"])) == ((400, "invalid_request"), [field])
    assert calling(carol).get(one(alice)).json() == row(alice)


def test_what_was_read_may_be_sent_back(carol: User, alice: User) -> None:
    """An account sent back as it was read stays unchanged."""
    body = calling(carol).get(one(alice)).json()
    assert patch(carol, alice, **body).json() == body


def test_staff_cannot_remove_themselves(carol: User) -> None:
    """Disabling or deleting one's own account is refused."""
    responses = [patch(carol, carol, is_active=False), calling(carol).delete(one(carol))]
    assert [refused(response) for response in responses] == [(403, "forbidden")] * 2
    assert User.objects.get(pk=carol.pk).is_active


def test_superusers_remove_superusers(carol: User) -> None:
    """A superuser may disable or delete another one."""
    other = factories.user(is_superuser=True, is_staff=True)
    assert patch(carol, other, is_active=False).status_code == 200
    assert calling(carol).delete(one(other)).status_code == 204


def test_the_last_superuser_cannot_be_removed(carol: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two superusers who remove each other concurrently the second is refused."""
    other = factories.user(is_superuser=True, is_staff=True)
    client = calling(other)

    def meanwhile(actor: User, target: User) -> bool:
        User.objects.filter(pk=other.pk).update(is_active=False)
        return True

    monkeypatch.setattr(permissions, "may_change", meanwhile)
    assert refused(client.delete(one(carol))) == (403, "forbidden")
    assert User.objects.filter(pk=carol.pk).exists()


@pytest.mark.parametrize("target", ["superuser", "staff", "self"])
def test_staff_cannot_change_staff_accounts(target: str, carol: User) -> None:
    """Staff who are not superusers may read accounts of staff, but not change any."""
    actor = staff_with(*RIGHTS)
    victim = {"superuser": carol, "staff": staff_with(), "self": actor}[target]
    assert calling(actor).get(one(victim)).status_code == 200
    for changes in ({"email": "mine@example.org"}, {"is_active": False}, {"username": "x"}, {"groups": []}):
        assert refused(patch(actor, victim, **changes)) == (403, "forbidden")
    assert refused(calling(actor).delete(one(victim))) == (403, "forbidden")
    assert User.objects.get(pk=victim.pk).email == victim.email


def test_staff_assign_only_groups_within_their_rights(alice: User) -> None:
    """Staff assign and remove only groups whose permissions they all have."""
    actor = staff_with(*RIGHTS)
    names = ("plain", "users", "ledger")
    _plain, users, ledger = (Group.objects.create(name=name) for name in names)
    users.permissions.set(Permission.objects.filter(codename="view_user"))
    ledger.permissions.set(Permission.objects.filter(codename="view_ledgerentry"))
    assert patch(actor, alice, groups=["plain", "users"]).status_code == 200
    assert refused(patch(actor, alice, groups=["plain", "users", "ledger"])) == (403, "forbidden")
    alice.groups.add(ledger)
    assert refused(patch(actor, alice, groups=[])) == (403, "forbidden")
    assert patch(actor, alice, groups=["ledger"]).status_code == 200
    assert send(calling(actor), "POST", URL, {"username": "x", "groups": ["ledger"]}).status_code == 403
    assert not User.objects.filter(username="x").exists()


def test_the_list_needs_two_queries(carol: User, django_assert_max_num_queries: Any) -> None:
    """The list takes two queries regardless of its length, beside those for the caller."""
    for _ in range(5):
        factories.user(password=None).groups.add(Group.objects.get_or_create(name="g")[0])
    client = calling(carol)
    with django_assert_max_num_queries(5):
        assert len(client.get(URL).json()) == 6
