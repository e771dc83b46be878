"""Hosts in one canonical form, and which addresses are public.

The dialer connects to the canonical host, so it is also what checks compare. Sources: the WHATWG URL standard (a host
that ends in a number is an address), IDNA 2008, and RFC 3056, 4291, 4380, 5214, 6052 and 8215 for IPv4 inside IPv6.
"""

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import idna

Address = IPv4Address | IPv6Address

_NAME = re.compile(r"(?=.{1,254}\Z)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
# "2130706433" and "0x7f.1" are addresses to the system's resolver, and would hide from a reader of the configuration.
_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?")
# Top-level names that no public server has, and names that mean this machine.
_PRIVATE_NAMES = frozenset({"localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "arpa"})
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# Prefixes whose last 32 bits are the IPv4 address to which the packets go: compatible, mapped, translated, NAT64.
_IPV4_AT_END = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
# The middle of an interface identifier of ISATAP, without its "universal" bit.
_ISATAP = 0x5EFE


class BadAddressError(ValueError):
    """The address names no host that can be connected to."""


def canonical(host: str) -> str:
    """Return a host in lower-case ASCII, an address in its usual form.

    Raises BadAddressError for compatibility forms (full-width digits, circled letters), zone ids, and addresses in
    unusual notation, because another program could read them as another host.
    """
    name = host.lower()
    if not name.isascii():
        name = _ascii(name)
    try:
        address = ip_address(name)
    except ValueError:
        if _NUMERIC.fullmatch(name) or not _NAME.fullmatch(name):
            raise BadAddressError("the address names no host") from None
        return name
    if "%" in name:
        raise BadAddressError("an address with a zone id")
    return str(address)


def _ascii(name: str) -> str:
    # The ideographic full stop is a dot to IDNA, although Unicode calls it no compatibility form of one.
    if unicodedata.normalize("NFKC", name) != name or "\u3002" in name:
        raise BadAddressError("the host's name is not valid")
    try:
        return idna.encode(name).decode("ascii")
    except idna.IDNAError:
        raise BadAddressError("the host's name is not valid") from None


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def destinations(address: Address) -> Iterator[Address]:
    """Yield all addresses to which packets for this one may go.

    That is the address itself, and IPv4 addresses that it contains.
    """
    if isinstance(address, IPv4Address):
        yield address
        return
    value = int(address)
    last = IPv4Address(value & 0xFFFFFFFF)
    if value > 1 and any(address in network for network in _IPV4_AT_END):
        yield last
        return
    yield address
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if (value >> 32) & 0xFDFFFFFF == _ISATAP:
        yield last


def is_public(address: Address) -> bool:
    """Return whether this address is in the public part of the Internet.

    It does not look at contained addresses; `destinations` yields them.
    """
    if isinstance(address, IPv6Address) and address.sixtofour:
        return True  # versions of Python disagree; the address that it contains decides
    in_use = isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST
    return in_use and address.is_global and not address.is_multicast


def is_public_url(url: str) -> bool:
    """Return whether an `https:` URL leads to a public host, judged by its text.

    A name may still resolve to a private address: the text alone cannot show that.
    """
    try:
        parts = urlsplit(url)
        host = canonical(parts.hostname or "").removesuffix(".")
        well_formed = parts.scheme == "https" and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False
    if not well_formed or "\\" in url or any(char.isspace() or not char.isprintable() for char in url):
        return False
    if is_address(host):
        return all(map(is_public, destinations(ip_address(host))))
    return "." in host and host.rpartition(".")[2] not in _PRIVATE_NAMES
