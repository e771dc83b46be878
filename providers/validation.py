"""What may be entered for an upstream and its keys: addresses, proxies, host names, the form of a secret.

Each function returns the value as it is to be kept, or raises ValidationError. Whether an address is private is not
asked here but when it is connected to (`addresses`).
"""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from providers.wire.errors import ProviderError
from providers.wire.spark import adapter as spark
from providers.wire.zhipu import adapter as zhipu

_WEB_SCHEMES = frozenset({"https", "http"})
_SPARK_SCHEMES = frozenset({"wss", "ws", "https", "http"})
_UNENCRYPTED = frozenset({"ws", "http"})
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_PASTED_PATH = "/chat/completions"
_HOST = re.compile(r"([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


def base_url(kind: str, written: str) -> str:
    """Return a base URL without the path that is often pasted with it; the built-in demo needs none."""
    url = written.strip()
    if kind == "scripted":
        return url
    if not url:
        raise ValidationError(_("This kind of upstream needs a base URL."))
    parts = _parts(url)
    host = parts.hostname or ""
    if kind == "spark":
        if parts.scheme not in _SPARK_SCHEMES:
            raise ValidationError(_("A wss:// address is expected."))
        if parts.scheme in _UNENCRYPTED and not _is_loopback(host):
            raise ValidationError(
                _("Without encryption only this machine may be reached: the address carries a signature. Use wss://.")
            )
    elif parts.scheme not in _WEB_SCHEMES:
        raise ValidationError(_("An https:// or http:// address is expected."))
    if "@" in parts.netloc:
        raise ValidationError(_("No name and password in the address, please: keys are entered on their own."))
    if "?" in url or "#" in url:
        raise ValidationError(_("No ? and no # in the address, please: paths are appended to it."))
    bare = url.rstrip("/").removesuffix(_PASTED_PATH)
    return bare if len(bare) < len(url.rstrip("/")) else url


def proxy(written: str) -> str:
    """Return the address of an outgoing proxy, which may hold a name and a password; empty: none."""
    url = written.strip()
    if not url:
        return ""
    parts = _parts(url)
    if parts.scheme not in _PROXY_SCHEMES:
        raise ValidationError(_("An http://, https:// or socks5:// address is expected."))
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise ValidationError(_("A proxy's address ends with its port."))
    return url


def sign_host(kind: str, written: str) -> str:
    """Return the host name that Spark's signature is made for; other kinds sign none."""
    host = written.strip()
    if host and kind != "spark":
        raise ValidationError(_("Only iFlytek Spark (WebSocket) signs a host name."))
    if host and not _HOST.fullmatch(host):
        raise ValidationError(_("A host name is expected, without https:// and without a path."))
    return host


def secret(kind: str, written: str) -> str:
    """Return a key's secret; raise for one that this kind of upstream could never take."""
    value = written.strip()
    if not (value.isascii() and value.isprintable()):
        raise ValidationError(_("A key consists of letters, digits and signs of ASCII, without line breaks."))
    try:
        if kind == "spark":
            spark.credentials(value)
        elif kind in {"zhipu", "zhipu_v3"}:
            zhipu.split_key(value)
    except ProviderError as error:
        form = "app_id:api_key:api_secret" if kind == "spark" else "id.secret"
        raise ValidationError(_("A key for this upstream has the form %(form)s."), params={"form": form}) from error
    return value


def _parts(url: str) -> SplitResult:
    """Split an address that has a host; the standard library would silently drop control characters from it."""
    try:
        parts = urlsplit(url)
        well_formed = bool(parts.hostname) and (parts.port or 1) > 0
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
