"""Both handlers, with the same rules for sessions, CSRF, CSP, language, hosts and disabled users."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.product import ApiUser, Product, connected, read_events
from tests.upstreams import FakeOpenAI

# Each stands for its handler: the lean one, DRF behind the usual middleware, and a page.
STREAM, REST, PAGE = "/api/generations/none/", "/api/models/", "/accounts/login/"
ORIGIN = "https://app.example.org"
# The look for disabled users comes every second instead of every ten. Half of the minute that it may take: a process
# may stand still for some seconds.
CLOCKS, WITHIN_SECONDS = "chat.events.sse.DISABLED_CHECK_SECONDS=1", 30


@pytest.fixture
def browser(product: Product, api_user: ApiUser) -> httpx.Client:
    return product.browser(api_user.name)


def csrf(client: httpx.Client) -> dict[str, str]:
    return {"X-CSRFToken": client.cookies["csrftoken"]}


def test_a_session_is_known_to_both_handlers(browser: httpx.Client) -> None:
    """A session cookie authenticates in both handlers."""
    assert browser.get("/api/me/").status_code == 200
    with browser.stream(
        "POST",
        "/api/chat/",
        json={"model": "echo", "prompt": "Hello"},
        headers={"Accept": "text/event-stream", **csrf(browser)},
    ) as response:
        events = list(read_events(response))
    assert events[-1].name == "done"


@pytest.mark.contract("refusal: forbidden")
@pytest.mark.parametrize(
    ("path", "body"), [("/api/chat/", {"model": "plain", "prompt": "x"}), ("/api/tokens/", {"name": "x"})]
)
def test_sessions_need_the_csrf_token(browser: httpx.Client, path: str, body: dict[str, Any]) -> None:
    """An unsafe request of a session needs its CSRF token, in both handlers."""
    for headers in ({}, {"X-CSRFToken": "x" * 32}):
        refused = browser.post(path, json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert browser.post(path, json=body, headers=csrf(browser)).status_code in {201, 202}


@pytest.mark.parametrize("path", [STREAM, REST, PAGE])
def test_every_response_has_the_security_headers(product: Product, path: str) -> None:
    """Every response has the strict policy, the other headers, and its own request id."""
    response = product.client().get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])
    assert "server" not in response.headers


def test_policies_are_the_same(product: Product) -> None:
    """Both handlers send the same content security policy."""

    def policy(path: str) -> set[str]:
        return set(product.client().get(path).headers["Content-Security-Policy"].split("; "))

    assert policy(STREAM) == policy(REST) == policy(PAGE)


@pytest.mark.contract("the caller's language")
@pytest.mark.parametrize("path", [STREAM, REST, PAGE])
def test_the_clients_language_is_used(product: Product, path: str) -> None:
    """The language comes from the cookie, or else from Accept-Language."""
    client = product.client()
    for headers, language in [
        ({"Accept-Language": "en"}, "en"),
        ({"Accept-Language": "zh-CN,zh;q=0.9"}, "zh-hans"),
        ({"Accept-Language": "zh-CN", "Cookie": "django_language=en"}, "en"),
    ]:
        assert client.get(path, headers=headers).headers["Content-Language"] == language


@pytest.mark.contract("setting: ALLOWED_HOSTS")
@pytest.mark.parametrize("path", [STREAM, REST, PAGE])
def test_other_hosts_are_refused(product: Product, path: str) -> None:
    """A Host header that is not in ALLOWED_HOSTS is refused."""
    assert product.client().get(path, headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("way", ["session", "jwt", "token"])
def test_disabled_users_are_refused_at_once(product: Product, api_user: ApiUser, way: str) -> None:
    """A user whom staff disable is refused at once by both handlers, with each kind of credentials."""
    headers: dict[str, str] = {}
    if way == "session":
        client = product.browser(api_user.name)
    elif way == "jwt":
        client = product.client(api_user.access)
    else:
        client = product.client(api_user.client.post("/api/tokens/", json={"name": "x"}).json()["token"])
    if way == "session":
        headers = csrf(client)
    calls: list[Callable[[], httpx.Response]] = [
        lambda: client.get("/api/me/"),
        lambda: client.post("/api/chat/", json={"model": "plain", "prompt": "x"}, headers=headers),
        lambda: client.get(STREAM),
    ]
    assert [call().status_code for call in calls] == [200, 202, 404]
    account = f"/api/admin/users/{api_user.client.get('/api/me/').json()['id']}/"
    assert product.admin().client.patch(account, json={"is_active": False}).status_code == 200
    for call in calls:
        refused = call()
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "not_authenticated")


def disable(product: Product, name: str) -> None:
    """Disable a user as another process does, because this one gets no signal."""
    product.sql("UPDATE accounts_user SET is_active = 0 WHERE username = ?", name)


def test_users_disabled_elsewhere_are_refused_within_two_seconds(product: Product, api_user: ApiUser) -> None:
    """A change that another process stored counts two seconds later in this one."""
    body = {"model": "plain", "prompt": "x"}
    assert api_user.client.post("/api/chat/", json=body).status_code == 202
    disable(product, api_user.name)
    deadline, began = time.monotonic() + 2, time.monotonic()
    while api_user.client.post("/api/chat/", json=body).status_code != 401:
        # The machine may take its time over a request that came before.
        assert began < deadline
        time.sleep(0.1)
        began = time.monotonic()


@pytest.fixture(scope="module")
def exposed(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product without a proxy in front, with CORS for one origin, and with frequent checks for disabled users."""
    variables = {"TRUSTED_PROXIES": "", "METRICS_TOKEN": "let me see", "CORS_ALLOWED_ORIGINS": ORIGIN}
    folder = tmp_path_factory.mktemp("exposed")
    with Product(folder, **connected(upstream), **variables, IMPATIENCE=CLOCKS) as running:
        yield running


