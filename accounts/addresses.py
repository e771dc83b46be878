"""Addresses that accounts have had, as keyed digests: who comes again with one of them is not newly invited.

A digest says nothing without SECRET_KEY, also about accounts that were deleted; after a change of SECRET_KEY every
address counts as new.
"""

import re
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
    """Cut case, width, quotes, and what follows a plus sign, which hardly any mailbox's own name has."""
    name, _at, host = unicodedata.normalize("NFKC", address).strip().lower().rpartition("@")
    if len(name) > 1 and name[0] == name[-1] == '"':  # "a\b" is ab (RFC 5321, section 4.1.2)
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    name = name.partition("+")[0] or name
    host = _ascii(host)
    if host in _WITHOUT_DOTS:
        return f"{name.replace('.', '')}@gmail.com"
    return f"{name}@{host}"


def _ascii(host: str) -> str:
    """Return a host as the network knows it: names beyond ASCII are written in two ways."""
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def _digest(value: str) -> str:
    return salted_hmac("accounts.addresses", value, algorithm="sha256").hexdigest()
