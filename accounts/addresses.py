"""Addresses that accounts have had, as keyed digests: who comes again with one of them is not newly invited.

A digest says nothing without SECRET_KEY, also about accounts that were deleted; after a change of SECRET_KEY every
address counts as new.
"""

import unicodedata

from django.utils.crypto import salted_hmac

# Dots before the @ mean nothing there, and the two names are one.
_WITHOUT_DOTS = {"gmail.com", "googlemail.com"}


def of_mailbox(address: str) -> str:
    """Return the digest of an e-mail address: one for all spellings that end in the same mailbox."""
    return _digest(f"mailto:{_mailbox(address)}")


def of_login(provider: str, uid: str) -> str:
    """Return the digest of an account at another service."""
    return _digest(f"{provider}:{uid}")


def _mailbox(address: str) -> str:
    """Cut case, width, and what follows a plus sign, which hardly any mailbox's own name has."""
    name, _at, host = unicodedata.normalize("NFKC", address).strip().lower().rpartition("@")
    name = name.partition("+")[0] or name
    if host in _WITHOUT_DOTS:
        return f"{name.replace('.', '')}@gmail.com"
    return f"{name}@{host}"


def _digest(value: str) -> str:
    return salted_hmac("accounts.addresses", value, algorithm="sha256").hexdigest()
