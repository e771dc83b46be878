"""Check the addresses to which an upstream that an admin added may be connected.

Public addresses are allowed, and those that the operator lists in ALLOWED_PRIVATE_UPSTREAMS.

The connector checks the resolved address and then connects to that address only. An attacker therefore gains nothing
from a name that resolves to another address a moment later.
"""

import contextlib
import socket
import threading
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings

from providers.wire.base import AddressCheck
from providers.wire.net.hosts import Address, canonical, destinations, is_public

# Seconds to wait for the system's resolver when an upstream is saved; a name that takes longer is not checked.
RESOLVE_SECONDS = 2.0


def admitting() -> AddressCheck:
    """Return the check; ALLOWED_PRIVATE_UPSTREAMS holds host names, addresses and networks.

    It gets the host that is connected to, so an allowed upstream does not admit a proxy that is not.
    """
    names, networks = _allowed()

    def may_reach(address: Address) -> bool:
        return is_public(address) or any(address in network for network in networks)

    def admits(host: str, text: str) -> bool:
        address = ip_address(text)
        listed = any(address in network for network in networks)
        return listed or host.removesuffix(".") in names or all(map(may_reach, destinations(address)))

    return admits


def refused_now(base_url: str, proxy: str) -> str:
    """Return the host that the address check would refuse now; empty when it refuses none.

    With a proxy, the proxy's host is checked. A name that does not resolve within two seconds is not checked.
    """
    host, admits = canonical(urlsplit(proxy or base_url).hostname or ""), admitting()
    resolved = _resolved(host)
    return host if resolved and not any(admits(host, address) for address in resolved) else ""


def _resolved(host: str) -> list[str]:
    """Look a host up in a thread, because the system's resolver has no timeout."""
    resolved: list[str] = []

    def look_up() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            resolved.extend(str(address[0]) for *_rest, address in rows)

    thread = threading.Thread(target=look_up, name="look up", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    return list(resolved)


def _allowed() -> tuple[set[str], list[IPv4Network | IPv6Network]]:
    names: set[str] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for entry in settings.ALLOWED_PRIVATE_UPSTREAMS:
        try:
            networks.append(ip_network(entry, strict=False))
        except ValueError:
            names.add(canonical(entry).removesuffix("."))
    return names, networks
