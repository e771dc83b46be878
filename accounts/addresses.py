"""Digests of all addresses that accounts have had.

A user who signs up again with one of these addresses does not count as newly invited. The digests are keyed with
SECRET_KEY, so that they reveal nothing about deleted accounts. After a change of SECRET_KEY every address counts as
new.
"""

import re
import unicodedata
from contextlib import suppress

from django.utils.crypto import salted_hmac

# Hosts that ignore dots before the @; both names lead to the same mailboxes.
_DOTLESS_HOSTS = {"gmail.com", "googlemail.com"}


def email_digest(address: str) -> str:
    """Return the digest of an e-mail address, the same for all spellings of one mailbox."""
    name, _at, host = unicodedata.normalize("NFKC", address).strip().lower().rpartition("@")
    if len(name) > 1 and name[0] == name[-1] == '"':  # "a\b" means ab (RFC 5321, section 4.1.2)
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    name = name.partition("+")[0] or name
    with suppress(UnicodeError):  # a host may be written in Unicode too
        host = host.encode("idna").decode()
    if host in _DOTLESS_HOSTS:
        name, host = name.replace(".", ""), "gmail.com"
    return _digest(f"mailto:{name}@{host}")


def login_digest(provider: str, uid: str) -> str:
    """Return the digest of an account at another service."""
    return _digest(f"{provider}:{uid}")


def _digest(value: str) -> str:
    return salted_hmac("accounts.addresses", value, algorithm="sha256").hexdigest()
