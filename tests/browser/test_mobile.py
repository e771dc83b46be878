"""The chat on a phone."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor

PHONE = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
    "reduced_motion": "no-preference",
}


@pytest.fixture
def phone(visit: Visit, regular: Regular) -> Visitor:
    """Return a logged-in visitor at a phone."""
    somebody = visit(storage_state=regular.cookies, **PHONE).become(regular.api_user)
    somebody.page.goto("/")
    return somebody


def test_the_chat_fits_a_phone(phone: Visitor) -> None:
    """The drawer opens and closes, a completion can be asked for and read, and nothing is wider than the screen."""
    page = phone.page
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    page.tap("#open-sidebar")
    expect(page.locator("#sidebar")).to_be_in_viewport()
    expect(page.locator("#sidebar .new-conversation")).to_be_visible()
    page.touchscreen.tap(380, 400)
    expect(page.locator("#sidebar")).not_to_be_in_viewport()

    page.select_option("#model", "gpt-4-echo")
    page.fill("#prompt", "| tea | colour |\n|---|---|\n| green | yellow |")
    page.get_by_role("button", name="Send").tap()
    phone.wait_until_sent()
    phone.wait_for_end()
    fits(page)
    expect(page.locator(".answer table")).to_be_visible()
    size = page.evaluate("() => parseFloat(getComputedStyle(document.querySelector('.answer .prose')).fontSize)")
    assert size >= 15
    expect(page.locator("#prompt")).to_be_in_viewport()

    page.tap("#open-sidebar")
    page.locator("#conversations > [data-id] a").first.tap()
    expect(page.locator(".answer table")).to_be_visible()
    expect(page.locator("#sidebar")).not_to_be_in_viewport()


def test_wide_things(phone: Visitor) -> None:
    """Long words, code, tables and formulas scroll within themselves."""
    wide = [
        "w" * 300,
        "```\n" + "code " * 100 + "\n```",
        "|" + "cell|" * 30 + "\n|" + "-|" * 30 + "\n|" + "content|" * 30,
        "$$\n" + "+".join(f"x_{{{n}}}" for n in range(60)) + "\n$$",
        "https://example.org/" + "path/" * 60,
    ]
    phone.page.select_option("#model", "echo")
    phone.page.fill("#prompt", "\n\n".join(wide))
    phone.page.get_by_role("button", name="Send").tap()
    phone.wait_until_sent()
    phone.wait_for_end()
    expect(phone.page.locator(".answer .katex-display")).to_be_visible()
    fits(phone.page)


def test_targets(phone: Visitor) -> None:
    """Each target for a finger is at least 36 pixels wide and high."""
    page = phone.page
    boxes = {
        name: page.locator(name).bounding_box() for name in ["#open-sidebar", ".topbar a", "[data-part=send]", "#model"]
    }
    assert {name: box for name, box in boxes.items() if not box or min(box["width"], box["height"]) < 36} == {}


def test_account_pages(visit: Visit, phone: Visitor) -> None:
    """The pages of an account fit."""
    stranger = visit(**PHONE)
    for page, paths in {stranger.page: ["login/", "signup/"], phone.page: ["email/", "password/change/"]}.items():
        for path in paths:
            page.goto(f"/accounts/{path}")
            fits(page)


def fits(page: Page) -> None:
    """Assert that the page does not scroll sideways."""
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
