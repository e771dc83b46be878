"""The second factor in the browser: authenticator app, recovery code and passkey; staff are kept out without one."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor
from tests.product import PASSWORD, Product, connected
from tests.upstreams import FakeOpenAI


@pytest.fixture(scope="module")
def guarded(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    variables = {**connected(upstream), "REQUIRE_MFA_STAFF": "1"}
    with Product(tmp_path_factory.mktemp("guarded"), **variables) as running:
        # Browsers know passkeys on this name, but not on an address.
        running.url = running.url.replace("127.0.0.1", "localhost")
        yield running


def code(secret: str, step: int = 0) -> str:
    """Return a code of an authenticator app; each works once, so `step` chooses the next one.

    The product takes those of half a minute before and after. The one before would be too old for a request that
    arrives in the next half minute.
    """
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + step)))


def set_up_app(page: Page) -> str:
    """Set up an authenticator app, and return its secret."""
    page.goto("/accounts/2fa/totp/activate/")
    assert page.locator("main img").evaluate("image => image.naturalWidth") > 100
    secret = page.input_value("#authenticator_secret")
    page.fill("[name=code]", code(secret))
    page.click("main button[type=submit]")
    page.wait_for_url(lambda url: not url.endswith("/activate/"))
    return secret


def log_out(visitor: Visitor) -> None:
    visitor.page.goto("/accounts/logout/")
    visitor.page.click("main button[type=submit]")
    visitor.page.wait_for_url("**/accounts/login/")


@pytest.mark.contract("setting: REQUIRE_MFA_STAFF")
def test_staff_need_an_authenticator_app(visit: Visit, guarded: Product) -> None:
    """Staff reach admin and staff routes with a second factor only; logins then ask for a code."""
    api = guarded.admin().client
    refused = api.get("/api/admin/users/")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    visitor = visit(guarded)
    visitor.name = "admin"
    visitor.log_in()
    visitor.page.goto("/admin/")
    expect(visitor.page).to_have_url(f"{guarded.url}/accounts/2fa/")
    secret = set_up_app(visitor.page)
    visitor.page.goto("/accounts/2fa/recovery-codes/")
    recovery = visitor.page.locator("textarea, pre").first.input_value().split()[0]
    visitor.page.goto("/admin/")
    expect(visitor.page).to_have_url(f"{guarded.url}/admin/")
    assert api.get("/api/admin/users/").status_code == 200
    body = {"username": "admin", "password": PASSWORD}
    logins = [guarded.client().post("/api/auth/token/", json={**body, **more}) for more in ({}, {"code": "000000"})]
    assert [(each.status_code, each.json()["error"]["code"]) for each in logins] == [
        (403, "reauthentication_required"),
        (401, "not_authenticated"),
    ]
    done = guarded.client().post("/api/auth/token/", json={**body, "code": code(secret, 1)})
    assert done.status_code == 200, done.text
    log_out(visitor)
    visitor.page.goto("/accounts/login/")
    visitor.fill_in_login(visitor.page)
    visitor.page.fill("[name=code]", recovery)
    visitor.page.click("main form:has([name=code]) button[type=submit]")
    visitor.wait_for_page()
    again = guarded.client().post("/api/auth/token/", json={**body, "code": recovery})
    assert again.status_code == 401


def test_a_passkey_logs_in(visit: Visit, guarded: Product) -> None:
    """A passkey is added on the account pages, and then needed beside the password."""
    visitor = visit(guarded).register()
    devtools: Any = visitor.context.new_cdp_session(visitor.page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    visitor.log_in()
    visitor.page.goto("/accounts/2fa/webauthn/add/")
    visitor.page.click("#mfa_webauthn_add")
    visitor.page.wait_for_url(lambda url: not url.endswith("/add/"))
    log_out(visitor)
    visitor.page.goto("/accounts/login/")
    visitor.fill_in_login(visitor.page)
    visitor.page.wait_for_url("**/accounts/2fa/authenticate/**")  # its script makes the button work
    visitor.page.click("#mfa_webauthn_authenticate")
    visitor.wait_for_page()
    body = {"username": visitor.name, "password": PASSWORD}
    assert guarded.client().post("/api/auth/token/", json=body).status_code == 403
