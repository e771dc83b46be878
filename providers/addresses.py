"""Which addresses an upstream that an admin added may be reached at: public ones, and those the operator allowed.

The check is made on the resolved address, by the connector that then connects to just that one: a name that resolves to
something else a moment later gains nothing.
"""

import contextlib
import socket
import threading
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings

from providers.wire.net.dial import AddressCheck

RESOLVE_SECONDS = 2.0


def admitting(base_url: str) -> AddressCheck:
    """Return the check for one upstream; ALLOWED_PRIVATE_UPSTREAMS holds names of hosts, addresses and networks."""
    hosts, networks = _allowed()
    if (urlsplit(base_url).hostname or "") in hosts:
        return _anything

    def admits(address: str) -> bool:
        found = ip_address(address)
        mapped = getattr(found, "ipv4_mapped", None) or found
        public = mapped.is_global and not mapped.is_multicast
        return public or any(mapped in network for network in networks)

    return admits


def refused_now(base_url: str, proxy: str) -> str:
    """Return the host that would be refused, as its name resolves at this moment; empty when there is none.

    It is the proxy's, where there is one. A name that does not resolve within two seconds is not judged.
    """
    parts = urlsplit(proxy or base_url)
    host, admits = parts.hostname or "", admitting(base_url)
    found = _resolved(host)
    return host if found and not any(map(admits, found)) else ""


def _resolved(host: str) -> list[str]:
    """Return the addresses of a host; the system's resolver takes as long as it likes, so it is waited for apart."""
    found: list[str] = []

    def look_up() -> None:
        with contextlib.suppress(OSError, UnicodeError):
            found.extend(str(address[0]) for *_rest, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))

    thread = threading.Thread(target=look_up, name="look up", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    return list(found)


def _anything(address: str) -> bool:
    return True


def _allowed() -> tuple[set[str], list[IPv4Network | IPv6Network]]:
    hosts: set[str] = set()
    networks: list[IPv4Network | IPv6Network] = []
    for entry in settings.ALLOWED_PRIVATE_UPSTREAMS:
        try:
            networks.append(ip_network(entry, strict=False))
        except ValueError:
            hosts.add(entry.lower())
    return hosts, networks