@pytest.mark.contract("a disabled user, mid-stream")
def test_a_user_disabled_while_reading_is_cut_off(exposed: Product) -> None:
    """The stream of a user who is disabled while reading ends within a minute."""
    api_user = exposed.register("reading")
    with api_user.asking("Hello", "hang") as stream:
        next(stream)
        disable(exposed, api_user.name)
        started = time.monotonic()
        assert list(stream) == []
    assert time.monotonic() - started < WITHIN_SECONDS


@pytest.mark.contract("setting: CORS_ALLOWED_ORIGINS")
def test_only_listed_origins_may_call(exposed: Product) -> None:
    """A single-page app on a listed origin may call both handlers, other origins may not."""
    client = exposed.client()
    for path in ("/api/chat/", "/sse/order/", REST):
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}
        allowed = client.options(path, headers={"Origin": ORIGIN, **preflight})
        assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "idempotency-key" in allowed.headers["Access-Control-Allow-Headers"]
        assert "X-Quota-Remaining" in client.get(path, headers={"Origin": ORIGIN}).headers.get(
            "Access-Control-Expose-Headers", ""
        )
        stranger = client.options(path, headers={"Origin": "https://evil.example", **preflight})
        assert "Access-Control-Allow-Origin" not in stranger.headers


@pytest.mark.contract("GET /metrics", "setting: TRUSTED_PROXIES", "setting: METRICS_TOKEN")
def test_forwarded_addresses_are_believed_only_from_trusted_proxies(product: Product, exposed: Product) -> None:
    """Metrics are for loopback clients; a trusted proxy's forwarded address counts as the client's."""
    assert product.client().get("/metrics").status_code == 200
    assert product.client().get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert exposed.client().get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403
    assert exposed.client().get("/metrics", headers={"Authorization": "Bearer let me see"}).status_code == 200


def test_metrics_count_generations(product: Product, api_user: ApiUser) -> None:
    """Metrics count generations by finish reason."""
    api_user.answer("Hello", "plain")
    assert re.search(
        r'rivulet_generations_total\{finish_reason="stop",status="completed"\} [1-9]',
        product.client().get("/metrics").text,
    )


def test_cookies_are_secure_over_https(product: Product) -> None:
    """A request over HTTPS gets secure cookies, and all handlers accept it."""
    https = {"X-Forwarded-Proto": "https"}
    page = product.client().get(PAGE, headers=https)
    assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie"))
    assert page.headers.get_list("set-cookie")
    assert "Secure" not in product.client().get(PAGE).headers["set-cookie"]
    assert product.client().get("/readyz", headers=https).status_code == 200
    assert product.client().get(STREAM, headers=https).status_code == 401
