"""CVE-2026-45339: a limit holds for the user, whichever header proves who it is and whatever else a request says."""

import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.product import ApiUser, Product

pytestmark = pytest.mark.server

# Headers by which a client could try to be another one, or another kind of one.
CLAIMS: dict[str, str] = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Real-IP": "198.51.100.8",
    "Forwarded": "for=198.51.100.9",
    "X-User": "admin",
    "Remote-User": "admin",
    "X-HTTP-Method-Override": "GET",
    "User-Agent": "kube-probe/1",
    "X-Api-Key": "sk-other",
    "OpenAI-Organization": "other",
}


def posted(user: ApiUser, model: str) -> str:
    response = user.client.post("/api/chat/", json={"model": model, "prompt": "x"}, headers=CLAIMS)
    return "" if response.status_code == 202 else str(response.json()["error"]["code"])


def by_token(user: ApiUser, model: str) -> str:
    secret = user.client.post("/api/tokens/", json={"name": "t"}).json()["token"]
    return _completion(user.product.client(secret), model)


def _completion(client: httpx.Client, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    response = client.post("/v1/chat/completions", json=body, headers=CLAIMS)
    # OpenAI's name for an exhausted quota.
    return {200: "", 429: "quota_exhausted"}[response.status_code]


def by_jwt_on_v1(user: ApiUser, model: str) -> str:
    return _completion(user.client, model)


def by_cookie(user: ApiUser, model: str) -> str:
    return _streamed(user.product.browser(user.name), "/api/chat/", {"model": model, "prompt": "x"})


def by_ticket(user: ApiUser, model: str) -> str:
    query = {"model": model, "prompt": "x", "ticket": _ticket(user, "/api/chat/")}
    return _streamed(user.product.client(), "/api/chat/", query)


def by_classic_route(user: ApiUser, model: str) -> str:
    query = {"model": model, "message": "x", "ticket": _ticket(user, "/api/chatgpt/test")}
    return _streamed(user.product.client(), "/api/chatgpt/test", query)


def _ticket(user: ApiUser, path: str) -> str:
    return str(user.client.post("/api/tickets/", json={"path": path}).json()["ticket"])


def _streamed(client: httpx.Client, path: str, query: dict[str, str]) -> str:
    headers = {"Accept": "text/event-stream", **CLAIMS}
    with client.stream("GET", path, params=query, headers=headers) as response:
        refused = "X-Quota-Reset" not in response.headers
        text = "".join(response.iter_text())
    return "quota_exhausted" if refused and "quota_exhausted" in text else ""


WAYS: list[Callable[[ApiUser, str], str]] = [posted, by_token, by_jwt_on_v1, by_cookie, by_ticket, by_classic_route]


@pytest.fixture(scope="module")
def limited(product: Product) -> str:
    """Return a model of a quota with one completion a day."""
    admin, name = product.admin().client, f"limited{secrets.token_hex(4)}"
    quota = {"slug": name, "title": name, "daily_limit": 1}
    model = {"slug": name, "title": name, "quota": name, "routes": [{"upstream": "openai", "upstream_model": "plain"}]}
    assert admin.post("/api/admin/quotas/", json=quota).status_code == 201
    assert admin.post("/api/admin/models/", json=model).status_code == 201
    return name


@pytest.mark.parametrize("first", WAYS, ids=lambda way: way.__name__)
def test_one_quota_for_all_ways(product: Product, limited: str, first: Callable[[ApiUser, str], str]) -> None:
    """What one way has used up is used up for all others, whatever headers come with them."""
    user = product.register(f"q{secrets.token_hex(5)}")
    assert first(user, limited) == ""
    assert {way.__name__: way(user, limited) for way in WAYS} == {way.__name__: "quota_exhausted" for way in WAYS}
    assert user.quota(limited)["used_today"] == 1


def test_a_claimed_address_gives_no_further_logins(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without a trusted proxy, a new address in each request does not reset the count of failed logins."""
    with Product(tmp_path_factory.mktemp("untrusted"), TRUSTED_PROXIES="") as product:
        body, statuses = {"username": "admin", "password": "wrong"}, []
        for number in range(12):
            headers = {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"}
            statuses.append(product.client().post("/api/auth/token/", json=body, headers=headers).status_code)
        assert statuses[0] == 401
        assert statuses[-1] == 429
