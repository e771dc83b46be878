"""Encrypt the secrets of upstreams for the database, and show addresses and keys without them."""

import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


def encrypt(secret: str) -> str:
    return _cipher().encrypt(secret.encode()).decode()


def decrypt(ciphertext: str) -> str | None:
    """Return the secret; None when no key in KEY_ENCRYPTION_KEYS opens it."""
    try:
        return _cipher().decrypt(ciphertext.encode()).decode()
    except InvalidToken:
        return None


def reencrypted(ciphertext: str) -> str | None:
    """Return the secret encrypted with the first key; unchanged if it is already.

    None when no key in KEY_ENCRYPTION_KEYS opens it.
    """
    try:
        Fernet(settings.KEY_ENCRYPTION_KEYS[0]).decrypt(ciphertext.encode())
    except InvalidToken:
        secret = decrypt(ciphertext)
        return None if secret is None else encrypt(secret)
    return ciphertext


def fingerprint(secret: str) -> str:
    """Return a short digest that stands for a key in logs and uniqueness checks."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


def without_password(url: str) -> str:
    """Return an address without the password in it."""
    scheme, separator, rest = url.partition("://")
    access, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{access.partition(':')[0]}{at}{host}"


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.KEY_ENCRYPTION_KEYS])
