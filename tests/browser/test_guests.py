"""A guest at the chat page: what is left of the trial, and what leads to an account."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.visitor import part

pytestmark = pytest.mark.contract("setting: GUEST_DAILY_LIMIT")


def test_a_guest_sees_what_holds_for_guests(visit: Visit) -> None:
    """The line below the composer counts the trial; what is used up leads to the sign-up; settings ask for nothing."""
    guest = visit()
    page = guest.page
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Try without an account").click()
    guest.wait_for_page()
    expect(page.locator("#quota")).to_have_text("Guest: 2 of 2 left today")
    page.locator("[data-open-settings='']").dispatch_event("click")
    expect(page.get_by_role("dialog", name="Settings").get_by_role("heading")).to_have_text(
        ["Settings", "Appearance", "Model"]
    )
    page.keyboard.press("Escape")
    guest.answer("How do tides work?", "plain")
    expect(page.locator("#quota")).to_have_text("Guest: 1 of 2 left today")
    page.locator(".answer [data-part=more]").last.click()
    expect(page.locator("#message-menu")).to_be_visible()
    expect(page.locator("#message-menu [data-action=delete]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#message-menu")).to_be_hidden()
    guest.answer("And why?", "plain")
    expect(page.locator("#quota")).to_have_text("Guest: 0 of 2 left today")
    guest.expect_errors("429")
    guest.ask("Tell me more.", "plain")
    actions = part(guest.last, "failure").locator(".failure-actions")
    expect(actions.get_by_role("link")).to_have_text(["Sign up"])
    actions.get_by_role("link").click()
    expect(page).to_have_url(f"{guest.url}/accounts/keep/")
