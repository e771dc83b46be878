"""The host that is checked is the host that is connected to, in every notation.

The class of CVE-2023-49785 and CVE-2026-31943, requests to private addresses by a base URL.
"""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import httpx
import pytest
from django.core.exceptions import ValidationError
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from providers import validation
from providers.addresses import admitting, refused_now
from providers.wire.base import Clocks, Endpoint
from providers.wire.net import dial
from providers.wire.net.hosts import BadAddressError, canonical, is_public_url
from providers.wire.net.transport import Transport
from tests.product import ApiUser, Product
from tests.upstreams import FakeOpenAI

# Names of the fake resolver, which answers each with a private and a public address.
PRIVATE, PUBLIC = "10.9.8.7", "93.184.215.14"
ALLOWED = "ollama.internal"

REFUSED_HOSTS = [
    *("127.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "2130706433", "017700000001", "127.0.0.1.", "1.2.3.0x4", "a.0x7f"),
    *(
        "010.0.0.1",
        "10.0.1",
        "256.1.1.1",
        "1.2.3.4.5",
        "0x",
        "a.1",
        "[::1]",
        "::ffff:1.2.3",
        "fe80::1%eth0",
        "::1%25lo",
    ),
    *(
        "１２７.0.0.1",
        "127。0。0。1",
        "127．0．0．1",
        "127｡0｡0｡1",
        "①②⑦.⓪.⓪.①",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "ｌocalhost",
        "ollama。internal",
    ),
    *("", ".", "a..b", "a b", "a\tb", "a/b", "a@b", "user:x@b", "a\\b", "a#b", "a?b", "a%2eb", "127.0.0.%31", "a\0b"),
    *("a\u00adb", "a\u200db", "a\u2024b", "ſ.example", "x" * 64, "a." * 127 + "com"),
]


@pytest.mark.parametrize("host", REFUSED_HOSTS)
def test_other_notations_are_refused(host: str) -> None:
    """Numeric, compatibility and malformed hosts are refused, in the address of an upstream and of a proxy too."""
    with pytest.raises(BadAddressError):
        canonical(host)
    if not set("/@[") & set(host):  # with these, the URL has another host
        for check in (validation.proxy, lambda url: validation.base_url("openai", url)):
            with pytest.raises(ValidationError):
                check(f"https://{host}/")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("API.Example.ORG", "api.example.org"),
        ("ollama", "ollama"),
        ("my_host.example.org.", "my_host.example.org."),
        ("例子.example", "xn--fsqu00a.example"),
        ("\u212aELVIN.example", "kelvin.example"),
        ("8.8.8.8", "8.8.8.8"),
        ("2001:0DB8::0:1", "2001:db8::1"),
        ("::FFFF:8.8.8.8", "::ffff:808:808"),
    ],
)
def test_hosts_have_one_form(host: str, name: str) -> None:
    """A good host is folded to lower-case ASCII; a second pass changes nothing."""
    assert canonical(host) == name
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("address", "contains"),
    [
        ("::ffff:{}", "mapped"),
        ("::{}", "compatible"),
        ("::ffff:0:{}", "translated"),
        ("64:ff9b::{}", "NAT64"),
        ("64:ff9b:1::{}", "NAT64 of the operator"),
        ("2002:{hex}::1", "6to4"),
        ("2001:0:{hex}::1", "Teredo, the server"),
        ("2001:0:808:808:0:0:{inverted}", "Teredo, the client"),
        ("2606:4700:4700:0:0:5efe:{}", "ISATAP"),
        ("2606:4700:4700:0:200:5efe:{}", "ISATAP, universal"),
        ("fe80::5efe:{}", "ISATAP, link-local"),
    ],
)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "0.0.0.0", "100.64.0.1"])
def test_ipv4_inside_ipv6_is_checked(address: str, contains: str, inner: str) -> None:
    """An IPv6 address that leads to a private IPv4 address is refused."""
    text = address.format(
        inner, hex=halves(inner), inverted=halves(str(ip_address(int(ip_address(inner)) ^ 2**32 - 1)))
    )
    assert not admitting()("api.example.org", str(ip_address(text)))


def halves(inner: str) -> str:
    value = int(ip_address(inner))
    return f"{value >> 16:x}:{value & 0xFFFF:x}"


