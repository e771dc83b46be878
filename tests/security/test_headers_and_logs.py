"""Headers of private responses, HSTS, what is logged about callers, and who may read the metrics."""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.templatetags.static import static

from tests.nginx import front, nginx
from tests.product import PASSWORD, ApiUser, Product
from tests.readers import wait_until
from tests.servers import free_port

pytestmark = pytest.mark.server
HTTPS = {"X-Forwarded-Proto": "https"}
ADDRESS = "203.0.113.77"


@pytest.fixture(scope="module")
def owner(product: Product) -> ApiUser:
    return product.register(f"h{secrets.token_hex(5)}")


@pytest.fixture(scope="module")
def browser(product: Product, owner: ApiUser) -> httpx.Client:
    return product.browser(owner.name)


def lines(product: Product, event: str, **fields: Any) -> list[dict[str, Any]]:
    """Return the log lines of this event with these fields."""
    logged = (json.loads(line) for line in product.output.splitlines() if line.startswith("{"))
    return [line for line in logged if line["event"] == event and line.items() >= fields.items()]


def logged(product: Product, event: str, **fields: Any) -> dict[str, Any]:
    """Wait until there is such a line, and return the last one."""
    wait_until(lambda: bool(lines(product, event, **fields)))
    return lines(product, event, **fields)[-1]


@pytest.mark.parametrize(
    "path",
    [
        *("/api/me/", "/api/conversations/", "/api/models/", "/api/quotas/", "/api/tokens/", "/api/export/"),
        *("/api/generations/x/", "/v1/models", "/v1/nothing", "/api/nothing/"),
    ],
)
def test_private_json_is_not_kept(owner: ApiUser, product: Product, path: str) -> None:
    """No cache keeps what depends on the caller, refusals included; `Vary` names both proofs."""
    for client in (owner.client, product.client()):
        headers = client.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        vary = {name.strip().lower() for name in headers["Vary"].split(",")}
        assert vary >= {"cookie", "authorization", "accept-language"}


@pytest.mark.parametrize(
    "path", ["/", "/tools/", "/usage/", "/invite/", "/accounts/tokens/", "/accounts/data/", "/accounts/email/"]
)
def test_pages_are_not_kept(browser: httpx.Client, path: str) -> None:
    """Pages with private data are not kept either."""
    response = browser.get(path)
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
    assert "cookie" in response.headers["Vary"].lower()


@pytest.mark.parametrize("path", [static("chat/chat.js"), "/api/schema/"])
def test_shared_documents_may_be_kept(product: Product, path: str) -> None:
    """Documents that are the same for all callers are cached."""
    headers = product.client().get(path).headers
    assert "no-store" not in headers["Cache-Control"]
    assert "authorization" not in headers.get("Vary", "").lower()


def test_an_allowed_origin_is_named_in_vary(tmp_path: Path) -> None:
    """A response that depends on the origin says so, for listed and other origins."""
    with Product(tmp_path, CORS_ALLOWED_ORIGINS="https://app.example.org") as product:
        for origin in ("https://app.example.org", "https://other.example"):
            for path in ("/api/models/", "/api/generations/x/"):
                assert "origin" in product.client().get(path, headers={"Origin": origin}).headers["Vary"].lower()


@pytest.mark.contract("setting: HSTS_SECONDS")
@pytest.mark.parametrize(
    "path", ["/accounts/login/", "/api/me/", "/api/chat/", "/v1/models", static("chat/chat.js"), "/healthz"]
)
def test_https_is_remembered(product: Product, path: str) -> None:
    """Responses over HTTPS tell the browser to use HTTPS for a year; those over HTTP do not."""
    assert product.client().get(path, headers=HTTPS).headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "Strict-Transport-Security" not in product.client().get(path).headers


def test_https_need_not_be_remembered(tmp_path: Path) -> None:
    """HSTS_SECONDS=0 sends no such header."""
    with Product(tmp_path, HSTS_SECONDS="0") as product:
        assert "Strict-Transport-Security" not in product.client().get("/healthz", headers=HTTPS).headers


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/me/", "/api/generations/x/", "/v1/models", "/"])
def test_request_lines_name_client_and_user(owner: ApiUser, browser: httpx.Client, product: Product, path: str) -> None:
    """A request's line has the address that the trusted proxy gave, and the user's id; null for strangers."""
    number = owner.client.get("/api/me/").json()["id"]
    for client, user in ((browser if path == "/" else owner.client, number), (product.client(), None)):
        response = client.get(path, headers={"X-Forwarded-For": ADDRESS}, follow_redirects=False)
        line = logged(product, "request", request_id=response.headers["X-Request-ID"])
        assert (line["client"], line["user"]) == (ADDRESS, user)


def test_an_untrusted_address_is_not_believed(tmp_path: Path) -> None:
    """Without TRUSTED_PROXIES the address is that of the connection."""
    with Product(tmp_path, TRUSTED_PROXIES="") as product:
        response = product.client().get("/healthz", headers={"X-Forwarded-For": ADDRESS, "X-Request-ID": "mine"})
        assert response.headers["X-Request-ID"] != "mine"
        assert logged(product, "request", request_id=response.headers["X-Request-ID"])["client"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("edge/7f.3-A=", True), ("x" * 128, True), ("x" * 129, False), ('a"b', False), ("a b", False), ("é", False)],
)
def test_a_trusted_proxys_request_id_is_kept(product: Product, given: str, kept: bool) -> None:
    """A request keeps the id that a trusted proxy gave it, if that is short and plain."""
    response = product.client().get("/healthz", headers={"X-Request-ID": given.encode()})
    assert (response.headers["X-Request-ID"] == given) is kept
    assert logged(product, "request", request_id=response.headers["X-Request-ID"])


