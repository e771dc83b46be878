"""Password hashing: one at a time, in requests that have threads of their own, outside of transactions."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.hashing import QueuedPBKDF2Hasher
from accounts.models import User
from tests.product import PASSWORD

# Routes that hash a password when a form or a body is sent to them.
HASHING = {
    "account_login": (),
    "account_signup": (),
    "account_reauthenticate": (),
    "account_change_password": (),
    "account_set_password": (),
    "account_reset_password_from_key": ("1", "set-password"),
    "register": (),
    "token": (),
    "account_delete": (),
    "me": (),  # to DELETE
    "admin:accounts_user_add": (),
    "admin:auth_user_password_change": ("7",),
}
OTHERS = ("account_logout", "account_reset_password", "token-refresh", "token-revoke", "conversations", "admin:index")


@pytest.mark.parametrize(("name", "arguments"), HASHING.items())
def test_a_route_that_hashes_has_threads_of_its_own(name: str, arguments: tuple[str, ...]) -> None:
    assert settings.PASSWORD_PATHS.match(reverse(name, args=arguments))


@pytest.mark.parametrize("name", OTHERS)
def test_a_route_that_hashes_nothing_waits_for_no_login(name: str) -> None:
    assert not settings.PASSWORD_PATHS.match(reverse(name))


def test_one_hash_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that hash at once wait for each other, and each gets its own hash."""
    running, most = [0], [0]
    guard = threading.Lock()
    hash_alone = PBKDF2PasswordHasher.encode

    def encode(hasher: Any, password: str, salt: str, iterations: int | None = None) -> str:
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        done = hash_alone(hasher, password, salt, iterations)
        with guard:
            running[0] -= 1
        return done

    monkeypatch.setattr(PBKDF2PasswordHasher, "encode", encode)
    with ThreadPoolExecutor(4) as threads:
        hashes = list(threads.map(lambda n: QueuedPBKDF2Hasher().encode(f"p{n}", "salt", 20_000), range(8)))
    assert most == [1]
    assert len(set(hashes)) == 8


def test_the_product_reads_hashes_of_earlier_releases() -> None:
    hasher = QueuedPBKDF2Hasher()
    assert hasher.verify(PASSWORD, PBKDF2PasswordHasher().encode(PASSWORD, "salt", 1000))
    assert not hasher.verify("another", PBKDF2PasswordHasher().encode(PASSWORD, "salt", 1000))


@pytest.mark.django_db(transaction=True)
def test_signing_up_hashes_outside_of_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of sign-up holds no transaction while it hashes, because other writers would wait for it."""
    in_transaction: list[bool] = []
    set_password = User.set_password

    def record(user: User, password: str | None) -> None:
        in_transaction.append(connection.in_atomic_block)
        set_password(user, password)

    monkeypatch.setattr(User, "set_password", record)
    form = {"username": "dora", "email": "dora@example.org", "password1": PASSWORD, "password2": PASSWORD}
    assert Client().post("/accounts/signup/", form).status_code == 302
    assert in_transaction == [False]
    assert User.objects.get(username="dora").check_password(PASSWORD)
