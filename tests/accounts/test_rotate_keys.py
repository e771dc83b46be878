"""`manage.py rotate_keys`: after it the first key alone opens every secret of the database."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection

from providers.encryption import decrypt, encrypt
from providers.models import ApiKey, Upstream
from tests import factories, servers

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def secrets(database_url: str, settings: Any, django_db_blocker: Any) -> Iterator[None]:
    """A database with a secret of each kind, encrypted with the old key."""
    settings.KEY_ENCRYPTION_KEYS = [OLD]
    with django_db_blocker.unblock(), servers.connected(database_url):
        proxy = {"proxy_ciphertext": encrypt("http://a:b@127.0.0.1:1")}
        values = {"headers": {"X-Key": "secret"}, "query": {"key": "hidden"}, "environment": proxy}
        upstream = factories.upstream(kind="openai", proxy="http://a:b@127.0.0.1:1", **values)
        factories.api_key(upstream, "sk-secret-0123456789")
        factories.upstream("plain")
        user = factories.user("alice")
        TOTP.activate(user, "JBSWY3DPEHPK3PXP")
        RecoveryCodes.activate(user)
        yield


def stored_secrets() -> list[str]:
    """Return everything in any table that Fernet has encrypted, found by its first characters."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            texts = [str(value) for row in cursor.fetchall() for value in row]
            found += [part for text in texts for part in text.replace("'", '"').split('"') if part.startswith("gAAAAA")]
    return found


def rotate() -> str:
    out = StringIO()
    call_command("rotate_keys", stdout=out)
    return out.getvalue()


def test_all_secrets_move_to_the_first_key(secrets: None, settings: Any) -> None:
    """Each kind of secret is encrypted again, and a repetition changes nothing."""
    before = stored_secrets()
    settings.KEY_ENCRYPTION_KEYS = [NEW, OLD]
    assert rotate() == f"Encrypted again: {len(before)}; with the first key already: 0\n"
    after = stored_secrets()
    assert rotate() == f"Encrypted again: 0; with the first key already: {len(before)}\n"
    assert stored_secrets() == after
    settings.KEY_ENCRYPTION_KEYS = [NEW]
    assert len(before) == len(after) == 7
    assert None not in map(decrypt, after)
    row = Upstream.objects.get(slug__startswith="upstream")
    assert (row.headers, row.query) == ({"X-Key": "secret"}, {"key": "hidden"})
    assert row.proxy_url() == "http://a:b@127.0.0.1:1"
    assert ApiKey.objects.get().secret() == "sk-secret-0123456789"
    totp = Authenticator.objects.get(type="totp").wrap()
    assert decrypt(totp.instance.data["secret"]) == "JBSWY3DPEHPK3PXP"


def test_what_no_key_opens_stays_and_is_named(secrets: None, settings: Any) -> None:
    """The exit code is not 0, and the old key still opens the secret later."""
    ciphertext = ApiKey.objects.get().ciphertext
    settings.KEY_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(CommandError, match="7 secrets open with none of KEY_ENCRYPTION_KEYS"):
        rotate()
    assert ApiKey.objects.get().ciphertext == ciphertext
