"""What staff may do to accounts in the admin pages: the same as by REST."""

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
    """Return the form of a person's page as a browser would send it, with changes."""
    shown = client.get(page(user)).context["adminform"].form.initial
    values = {name: value for name, value in shown.items() if value not in (None, False)}
    values["groups"] = [group.pk for group in values.get("groups", [])]
    values["user_permissions"] = [right.pk for right in values.get("user_permissions", [])]
    prefixes = ("emailaddress_set", "socialaccount_set", "api_tokens")
    management = {f"{prefix}-{count}_FORMS": 0 for prefix in prefixes for count in ("TOTAL", "INITIAL")}
    merged = {**values, **management, **changes}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.fixture
def staff(client: Client) -> Client:
    """Staff with all rights over accounts, and no superuser."""
    client.actor = staff_with(*RIGHTS)  # type: ignore[attr-defined]
    client.force_login(client.actor)  # type: ignore[attr-defined]
    return client


def test_staff_change_and_disable_ordinary_accounts(staff: Client, alice: User) -> None:
    """Staff change and disable ordinary people."""
    assert staff.post(page(alice), fields(staff, alice, is_active=None, first_name="A")).status_code == 302
    alice.refresh_from_db()
    assert (alice.is_active, alice.first_name) == (False, "A")


def test_nobody_raises_themselves_or_others(staff: Client, alice: User) -> None:
    """Flags and permissions that staff who are no superusers send are not taken."""
    rights = list(Permission.objects.values_list("pk", flat=True))
    changes = {"is_staff": "on", "is_superuser": "on", "user_permissions": rights}
    assert staff.post(page(alice), fields(staff, alice, **changes)).status_code == 302
    raised = User.objects.filter(is_staff=True) | User.objects.filter(user_permissions__isnull=False)
    assert alice not in raised
    assert not User.objects.filter(is_superuser=True).exists()


def test_groups_give_no_more_than_one_has(staff: Client, alice: User) -> None:
    """A group with permissions that the actor lacks is refused at its field; one without any is fine."""
    books = Group.objects.create(name="books")
    books.permissions.set(Permission.objects.filter(codename="view_ledgerentry"))
    answer = staff.post(page(alice), fields(staff, alice, groups=[books.pk]))
    assert list(answer.context["adminform"].form.errors) == ["groups"]
    premium = Group.objects.create(name="premium")
    assert staff.post(page(alice), fields(staff, alice, groups=[premium.pk])).status_code == 302
    assert list(alice.groups.all()) == [premium]


@pytest.mark.parametrize("target", ["superuser", "staff", "self"])
def test_staff_leave_staff_alone(target: str, staff: Client, carol: User) -> None:
    """The accounts of staff are read, not changed, given a password or deleted, one by one or together."""
    victim = {"superuser": carol, "staff": staff_with(), "self": staff.actor}[target]  # type: ignore[attr-defined]
    assert staff.get(page(victim)).status_code == 200
    assert staff.post(page(victim), {"username": "mine"}).status_code == 403
    password = {"usable_password": "true", "password1": "a long enough one", "password2": "a long enough one"}
    assert staff.post(page(victim, "password"), password).status_code == 403
    assert staff.post(page(victim, "delete"), {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [victim.pk], "post": "yes"}
    assert staff.post(LIST, chosen).status_code == 403
    assert User.objects.get(pk=victim.pk).check_password(factories.PASSWORD)


def test_staff_delete_ordinary_people(staff: Client, alice: User, bob: User) -> None:
    """One by one and together."""
    assert staff.post(page(alice, "delete"), {"post": "yes"}).status_code == 302
    staff.post(LIST, {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"})
    assert not User.objects.filter(pk__in=[alice.pk, bob.pk]).exists()


@pytest.mark.parametrize("changes", [{"is_active": None}, {"is_superuser": None}])
def test_superusers_do_not_remove_themselves(changes: dict[str, Any], client: Client, carol: User) -> None:
    """A superuser neither disables nor demotes themselves, so one remains; another superuser may."""
    client.force_login(carol)
    answer = client.post(page(carol), fields(client, carol, **changes))
    assert list(answer.context["adminform"].form.errors) == list(changes)
    assert client.post(page(carol, "delete"), {"post": "yes"}).status_code == 403
    other = factories.user(is_staff=True, is_superuser=True)
    assert client.post(page(other), fields(client, other, **changes)).status_code == 302
    assert client.post(page(other, "delete"), {"post": "yes"}).status_code == 302


def test_superusers_give_everything(client: Client, carol: User, alice: User) -> None:
    """A superuser makes staff of somebody."""
    client.force_login(carol)
    assert client.post(page(alice), fields(client, alice, is_staff="on")).status_code == 302
    assert User.objects.get(pk=alice.pk).is_staff
