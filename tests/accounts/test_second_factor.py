"""Secrets of the second factor."""

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from cryptography.fernet import Fernet

from accounts.second_factor import MFAAdapter


def test_without_the_encryption_key_no_code_is_right(alice: Any, settings: Any) -> None:
    """A secret that no key opens is not an empty one, whose codes anyone can compute."""
    secret = totp.generate_totp_secret()
    row = Authenticator(user=alice, type="totp", data={"secret": MFAAdapter().encrypt(secret)})
    assert MFAAdapter().decrypt(row.data["secret"]) == secret
    settings.KEY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    opened = [MFAAdapter().decrypt(row.data["secret"]) for _ in range(2)]
    assert "" not in opened
    assert opened[0] != opened[1]
    counter = int(time.time()) // 30
    codes = {totp.format_hotp_value(totp.hotp_value("", counter + step)) for step in range(-1, 2)}
    assert totp.format_hotp_value(totp.hotp_value(opened[0], counter)) not in codes