@pytest.mark.parametrize("address", ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2606:4700:4700::1111"])
def test_public_addresses_in_other_forms_are_admitted(address: str) -> None:
    """Networks without IPv4 reach public servers through such addresses."""
    assert admitting()("api.example.org", address)


@pytest.mark.parametrize("address", ["fec0::1", "2001:db8::1", "fd00::1", "100::1", "4000::1", "::2", "ff0e::1"])
def test_ipv6_outside_the_public_space_is_refused(address: str) -> None:
    """Site-local, documentation, unique local, discard, unassigned and multicast addresses are refused."""
    assert not admitting()("api.example.org", address)


def test_an_allowed_host_admits_no_other(settings: Any) -> None:
    """An allowed name admits its own connections, and neither a proxy's nor those of a similar name."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["Ollama.Internal."]
    admits = admitting()
    assert admits(ALLOWED, PRIVATE)
    assert admits(f"{ALLOWED}.", PRIVATE)
    for other in ("proxy.internal", f"x.{ALLOWED}", f"{ALLOWED}.example.org", "internal", PRIVATE):
        assert not admits(other, PRIVATE)
    assert refused_now(f"http://{ALLOWED}/v1", "http://127.0.0.1:3128") == "127.0.0.1"


# --- what the dialer connects to -------------------------------------------------------------------------------------

HOST_PIECES = [
    *(
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "10.0.0.1",
        "8.8.8.8",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ),
    *(
        "localhost",
        "ollama.internal",
        "ollama.internal.",
        "ollama。internal",
        "OLLAMA.internal",
        "api.example.org",
        "[fe80::1%25lo]",
    ),
    *(
        "１２７.0.0.1",
        "ⓛocalhost",
        "例子.example",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "0",
        "0.0.0.0",
        "169.254.169.254",
    ),
]
GLUE = [
    "",
    ".",
    "@",
    ":80",
    ":80@",
    "\\",
    "\\@",
    "/",
    "#",
    "#@",
    "?",
    "?@",
    "%2e",
    "%40",
    "%00",
    "\t",
    " ",
    "。",
    "x",
    "-",
]
URLS = st.one_of(
    st.lists(st.sampled_from([*HOST_PIECES, *GLUE]), min_size=1, max_size=5).map("".join),
    st.lists(st.one_of(st.sampled_from([*HOST_PIECES, *GLUE]), st.text(max_size=3)), max_size=4).map("".join),
    st.integers(0, 2**32 - 1).map(lambda value: str(ip_address(value))),
    st.integers(0, 2**128 - 1).map(lambda value: f"[{ip_address(value)}]"),
).flatmap(lambda host: st.sampled_from(["http", "https"]).map(lambda scheme: f"{scheme}://{host}/v1"))


class Network:
    """A network whose resolver answers all names, and which notes the addresses that are connected to."""

    def __init__(self) -> None:
        self.connected: list[tuple[str, str]] = []
        self._asked = ""

    def getaddrinfo(self, host: str, port: int, *_args: Any, **_options: Any) -> list[Any]:
        self._asked = host
        try:  # the notations that the system's resolver takes for addresses
            return _getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):
            kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            return [(*kind, (address, port)) for address in (PRIVATE, PUBLIC)]

    async def connect(self, addresses: list[Any], **_options: Any) -> Any:
        self.connected += [(self._asked, str(address[4][0])) for address in addresses]
        raise OSError


_getaddrinfo = socket.getaddrinfo


def connections(url: str, proxy: str | None = None) -> Iterator[tuple[str, str]]:
    """Send a request to the URL; return the hosts that were looked up, and the addresses that were connected to."""

    async def main() -> None:
        transport = Transport(Endpoint(url, proxy, Clocks(1, 1, 1, 1), admits=admitting()))
        try:
            await transport.handle_async_request(httpx.Request("GET", url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError):
            return

    network = Network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", network.getaddrinfo)
        patch.setattr(dial.aiohappyeyeballs, "start_connection", network.connect)
        asyncio.run(main())
    yield from network.connected


@hypothesis_settings(max_examples=300)
@given(URLS)
@example("http://127。0。0。1/v1")
@example("http://ollama.internal\\@127.0.0.1/v1")
@example("http://127.0.0.1:80@ollama.internal/v1")
def test_only_admitted_addresses_are_connected_to(url: str) -> None:
    """Whatever the text, a private address is connected to only for the allowed name, looked up by that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.ALLOWED_PRIVATE_UPSTREAMS", [ALLOWED])
        for host, address in connections(url):
            public = ip_address(address).is_global
            assert public or host.removesuffix(".") == ALLOWED, (url, host, address)
            assert canonical(host) == host


@pytest.mark.parametrize(("host", "reached"), [("api.example.org", True), ("8.8.8.8", True), ("10.0.0.1", False)])
@pytest.mark.parametrize("proxy", ["http://8.8.4.4:3128", "socks5://8.8.4.4"])
def test_a_proxy_is_not_asked_for_private_addresses(host: str, reached: bool, proxy: str) -> None:
    """The proxy looks names up; an address is checked here all the same."""
    assert list(connections(f"http://{host}/v1", proxy)) == ([("8.8.4.4", "8.8.4.4")] if reached else [])


def test_a_private_proxy_is_not_used_for_an_allowed_upstream(settings: Any) -> None:
    """The allowed name of an upstream does not admit its proxy."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = [ALLOWED]
    assert list(connections(f"http://{ALLOWED}/v1", "http://169.254.169.254:80")) == []


# --- images and tools of requests ------------------------------------------------------------------------------------

PUBLIC_IMAGES = [
    *(
        "https://example.org/cat.png",
        "https://例子.example/x.png",
        "https://8.8.8.8/x",
        "https://[2606:4700::1]:8443/x",
    ),
    *("data:image/png;base64,iVBORw0KGgo=", "DATA:image/png;base64,iVBORw0KGgo="),
]
PRIVATE_IMAGES = [
    *("http://example.org/cat.png", "file:///etc/passwd", "ftp://example.org/x", "//example.org/x", "/x", "", "x"),
    *(
        "https://localhost/x",
        "https://a.localhost/x",
        "https://printer/x",
        "https://nas.local/x",
        "https://a.internal./x",
    ),
    *(
        "https://10.0.0.1/x",
        "https://127.1/x",
        "https://2130706433/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
    ),
    *(
        "https://[64:ff9b::a00:1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://１２７.0.0.1/x",
        "https://127。0。0。1/x",
    ),
    *(
        "https://user@example.org/x",
        "https://example.org\\@10.0.0.1/x",
        "https://example.org:0/x",
        "https://exa mple.org/",
    ),
    *("https://router.home.arpa/x", "https://example.org/\n", "javascript:alert(1)", "blob:https://example.org/1"),
]


@pytest.mark.parametrize("url", [url for url in PUBLIC_IMAGES if url.startswith("https")])
def test_public_urls(url: str) -> None:
    assert is_public_url(url)


@hypothesis_settings(max_examples=300)
@given(URLS)
def test_a_public_url_reads_the_same_to_other_parsers(url: str) -> None:
    """An accepted URL leads httpx to the host that was checked."""
    if is_public_url(url):
        parsed = httpx.URL(url)
        assert (parsed.scheme, parsed.userinfo) == ("https", b"")
        host = canonical(parsed.raw_host.decode())
        assert "." in host or ":" in host
        if host[-1].isdigit() or ":" in host:
            assert ip_address(host).is_global


@pytest.fixture(scope="module")
def owner(product: Product) -> ApiUser:
    return product.register("images")


def completion(user: ApiUser, model: str, image: Any = None, tools: Any = None) -> httpx.Response:
    content: Any = (
        "Hello" if image is None else [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]
    )
    body = {"model": model, "messages": [{"role": "user", "content": content}]} | ({"tools": tools} if tools else {})
    return user.client.post("/v1/chat/completions", json=body)


@pytest.mark.server
@pytest.mark.parametrize("url", PRIVATE_IMAGES)
def test_private_images_are_refused(owner: ApiUser, url: str) -> None:
    """An image's URL is `data:` or a public `https:`; else the response is 400 and names the field."""
    for image in (url, {"url": url}):
        response = completion(owner, "plain", image)
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith("messages[0].content[1].image_url")


@pytest.mark.server
@pytest.mark.parametrize("url", PUBLIC_IMAGES)
def test_public_images_are_passed_on(owner: ApiUser, url: str) -> None:
    """Public images, and those that come with the request, are passed on."""
    assert completion(owner, "plain", {"url": url}).status_code == 200


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.server
def test_tools_of_other_types_need_the_models_row(owner: ApiUser, product: Product, upstream: FakeOpenAI) -> None:
    """Tools that the vendor runs are refused by name, unless the model's row allows their type."""
    admin, search = product.admin().client, {"type": "web_search", "depth": 2}
    routes = [{"upstream": "openai", "upstream_model": "plain"}]
    row = {"slug": "with-tools", "title": "T", "quota": "standard", "routes": routes}
    made = admin.post("/api/admin/models/", json=row)
    assert (made.status_code, made.json()["allowed_tool_types"]) == (201, [])
    path = f"/api/admin/models/{made.json()['id']}/"
    for tools, place in (([search], 0), ([FUNCTION, search], 1)):
        refused = completion(owner, "with-tools", tools=tools)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, f"tools[{place}].type")
    assert completion(owner, "with-tools", tools=[FUNCTION]).status_code == 200
    for wrong in ("web_search", [""], ["a b"], [["x"]], {"a": 1}):
        assert admin.patch(path, json={"allowed_tool_types": wrong}).status_code == 400
    changed = admin.patch(path, json={"allowed_tool_types": ["web_search"]})
    assert changed.json()["allowed_tool_types"] == ["web_search"]
    assert completion(owner, "with-tools", tools=[FUNCTION, search]).status_code == 200
    assert upstream.requests[-1].body["tools"] == [FUNCTION, search]
    assert completion(owner, "with-tools", tools=[{"type": "mcp"}]).status_code == 400