def test_generations_and_attempts_name_their_request(product: Product, owner: ApiUser) -> None:
    """The lines of a generation and of its failed calls have the request's id, user and client."""
    number, name = owner.client.get("/api/me/").json()["id"], f"r-{secrets.token_hex(8)}"
    headers = {"X-Forwarded-For": ADDRESS, "X-Request-ID": name, "Accept": "text/event-stream"}
    response = owner.client.post("/api/chat/", json={"model": "error", "prompt": "Hello"}, headers=headers)
    assert response.status_code == 200
    for event in ("request", "attempt failed", "generation"):
        line = logged(product, event, request_id=name)
        assert (line["client"], line["user"]) == (ADDRESS, number)


def test_push_channels_are_logged_without_data(product: Product, owner: ApiUser) -> None:
    """Connections, messages and the end of a push channel have a line each; the data is in none."""
    number, data = owner.client.get("/api/me/").json()["id"], f"data-{secrets.token_hex(8)}"
    admin = product.admin().client
    with owner.client.stream("GET", "/sse/logged/"):
        assert logged(product, "push reader connected", channel="logged")["user"] == number
        for path, body in (("messages", {"data": data}), ("complete", {})):
            assert admin.post(f"/api/channels/logged/{path}/", json={"user": owner.name, **body}).status_code in {
                200,
                202,
            }
    sent = logged(product, "push sent", channel="logged", user=number)
    assert sent["bytes"] == len(data)
    assert logged(product, "push channel ended", channel="logged")["number"] == sent["number"] + 1
    assert logged(product, "push reader left", channel="logged")["user"] == number
    assert data not in product.output


def test_account_events_are_logged_without_secrets(product: Product) -> None:
    """Logins, failures, logouts, changed passwords and new API tokens have a line each; no secret is in any."""
    user = product.register(f"l{secrets.token_hex(5)}")
    number = user.client.get("/api/me/").json()["id"]
    headers = {"X-Forwarded-For": ADDRESS}
    wrong, changed = f"wrong-{secrets.token_hex(8)}", f"Changed-{secrets.token_hex(8)}"
    login = {"username": user.name, "password": PASSWORD}
    assert product.client().post("/api/auth/token/", json=login, headers=headers).status_code == 200
    assert logged(product, "login", user=number, via="api")["client"] == ADDRESS
    for name, found in ((user.name, number), (f"{user.name}@example.org", number), (wrong, None)):
        product.client().post("/api/auth/token/", json={"username": name, "password": wrong}, headers=headers)
        assert logged(product, "login failed", user=found, client=ADDRESS)
    token = user.client.post("/api/tokens/", json={"name": "one"}).json()
    assert logged(product, "API token created", user=number)["token_id"] == token["id"]
    browser = product.browser(user.name)
    assert logged(product, "login", user=number, via="page")
    submit(browser, "/accounts/password/change/", oldpassword=PASSWORD, password1=changed, password2=changed)
    assert logged(product, "password changed", user=number)
    submit(browser, "/accounts/login/", login=user.name, password=changed)
    submit(browser, "/accounts/logout/")
    assert logged(product, "logout", user=number)
    assert not [secret for secret in (PASSWORD, wrong, changed, token["token"]) if secret in product.output]


def submit(browser: httpx.Client, path: str, **fields: str) -> None:
    page = browser.get(path)
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found
    done = browser.post(path, data={**fields, "csrfmiddlewaretoken": found[1]}, headers={"Referer": str(page.url)})
    assert done.status_code == 200, done.text


def test_nginx_logs_no_query_and_no_key(product: Product, tmp_path: Path) -> None:
    """Tickets in queries and keys in paths do not reach the log of the shipped nginx, failures included."""
    port, secret = free_port(), secrets.token_hex(8)
    paths = [
        f"/api/chat/?ticket={secret}",
        f"/accounts/password/reset/key/3-{secret}/",
        f"/accounts/confirm-email/{secret}/",
    ]
    options: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}",
        "trust_env": False,
        "verify": False,
        "timeout": 60,
    }
    with nginx(tmp_path, front(tmp_path, product.url.rpartition(":")[2], port)), httpx.Client(**options) as client:
        assert {client.get(path).status_code for path in paths} == {200}
    with nginx(tmp_path, front(tmp_path, str(free_port()), port)), httpx.Client(**options) as client:
        assert client.get(paths[0]).status_code == 503
    access = (tmp_path / "access.log").read_text()
    assert access.count('"GET /api/chat/"') == 2
    assert '"GET /accounts/confirm-email/..."' in access
    assert secret not in access + (tmp_path / "error.log").read_text()


# --- metrics ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("metrics"), METRICS_TOKEN="let me see") as product:
        yield product


@pytest.mark.contract("GET /metrics")
@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"]
)
@pytest.mark.parametrize("value", ["127.0.0.1", ""])
def test_a_proxy_on_this_machine_gets_no_metrics(with_token: Product, name: str, value: str) -> None:
    """A request from loopback that a proxy passed on needs the token, whatever the header says."""
    client = with_token.client()
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers={name: value}).status_code == 403
    assert client.get("/metrics", headers={name: value, "Authorization": "Bearer wrong"}).status_code == 403
    assert client.get("/metrics", headers={name: value, "Authorization": "Bearer let me see"}).status_code == 200


def test_prometheus_names_a_process_by_its_address(with_token: Product) -> None:
    """With the token any Host header will do for the metrics, and for nothing else."""
    client, bearer = with_token.client(), {"Authorization": "Bearer let me see"}
    other = {"Host": "10.0.0.11:8000"}
    assert client.get("/metrics", headers={**other, **bearer}).status_code == 200
    assert client.get("/metrics", headers=other).status_code == 400
    assert client.get("/healthz", headers={**other, **bearer}).status_code == 400
