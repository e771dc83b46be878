"""Login through an OpenID Connect provider in the browser, with groups that follow its claim."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor
from tests.oidc import CLIENT_ID, SECRET, OpenIDProvider
from tests.product import Product, connected
from tests.upstreams import FakeOpenAI

ERIN = {"sub": "u-1", "preferred_username": "erin", "email": "erin@corp.example", "email_verified": True}


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIDProvider]:
    with OpenIDProvider().running() as made:
        yield made


@pytest.fixture(scope="module")
def company(
    provider: OpenIDProvider, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    oidc = {"ISSUER": provider.issuer, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": SECRET, "NAME": "Corp login"}
    variables = {f"OIDC_{name}": value for name, value in {**oidc, "GROUPS_CLAIM": "groups"}.items()}
    with Product(tmp_path_factory.mktemp("company"), **connected(upstream), **variables) as running:
        yield running


def log_in(visitor: Visitor) -> None:
    visitor.page.goto("/accounts/login/")
    visitor.page.click("text=Corp login")
    visitor.page.click("main button[type=submit]")


def groups(company: Product) -> list[str]:
    rows = company.admin().client.get("/api/admin/users/").json()
    return next(list(row["groups"]) for row in rows if row["username"] == "erin")


@pytest.mark.contract(
    "setting: OIDC_ISSUER",
    "setting: OIDC_CLIENT_ID",
    "setting: OIDC_CLIENT_SECRET",
    "setting: OIDC_NAME",
    "setting: OIDC_GROUPS_CLAIM",
)
def test_a_login_brings_the_groups_of_the_claim(visit: Visit, company: Product, provider: OpenIDProvider) -> None:
    """The first login makes the account; later ones give and take groups, but not those that staff gave."""
    visitor = visit(company)
    visitor.expect_errors("request to another host")
    provider.claims = {**ERIN, "groups": ["premium", "research"]}
    log_in(visitor)
    visitor.wait_for_page()
    assert groups(company) == ["premium", "research"]
    expect(visitor.answer("Hello", "echo")).to_contain_text("Hello")
    admin = company.admin().client
    erin = next(row for row in admin.get("/api/admin/users/").json() if row["username"] == "erin")
    assert erin["email"] == ERIN["email"]
    company.manage("shell", "-c", "from django.contrib.auth.models import Group; Group.objects.create(name='by-hand')")
    patched = admin.patch(f"/api/admin/users/{erin['id']}/", json={"groups": [*erin["groups"], "by-hand"]})
    assert patched.status_code == 200, patched.text
    visitor.page.goto("/accounts/logout/")
    visitor.page.click("main button[type=submit]")
    expect(visitor.page).to_have_url(f"{company.url}/accounts/login/")
    visitor.page.goto("/")
    expect(visitor.page.locator("[name=login]")).to_be_visible()
    provider.claims = {**ERIN, "groups": "premium"}
    log_in(visitor)
    visitor.wait_for_page()
    assert groups(company) == ["by-hand", "premium"]
    provider.claims = dict(ERIN)
    log_in(visit_again := visit(company))
    visit_again.expect_errors("request to another host")
    visit_again.wait_for_page()
    assert groups(company) == ["by-hand"]
    assert provider.wrong == []


def test_an_unreachable_provider_is_no_server_error(company: Product, visit: Visit, provider: OpenIDProvider) -> None:
    """While the provider is away, the page says that the login failed."""
    visitor = visit(company)
    visitor.expect_errors("request to another host|status of 401")
    provider.is_broken = True
    try:
        log_in(visitor)
        expect(visitor.page.locator("h1")).to_have_text("Third-Party Login Failure")
    finally:
        provider.is_broken = False
