"""accounts/admin.py: accounts in the admin, and its login page."""

import pytest
from django.contrib import admin
from django.test import Client

from accounts.models import ApiToken, User
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client, carol: User) -> Client:
    client.force_login(carol)
    return client


def test_the_list_shows_and_finds_accounts(staff: Client, alice: User) -> None:
    """The list shows accounts, and the search finds them."""
    assert "alice@example.org" in staff.get("/admin/accounts/user/").content.decode()
    assert "alice@" not in staff.get("/admin/accounts/user/?q=carol").content.decode()


def test_the_admin_uses_allauths_login_page(client: Client) -> None:
    """The admin has no login form of its own, which would count attempts separately."""
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == "/accounts/login/?next=%2Fadmin%2F"
    assert client.post("/admin/login/", {"username": "carol", "password": factories.PASSWORD}).status_code == 302
    assert client.get("/api/me/").status_code == 401


def test_users_who_are_not_staff_are_refused(client: Client, alice: User) -> None:
    """A login alone does not give access to the admin."""
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


def test_an_account_is_shown_and_edited(staff: Client, alice: User, bob: User) -> None:
    """The page of an account shows tokens without secrets, and stores addresses in lower case."""
    ApiToken.objects.create(user=alice, name="laptop", digest="d1g35t")
    url = f"/admin/accounts/user/{alice.pk}/change/"
    page = staff.get(url)
    assert "laptop" in page.content.decode()
    assert "d1g35t" not in page.content.decode()
    form = {key: value for key, value in page.context["adminform"].form.initial.items() if value}
    management = {
        f"{prefix}-{name}_FORMS": 0
        for prefix in ("emailaddress_set", "socialaccount_set", "api_tokens")
        for name in ("TOTAL", "INITIAL")
    }
    response = staff.post(url, {**form, **management, "groups": [], "user_permissions": [], "email": "A@Example.ORG"})
    assert response.status_code == 302
    alice.refresh_from_db()
    assert alice.email == "a@example.org"
    conflict = staff.post(url, {**form, **management, "groups": [], "user_permissions": [], "email": "BOB@example.org"})
    assert conflict.status_code == 200


def test_an_account_is_added(staff: Client) -> None:
    """A new account needs a name and a password; the address is optional."""
    password = "a long enough one"
    form = {"username": "erin", "email": "", "usable_password": "true", "password1": password, "password2": password}
    assert staff.post("/admin/accounts/user/add/", form).status_code == 302
    assert User.objects.get(username="erin").check_password(password)


def test_tokens_are_read_and_deleted_only(staff: Client, alice: User) -> None:
    """Staff can read and delete a user's tokens, but not add or change them."""
    token = ApiToken.objects.create(user=alice, name="laptop", digest="d1g35t")
    assert "laptop" in staff.get("/admin/accounts/apitoken/").content.decode()
    assert "d1g35t" not in staff.get(f"/admin/accounts/apitoken/{token.pk}/change/").content.decode()
    assert staff.get("/admin/accounts/apitoken/add/").status_code == 403
    assert staff.post(f"/admin/accounts/apitoken/{token.pk}/change/", {"name": "x"}).status_code == 403
    staff.post(f"/admin/accounts/apitoken/{token.pk}/delete/", {"post": "yes"})
    assert not ApiToken.objects.exists()


def test_rows_of_libraries_are_hidden() -> None:
    """Tables of libraries, with login secrets and token lists, are not in the admin."""
    labels = {model._meta.label for model in admin.site._registry}
    assert not {label for label in labels if label.startswith(("socialaccount.", "token_blacklist.", "account."))}
