"""Check the fields that operators enter for upstreams, their keys, models and routes.

These are addresses, proxies, host names, headers, parameters and the form of a key. Each function returns the value as
it is stored, or raises ValidationError. Whether an address is private is checked only when a connection is made
(`addresses`).
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrPromise

from providers.registry import ADAPTERS
from providers.wire.base import EMBEDDINGS, IMAGES, PASSED_ON
from providers.wire.errors import ProviderError
from providers.wire.net.hosts import canonical

_UNENCRYPTED = frozenset({"ws", "http"})
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})
_PASTED_PATH = "/chat/completions"
# Headers that belong to the connection or to the body, and that only the transport can set rightly.
_OWN_HEADERS = re.compile(
    r"host|content-(length|encoding)|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect"
    r"|(proxy|sec-websocket)-.*",
    re.IGNORECASE,
)
_MAX_NAME_CHARS = 100
_HEADER_NAME = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{_MAX_NAME_CHARS}}}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Fields that make a request a single stream of this conversation; our adapters set them.
_OWN_FIELDS = frozenset({"model", "messages", "stream", "n"})
# Names of what a model may accept.
_TAKEN = frozenset({*PASSED_ON, IMAGES, EMBEDDINGS})
# Characters of a header or query value, and how many of them there may be.
_MAX_VALUE_CHARS, _MAX_VALUES = 4_096, 50
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


def headers(values: object) -> dict[str, str]:
    """Return headers that are added to each request."""
    checked = _texts(values, str.isascii)
    if any(not _HEADER_NAME.fullmatch(name) for name in checked):
        raise ValidationError(_("A header's name consists of letters, digits and hyphens."))
    if own := next((name for name in checked if _OWN_HEADERS.fullmatch(name)), ""):
        raise ValidationError(_("The header %(name)s cannot be set here."), params={"name": own})
    if len({name.lower() for name in checked}) < len(checked):
        raise ValidationError(_("Each header can be set once."))
    return checked


def query(values: object) -> dict[str, str]:
    """Return parameters that are added to the query of each request."""
    checked = _texts(values, lambda _text: True)
    if any(not _is_line(name) or len(name) > _MAX_NAME_CHARS for name in checked):
        raise ValidationError(_("A query parameter's name is a short text in one line."))
    return checked


def parameters(values: object) -> dict[str, Any]:
    """Return the fields that each request's body has."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValidationError(_("A JSON object is expected."))
    if own := next((name for name in values if name in _OWN_FIELDS), ""):
        raise ValidationError(_("%(name)s is set by Rivulet."), params={"name": own})
    cap, temperature = values.get("max_tokens", 1), values.get("temperature", 0)
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise ValidationError(_("max_tokens is a whole number from 1 upwards."))
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise ValidationError(_("temperature is a number."))
    return values


def dropped(values: object) -> list[str]:
    """Return the names of body fields that are left out."""
    names = _names(values, _('A JSON list of names such as ["temperature"] is expected.'))
    if own := next((name for name in names if name in _OWN_FIELDS - {"n"}), ""):
        raise ValidationError(_("%(name)s cannot be left out."), params={"name": own})
    return names


def tool_types(values: object) -> list[str]:
    """Return the types of tools beside functions."""
    return _names(values, _('A JSON list of names such as ["web_search"] is expected.'))


def takes(values: object) -> list[str] | None:
    """Return the names of what a model accepts; None: unknown."""
    expected = _('A JSON list of names such as ["images", "tools"] is expected.')
    if values is None:
        return None
    names = _names(values, expected)
    if unknown := [name for name in names if name not in _TAKEN]:
        raise ValidationError(
            _("Not known: %(names)s. Known are: %(known)s."),
            params={"names": ", ".join(unknown), "known": ", ".join(sorted(_TAKEN))},
        )
    return names


def _names(values: object, expected: StrPromise) -> list[str]:
    names: list[str] = values if isinstance(values, list) else []
    well_formed = isinstance(values, list) and all(isinstance(name, str) and _NAME.fullmatch(name) for name in values)
    if not well_formed and values not in (None, "", {}):
        raise ValidationError(expected)
    return list(dict.fromkeys(names))


def _texts(values: object, fits: Callable[[str], bool]) -> dict[str, str]:
    """Return a JSON object of texts that can stand in the head of a request."""
    if values in (None, ""):
        return {}
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValidationError(_('A JSON object of texts such as {"name": "value"} is expected.'))
    if len(values) > _MAX_VALUES:
        raise ValidationError(_("At most %(count)d values are possible."), params={"count": _MAX_VALUES})
    for name, value in values.items():
        if not _is_line(value) or not fits(value) or len(value) > _MAX_VALUE_CHARS:
            # The message does not repeat the value, which may be a secret.
            raise ValidationError(_("The value of %(name)s has characters that cannot be sent."), params={"name": name})
    return values


def _is_line(text: str) -> bool:
    return text.isprintable() and text == text.strip() and text != ""


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
