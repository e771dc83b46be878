"""CVE-2024-22513: a disabled user has no access by anything that was issued before, nor by a new login."""

import secrets

import httpx
import pytest

from tests.product import Product

pytestmark = pytest.mark.server


def test_nothing_of_a_disabled_user_works(product: Product) -> None:
    """JWT, refresh token, API token, cookie, ticket and password are refused; enabled again, the tokens work again."""
    user, admin = product.register(f"d{secrets.token_hex(5)}"), product.admin().client
    number = user.client.get("/api/me/").json()["id"]
    token = product.client(user.client.post("/api/tokens/", json={"name": "one"}).json()["token"])
    browser = product.browser(user.name)
    path = "/api/chat/"
    ticket = user.client.post("/api/tickets/", json={"path": path}).json()["ticket"]
    completion = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}

    def statuses() -> dict[str, int]:
        refresh = {"refresh": user.refresh}
        return {
            "jwt": user.client.get("/api/me/").status_code,
            "jwt on /v1": user.client.post("/v1/chat/completions", json=completion).status_code,
            "token": token.get("/api/me/").status_code,
            "token on /v1": token.post("/v1/chat/completions", json=completion).status_code,
            "cookie": browser.get("/api/me/").status_code,
            "channel": user.client.get("/sse/nothing/").status_code,
            "refresh": product.client().post("/api/auth/token/refresh/", json=refresh).status_code,
            "password": product.log_in(user.name).status_code,
            "address": product.log_in(f"{user.name}@example.org").status_code,
        }

    assert admin.patch(f"/api/admin/users/{number}/", json={"is_active": False}).status_code == 200
    assert set(statuses().values()) == {401}
    query = {"model": "plain", "prompt": "x", "ticket": ticket}
    refused = product.client().get(path, params=query, headers={"Accept": "text/event-stream"})
    assert '"not_authenticated"' in refused.text
    page: httpx.Response = browser.get("/", follow_redirects=False)
    assert page.headers["Location"].startswith("/accounts/login/")
    assert admin.patch(f"/api/admin/users/{number}/", json={"is_active": True}).status_code == 200
    assert token.get("/api/me/").status_code == 200
