"""Types of environment variables: hosts, networks, URLs, keys, and lists of them.

A check raises ValueError that says what was expected. The message never contains the value, which may be a secret.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult
from zoneinfo import ZoneInfo

from cryptography.fernet import Fernet
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from providers.wire import webhooks
from providers.wire.net.hosts import canonical
from runtime import redis_urls
from runtime.database_url import split_url
from web import colours, logo


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _secrets(value: object) -> object:
    return _comma_separated(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _vendor_key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("not a comma-separated list of keys of printable ASCII characters without spaces")
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("not a time zone name such as Asia/Shanghai") from error
    return value


def _split(value: str, schemes: set[str], expected: str) -> SplitResult:
    """Split a URL with a host and one of these schemes; else raise ValueError."""
    problem = "not a URL with a host and, optionally, a port from 1 to 65535"
    parts = split_url(value, problem)
    if not parts.hostname or parts.port == 0:
        raise ValueError(problem)
    if parts.scheme not in schemes:
        raise ValueError(expected)
    return parts


def _host(value: str) -> str:
    if not re.fullmatch(r"[\w.:%-]+", value):
        raise ValueError("not an address or a host name")
    return value


def _domain(value: str) -> str:
    if not re.fullmatch(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}", value.lower()):
        raise ValueError("not a comma-separated list of domains such as example.org")
    return value.lower()


def _allowed_host(value: str) -> str:
    if not re.fullmatch(r"\*|\.?[\w-]+(\.[\w-]+)*|\[[0-9a-fA-F:.]+\]", value):
        raise ValueError("not a list of host names such as chat.example.org, without scheme and port")
    return value


def _web_url(value: str) -> str:
    _split(value, {"http", "https"}, "not an http:// or https:// URL")
    return value.rstrip("/")


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("not one line of printable characters")
    return value


def _contact(value: str) -> str:
    if value and not re.fullmatch(r"[^@\s<>:/?]+@[\w.-]+", value):
        _split(value, {"https", "http"}, "not an e-mail address or an https:// URL")
    return value


def _mail_address(value: str) -> str:
    if not re.fullmatch(r"[^@\s<>,]+@[^@\s<>,]+", value):
        raise ValueError("not a list of e-mail addresses")
    return value


def _webhook(value: SecretStr) -> SecretStr:
    webhooks.parsed(value.get_secret_value())
    return value


def _logo(value: object) -> object:
    return logo.read(Path(__file__).resolve().parent.parent / value) if isinstance(value, str) else value


def _palette(value: object) -> object:
    return colours.palette(value) if isinstance(value, str) else value


def _websocket_url(value: str) -> str:
    parts = _split(value, {"ws", "wss"}, "not a wss:// URL")
    if parts.scheme == "ws" and not _is_loopback(parts.hostname or ""):
        raise ValueError("ws:// is for loopback hosts only: the URL carries a signature")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_url(value: str) -> str:
    _split(value, {"http", "https", "socks5", "socks5h"}, "not an http://, https:// or socks5:// URL")
    return value


def _origin(value: str) -> str:
    expected = "not an origin such as https://chat.example.org"
    if _split(value, {"http", "https"}, expected).path not in {"", "/"}:
        raise ValueError(expected)
    return value.rstrip("/")


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError("not an address or network such as 10.0.0.0/8") from error


def _host_or_network(value: str) -> str:
    if "/" in value:
        _network(value)
        return value
    try:
        return canonical(value)
    except ValueError as error:
        raise ValueError("not an address, a network or a host name") from error


def _fernet_key(value: SecretStr) -> SecretStr:
    try:
        Fernet(value.get_secret_value())
    except ValueError as error:
        raise ValueError("not a comma-separated list of Fernet keys (32 bytes, URL-safe base64)") from error
    return value


def _offered_model(value: str) -> tuple[str, str]:
    slug, _, upstream_name = value.partition("=")
    if not slug.strip() or len(slug) > 100:
        raise ValueError("not a list of `slug` or `slug=upstream-name`")
    return slug.strip(), upstream_name.strip() or slug.strip()


def _category_rule(value: str) -> tuple[str, tuple[str, float | None]]:
    name, _equals, rule = value.rpartition("=")
    action, at, score = rule.partition("@")
    try:
        least = float(score) if at else None
    except ValueError:
        least = -1
    if not name or action not in {"block", "flag"} or not 0 <= (least or 0) <= 1:
        raise ValueError("not a list of category=block or category=flag, with a score from 0 to 1 after an @ if wanted")
    return name.strip(), (action, least)


def _redis_url(value: SecretStr) -> SecretStr:
    redis_urls.parse(value.get_secret_value())
    return value


def _slug(value: str) -> str:
    if not re.fullmatch(r"\*|[\w-]{1,100}", value):
        raise ValueError("not a list of slugs of upstreams, or *")
    return value


Host = Annotated[str, BeforeValidator(_host)]
WebUrl = Annotated[str, BeforeValidator(_web_url)]
WebSocketUrl = Annotated[str, BeforeValidator(_websocket_url)]
ProxyUrl = Annotated[str, BeforeValidator(_proxy_url)]
ZoneName = Annotated[str, BeforeValidator(_time_zone)]
Commas = BeforeValidator(_comma_separated)
Seconds = Annotated[float, Field(gt=0, le=86_400)]
# At most what an integer column of the database can hold.
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Secret = SecretStr | None
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
FernetKeys = Annotated[tuple[Annotated[SecretStr, AfterValidator(_fernet_key)], ...], BeforeValidator(_secrets)]
VendorKeys = Annotated[tuple[Annotated[SecretStr, AfterValidator(_vendor_key)], ...], BeforeValidator(_secrets)]
MailAddresses = Annotated[tuple[Annotated[str, BeforeValidator(_mail_address)], ...], Commas]
CategoryRules = Annotated[
    tuple[Annotated[tuple[str, tuple[str, float | None]], BeforeValidator(_category_rule)], ...], Commas
]
Webhooks = Annotated[tuple[Annotated[SecretStr, AfterValidator(_webhook)], ...], BeforeValidator(_secrets)]
Slugs = Annotated[tuple[Annotated[str, BeforeValidator(_slug)], ...], Commas]
Percent = Annotated[int, Field(ge=1, le=100)]
OfferedModels = Annotated[
    tuple[Annotated[tuple[str, str], BeforeValidator(_offered_model)], ...], Commas, Field(min_length=1)
]
# A dated version such as `2024-10-21` or `2025-04-01-preview`, or a word such as `preview`.
ApiVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,40}$")]
Hosts = Annotated[tuple[Annotated[str, BeforeValidator(_allowed_host)], ...], Commas]
Domains = Annotated[tuple[Annotated[str, BeforeValidator(_domain)], ...], Commas]
Networks = Annotated[tuple[Annotated[Any, BeforeValidator(_network)], ...], Commas]
Origin = Annotated[str, BeforeValidator(_origin)]
Origins = Annotated[tuple[Origin, ...], Commas]
PrivateHosts = Annotated[tuple[Annotated[str, BeforeValidator(_host_or_network)], ...], Commas]
# What users see of the site: lines of at most so many characters, and an e-mail address or a page.
Line40 = Annotated[str, Field(max_length=40), AfterValidator(_line)]
Line200 = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Contact = Annotated[str, Field(max_length=200), AfterValidator(_contact)]
LogoFile = Annotated[Any, BeforeValidator(_logo)]
Colours = Annotated[Any, BeforeValidator(_palette)]
