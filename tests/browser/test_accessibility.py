"""axe-core finds no violation on any page of users, light and dark."""

import pytest
from playwright.sync_api import Page, expect

from tests import frontend_packages
from tests.browser.conftest import Visit
from tests.browser.screenshots import ACCOUNT, ENTRANCE
from tests.browser.visitor import Visitor


@pytest.fixture(scope="module")
def axe() -> str:
    """The program that looks for violations."""
    frontend_packages.install()
    return (frontend_packages.FOLDER / "axe-core/axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds wrong with the page as it is."""
    page.emulate_media(reduced_motion="reduce")  # the colours on the way to others are none of the page's
    page.evaluate(axe)
    found = page.evaluate("async () => (await globalThis.axe.run()).violations")
    return [f"{page.url} {one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_before_the_login_has_a_violation(visit: Visit, axe: str, theme: str) -> None:
    """Log-in, sign-up, reset, the API page, the offline page and errors are accessible in both themes."""
    visitor = visit(color_scheme=theme)
    visitor.expect_errors("status of 404")
    found: list[str] = []
    for path in ENTRANCE.values():
        visitor.page.goto(path)
        found += violations(visitor.page, axe)
    assert found == []


def test_no_page_of_an_account_has_a_violation(visitor: Visitor, axe: str) -> None:
    """Pages of an account are accessible in both themes, and so is the list of shortcuts."""
    page, found = visitor.page, []
    for path in ACCOUNT.values():
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.goto(path)
            found += violations(page, axe)
    page.goto("/")
    page.keyboard.press("Control+/")
    found += violations(page, axe)
    assert found == []


def test_no_conversation_has_a_violation(visitor: Visitor, axe: str) -> None:
    """A conversation is accessible, stored and just sent; prompts that scroll, and only these, are tab stops."""
    page = visitor.page
    visitor.answer("short", "echo")
    visitor.answer("line\n" * 100, "echo")
    for _ in range(2):
        expect(page.locator(".bubble")).to_have_count(2)
        expect(page.locator(".bubble[tabindex='0']")).to_have_count(1)
        assert violations(page, axe) == []
        page.reload()
        visitor.wait_for_page()
