"""The rules for staff who change accounts, in the admin pages."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.models import User
from tests import factories
from tests.staff import staff_with

pytestmark = pytest.mark.django_db
RIGHTS = ("view_user", "add_user", "change_user", "delete_user", "delete_emailaddress", "delete_apitoken")
LIST = "/admin/accounts/user/"


def page(user: User, name: str = "change") -> str:
    return f"{LIST}{user.pk}/{name}/"


def fields(client: Client, user: User, **changes: Any) -> dict[str, Any]:
    """Return the form of an account as a browser would send it, with changes."""
    initial = client.get(page(user)).context["adminform"].form.initial
    values = {name: value for name, value in initial.items() if value not in (None, False)}
    values["groups"] = [group.pk for group in values.get("groups", [])]
    values["user_permissions"] = [right.pk for right in values.get("user_permissions", [])]
    prefixes = ("emailaddress_set", "socialaccount_set", "api_tokens")
    management = {f"{prefix}-{count}_FORMS": 0 for prefix in prefixes for count in ("TOTAL", "INITIAL")}
    merged = {**values, **management, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture
def staff(client: Client) -> Client:
    """Return a client of staff with all rights over accounts, but not a superuser."""
    client.actor = staff_with(*RIGHTS)  # type: ignore[attr-defined]
    client.force_login(client.actor)  # type: ignore[attr-defined]
    return client


def test_staff_change_and_disable_ordinary_accounts(staff: Client, alice: User) -> None:
    """Staff may change and disable ordinary accounts."""
    assert staff.post(page(alice), fields(staff, alice, is_active=None, first_name="A")).status_code == 302
    alice.refresh_from_db()
    assert (alice.is_active, alice.first_name) == (False, "A")


def test_staff_cannot_grant_staff_rights(staff: Client, alice: User) -> None:
    """Flags and permissions are ignored when staff who are not superusers send them."""
    rights = list(Permission.objects.values_list("pk", flat=True))
    changes = {"is_staff": "on", "is_superuser": "on", "user_permissions": rights}
    assert staff.post(page(alice), fields(staff, alice, **changes)).status_code == 302
    raised = User.objects.filter(is_staff=True) | User.objects.filter(user_permissions__isnull=False)
    assert alice not in raised
    assert not User.objects.filter(is_superuser=True).exists()


def test_staff_assign_only_groups_within_their_rights(staff: Client, alice: User) -> None:
    """A group with permissions that the actor lacks is an error of its field."""
    readers = Group.objects.create(name="ledger readers")
    readers.permissions.set(Permission.objects.filter(codename="view_ledgerentry"))
    response = staff.post(page(alice), fields(staff, alice, groups=[readers.pk]))
    assert list(response.context["adminform"].form.errors) == ["groups"]
    premium = Group.objects.create(name="premium")
    assert staff.post(page(alice), fields(staff, alice, groups=[premium.pk])).status_code == 302
    assert list(alice.groups.all()) == [premium]


@pytest.mark.parametrize("target", ["superuser", "staff", "self"])
def test_staff_cannot_change_staff_accounts(target: str, staff: Client, carol: User) -> None:
    """Staff may read accounts of staff, but not change or delete them or set passwords."""
    victim = {"superuser": carol, "staff": staff_with(), "self": staff.actor}[target]  # type: ignore[attr-defined]
    assert staff.get(page(victim)).status_code == 200
    assert staff.post(page(victim), {"username": "mine"}).status_code == 403
    password = {"usable_password": "true", "password1": "a long enough one", "password2": "a long enough one"}
    assert staff.post(page(victim, "password"), password).status_code == 403
    assert staff.post(page(victim, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [victim.pk], "post": "yes"}
    assert staff.post(LIST, chosen).status_code == 403
    assert User.objects.get(pk=victim.pk).check_password(factories.PASSWORD)


def test_staff_delete_ordinary_accounts(staff: Client, alice: User, bob: User) -> None:
    """Staff may delete ordinary accounts, one by one or together."""
    assert staff.post(page(alice, "delete"), {"post": "yes"}).status_code == 302
    staff.post(LIST, {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"})
    assert not User.objects.filter(pk__in=[alice.pk, bob.pk], is_active=True).exists()
    assert page(alice) not in staff.get(LIST).content.decode()


@pytest.mark.parametrize("changes", [{"is_active": None}, {"is_superuser": None}])
def test_superusers_cannot_remove_themselves(changes: dict[str, Any], client: Client, carol: User) -> None:
    """A superuser cannot disable or demote themselves, but another superuser can."""
    client.force_login(carol)
    response = client.post(page(carol), fields(client, carol, **changes))
    assert list(response.context["adminform"].form.errors) == list(changes)
    assert client.post(page(carol, "delete"), {"post": "yes"}).status_code == 403
    other = factories.user(is_staff=True, is_superuser=True)
    assert client.post(page(other), fields(client, other, **changes)).status_code == 302
    assert client.post(page(other, "delete"), {"post": "yes"}).status_code == 302


def test_superusers_grant_staff_rights(client: Client, carol: User, alice: User) -> None:
    """A superuser may grant the staff flag."""
    client.force_login(carol)
    assert client.post(page(alice), fields(client, alice, is_staff="on")).status_code == 302
    assert User.objects.get(pk=alice.pk).is_staff
