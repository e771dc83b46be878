"""The access matrix of the administration and the staff API, with second factors required of staff.

All pages and routes are found, so a new one is in the matrix at once.
"""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry
from chatproject.urls import urlpatterns
from tests import factories
from tests.staff import auditors

pytestmark = pytest.mark.django_db

LOGIN, FACTORS = "/accounts/login/", "/accounts/2fa/"
AUDIT = reverse("admin:accounts_auditentry_changelist")
PAGES = sorted(
    {
        *(
            reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            for model in admin.site._registry
        ),
        reverse("dashboard"),
        reverse("admin:accounts_auditentry_export"),
    }
)
ROUTES = sorted(
    f"/{found.pattern}"
    for found in urlpatterns
    if str(found.pattern).startswith("api/admin/")
    and "<" not in str(found.pattern)
    and "import" not in str(found.pattern)
)


def user(name: str, *, factor: bool, **values: Any) -> Any:
    made = factories.user(name, **values)
    if factor:
        Authenticator.objects.create(user=made, type=Authenticator.Type.TOTP, data={})
    return made


@pytest.fixture
def logged_in(settings: Any) -> Callable[..., Client]:
    settings.REQUIRE_MFA_STAFF = True

    def log_in(who: str, *, factor: bool) -> Client:
        made = user(who, factor=factor, is_staff=who != "user", is_superuser=who == "admin")
        if who == "auditor":
            made.groups.add(auditors())
        client = Client()
        client.force_login(made)
        return client

    return log_in


def seen(client: Client, paths: list[str]) -> dict[str, tuple[int, str]]:
    """Return status and target of each page or route, without the query."""
    answers = {path: client.get(path) for path in paths}
    return {
        path: (answer.status_code, answer.headers.get("Location", "").partition("?")[0])
        for path, answer in answers.items()
    }


@pytest.mark.parametrize(
    ("who", "factor", "expected", "on_audit"),
    [
        ("user", True, (302, "/admin/login/"), (302, "/admin/login/")),
        ("admin", False, (302, FACTORS), (302, FACTORS)),
        ("auditor", False, (302, FACTORS), (302, FACTORS)),
        ("auditor", True, (403, ""), (200, "")),
        ("admin", True, (200, ""), (200, "")),
    ],
)
def test_pages_of_the_administration(
    logged_in: Callable[..., Client], who: str, factor: bool, expected: Any, on_audit: Any
) -> None:
    """Users are asked to log in as staff, staff without a factor set one up, auditors see the audit alone."""
    assert len(PAGES) > 20
    assert seen(logged_in(who, factor=factor), PAGES) == {
        path: on_audit if path.startswith(AUDIT) else expected for path in PAGES
    }


@pytest.mark.parametrize(
    ("who", "factor", "status"),
    [("user", True, 403), ("admin", False, 403), ("auditor", True, 403), ("admin", True, 200)],
)
def test_staff_routes(logged_in: Callable[..., Client], who: str, factor: bool, status: int) -> None:
    """Only staff with the permission and a second factor get a list."""
    assert len(ROUTES) > 8
    assert seen(logged_in(who, factor=factor), ROUTES) == dict.fromkeys(ROUTES, (status, ""))


def test_visitors_get_nothing(settings: Any) -> None:
    """Without a login pages lead to it, and routes refuse."""
    client = Client()
    assert set(seen(client, PAGES).values()) == {(302, "/admin/login/")}
    assert set(seen(client, ROUTES).values()) == {(401, "")}


def test_what_auditors_cannot_do(logged_in: Callable[..., Client]) -> None:
    """The permission to read the audit is the group's only one, and no permission to change it exists."""
    (only,) = auditors().permissions.all()
    assert only.codename == "view_auditentry"
    assert AuditEntry._meta.default_permissions == ("view",)
