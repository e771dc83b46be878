"""Check the fields that operators enter for an upstream and its keys.

These are addresses, proxies, host names and the form of a key. Each function returns the value as it is stored, or
raises ValidationError. Whether an address is private is checked only when a connection is made (`addresses`).
"""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from providers.registry import ADAPTERS
from providers.wire.errors import ProviderError
from providers.wire.net.hosts import canonical

_UNENCRYPTED = frozenset({"ws", "http"})
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_PASTED_PATH = "/chat/completions"
_HOST = re.compile(r"([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def base_url(kind: str, text: str) -> str:
    """Return a base URL without the path that operators often paste with it."""
    adapter, url = ADAPTERS[kind], text.strip()
    if not adapter.needs_base_url:
        return url
    if not url:
        raise ValidationError(_("This kind of upstream needs a base URL."))
    parts = _parts(url)
    if parts.scheme not in adapter.schemes:
        schemes = ", ".join(f"{scheme}://" for scheme in adapter.schemes)
        raise ValidationError(_("The address must begin with one of: %(schemes)s"), params={"schemes": schemes})
    if adapter.needs_encryption and parts.scheme in _UNENCRYPTED and not _is_loopback(parts.hostname or ""):
        raise ValidationError(
            _("Without encryption, only this machine may be reached. Use %(scheme)s://."),
            params={"scheme": adapter.schemes[0]},
        )
    if "@" in parts.netloc:
        raise ValidationError(_("The address must not contain a name or a password. Enter keys on their own."))
    if "?" in url or "#" in url:
        raise ValidationError(_("The address must not contain ? or #, because paths are appended to it."))
    bare = url.rstrip("/").removesuffix(_PASTED_PATH)
    return bare if len(bare) < len(url.rstrip("/")) else url


def proxy(text: str) -> str:
    """Return the address of an outgoing proxy, credentials included; empty when there is none."""
    url = text.strip()
    if not url:
        return ""
    parts = _parts(url)
    if parts.scheme not in _PROXY_SCHEMES:
        raise ValidationError(_("An http://, https:// or socks5:// address is expected."))
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValidationError(_("A proxy's address ends with its port."))
    return url


def sign_host(kind: str, text: str) -> str:
    """Return the host name to sign instead of the base URL's; most kinds sign none."""
    host = text.strip()
    if host and "sign_host" not in ADAPTERS[kind].options:
        raise ValidationError(_("This kind of upstream does not sign a host name."))
    if host and not _HOST.fullmatch(host):
        raise ValidationError(_("A host name is expected, without https:// and without a path."))
    return host


def secret(kind: str, text: str) -> str:
    """Return a key's secret; raise for one that this kind of upstream could never take."""
    value = text.strip()
    if not (value.isascii() and value.isprintable()):
        raise ValidationError(_("A key consists of printable ASCII characters, without line breaks."))
    adapter = ADAPTERS[kind]
    try:
        adapter.check_key(value)
    except ProviderError as error:
        form = {"form": adapter.key_form}
        raise ValidationError(_("A key for this upstream has the form %(form)s."), params=form) from error
    return value


def _parts(url: str) -> SplitResult:
    """Split the address of a server; refuse control characters, which urlsplit drops silently."""
    try:
        parts = urlsplit(url)
        canonical(parts.hostname or "")  # which also refuses names that could be read as another host
        well_formed = parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed or "\\" in url or any(char.isspace() or not char.isprintable() for char in url):
        raise ValidationError(_("This is not the address of a server, such as https://api.example.org/v1."))
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
