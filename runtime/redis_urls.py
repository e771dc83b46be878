"""Reads REDIS_URL, which names a server, the sentinels of one, or a cluster."""

from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

EXPECTED = (
    "not a redis://host:port/number, redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
    " URL"
)
# Ports of addresses that name none.
PORTS = {"server": 6379, "sentinel": 26379, "cluster": 6379}


class Address(NamedTuple):
    """Where one server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed REDIS_URL."""

    kind: Literal["server", "sentinel", "cluster"]
    # The sentinels, or some nodes of the cluster; empty for one server.
    addresses: tuple[Address, ...]
    # The name under which the sentinels know the primary.
    service: str
    # The URL of a single server as redis-py reads it, without its address.
    scheme: str
    user_and_password: str
    rest: str
    # The part before the host in URLs of sentinels, which have a user and a password of their own.
    sentinel_user: str = ""

    def server(self, address: Address) -> str:
        """Return the URL of one server, with the user and the database number of REDIS_URL."""
        return f"{self.scheme}://{self.user_and_password}{_netloc(address)}{self.rest}"

    def sentinel(self, address: Address) -> str:
        """Return the URL of one sentinel; options such as `ssl_ca_certs` hold for sentinels too."""
        query = self.rest.partition("?")[2]
        return f"{self.scheme}://{self.sentinel_user}{_netloc(address)}" + (f"?{query}" if query else "")


def parse(url: str) -> RedisUrl:
    """Read a REDIS_URL; raise ValueError, which does not contain it, when it is invalid."""
    scheme, separator, rest = url.partition("://")
    base, _plus, kind = scheme.partition("+")
    if not separator or base not in {"redis", "rediss", "unix"} or kind not in {"", "sentinel", "cluster"}:
        raise ValueError(EXPECTED)
    if not kind:
        _address(rest.partition("/")[0].rpartition("@")[2] if base != "unix" else "", PORTS["server"])
        return RedisUrl("server", (), "", base, "", "")
    location, _question_mark, query = rest.partition("?")
    where, _slash, path = location.partition("/")
    user, at, hosts = where.rpartition("@")
    addresses = tuple(_address(host, PORTS[kind]) for host in hosts.split(","))
    parts = [part for part in path.split("/") if part]
    service = parts.pop(0) if kind == "sentinel" and parts else ""
    number = parts.pop() if parts else "0"
    missing = not all(host for host, _port in addresses) or (kind == "sentinel" and not service)
    if base == "unix" or parts or missing or not number.isdecimal() or (kind == "cluster" and int(number)):
        raise ValueError(EXPECTED)
    options = dict(parse_qsl(query))
    sentinel_user = _login(options.pop("sentinel_username", ""), options.pop("sentinel_password", ""))
    rest = f"/{number}" + (f"?{urlencode(options)}" if options else "")
    return RedisUrl(
        "sentinel" if kind == "sentinel" else "cluster", addresses, service, base, user + at, rest, sentinel_user
    )


def _address(host_and_port: str, default_port: int) -> Address:
    try:
        parts = urlsplit(f"//{host_and_port}")
        port = parts.port
    except ValueError as error:
        raise ValueError(EXPECTED) from error
    if port == 0:
        raise ValueError(EXPECTED)
    return Address(parts.hostname or "", port or default_port)


def _netloc(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def _login(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
