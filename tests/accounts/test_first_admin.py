"""accounts/first_admin.py: the superuser of the first run."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth import authenticate
from django.db import connections
from pydantic import SecretStr

from accounts.first_admin import ensure_admin
from accounts.models import User
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def environment(settings: Any) -> Any:
    def change(**values: Any) -> None:
        settings.ENV = settings.ENV.model_copy(update=values)

    change(ADMIN_PASSWORD=None, ADMIN_USERNAME="admin", ADMIN_EMAIL="Admin@Example.org")
    return change


def test_the_first_run_makes_a_verified_superuser(environment: Any) -> None:
    """The first run creates a superuser with a verified address and returns the generated password."""
    password = ensure_admin()
    assert password
    admin = authenticate(username="admin", password=password)
    assert isinstance(admin, User)
    assert admin.is_superuser
    assert EmailAddress.objects.get(user=admin, primary=True, verified=True).email == admin.email


def test_the_second_run_changes_nothing(environment: Any) -> None:
    """The second run changes nothing and returns no password."""
    first = ensure_admin()
    assert ensure_admin() is None
    assert authenticate(username="admin", password=first)


def test_a_password_from_the_environment_is_not_returned(environment: Any) -> None:
    """A password from the environment is used, and not returned for printing."""
    environment(ADMIN_PASSWORD=SecretStr("from the environment"))
    assert ensure_admin() is None
    assert authenticate(username="admin", password="from the environment")


def test_an_existing_admin_stays_as_is(environment: Any, carol: User) -> None:
    """If there is a superuser of any name, none is created."""
    assert ensure_admin() is None
    assert User.objects.count() == 1


def test_an_ordinary_account_is_not_promoted(environment: Any) -> None:
    """An ordinary account with the admin's name stays ordinary."""
    factories.user("admin")
    assert ensure_admin() is None
    assert not User.objects.filter(is_superuser=True).exists()


@pytest.mark.django_db(transaction=True)
def test_of_several_processes_one_creates_the_admin(environment: Any) -> None:
    """Of four concurrent calls one creates the account and returns the working password."""

    def start(_process: int) -> str | None:
        try:
            return ensure_admin()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as processes:
        passwords = [password for password in processes.map(start, range(4)) if password]
    assert User.objects.count() == 1
    assert [bool(authenticate(username="admin", password=password)) for password in passwords] == [True]
