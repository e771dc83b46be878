"""Announcements in a browser: readable, accessible, and gone for good once they are closed."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.test_accessibility import axe, violations
from tests.product import Product
from tests.staff import create

__all__ = ["axe"]  # a fixture

TEXT = "Maintenance **tonight** from 23:00, see [the plan](https://example.org/plan)."


@pytest.fixture
def announced(mortal: Product) -> Iterator[None]:
    """Three announcements, one of each severity."""
    staff = mortal.admin()
    made = [
        create(staff, "announcements", text_en=f"{severity}: {TEXT}", severity=severity)
        for severity in ("info", "warning", "critical")
    ]
    yield
    for row in made:
        assert staff.client.delete(f"/api/admin/announcements/{row['id']}/").status_code == 204


def test_a_closed_announcement_stays_closed(
    visit: Visit, mortal: Product, admin: Regular, announced: None, axe: str
) -> None:
    """Login and chat page show announcements accessibly, on a phone too; a closed one is gone in this browser."""
    visitor = visit(mortal, viewport={"width": 360, "height": 740})
    visitor.expect_errors("Applying inline style")  # by axe-core itself
    page, shown = visitor.page, visitor.page.locator(".announcement")
    page.goto("/accounts/login/")
    expect(shown).to_have_count(3)
    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Close this announcement").first.click()
    expect(shown).to_have_count(2)
    page.reload()
    expect(shown).to_have_count(2)
    visitor.context.add_cookies(admin.cookies["cookies"])
    page.goto("/")
    expect(shown).to_have_count(2)
    assert violations(page, axe, ".announcements") == []
    for _ in range(2):
        page.get_by_role("button", name="Close this announcement").first.click()
    expect(page.locator(".announcements")).to_have_count(0)
    page.goto("/accounts/login/")
    expect(shown).to_have_count(0)
