"""The chat page by the keyboard alone. `test_accessibility.py` looks at the menus and dialogs that open on the way."""

from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import axe, violations
from tests.browser.visitor import Visitor, content

__all__ = ["axe"]

# Tab presses after which an element is out of reach.
MOST_TABS = 60
NAME = """() => {
    const { ariaLabel, innerText } = document.activeElement;
    return (ariaLabel || innerText || "").trim();
}"""


def reach(page: Page, name: str, key: str = "Tab") -> None:
    """Move the focus to the element of this name."""
    for _ in range(MOST_TABS):
        page.keyboard.press(key)
        if page.evaluate(NAME) == name:
            return
    raise AssertionError(f"{name} is not reached by {key}")


def choose(page: Page, name: str, opens: str = "") -> None:
    """Press a control, and wait for the menu or dialog that it opens."""
    reach(page, name)
    page.keyboard.press("Enter")
    if opens:
        expect(page.locator(opens)).to_be_visible()


def test_all_is_reached_without_a_mouse(visitor: Visitor, axe: str) -> None:
    """A user asks, edits, regenerates, shares, renames, deletes and chooses a theme with keys."""
    page, found = visitor.page, []
    expect(page.locator("#prompt")).to_be_focused()
    page.select_option("#model", "echo")
    page.keyboard.type("first")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    visitor.wait_for_end()

    reach(page, "Edit", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".prompt textarea")).to_be_focused()
    page.keyboard.type(" one")
    found += violations(page, axe)
    page.keyboard.press("Enter")
    expect(content(visitor.last)).to_have_text("first one")
    visitor.wait_for_end()

    reach(page, "More actions", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#message-menu")).to_be_visible()
    page.keyboard.press("Escape")
    assert page.evaluate(NAME) == "More actions"

    choose(page, "Share", "#share-dialog")
    choose(page, "Create link")
    expect(page.get_by_role("textbox", name="Link")).to_be_focused()
    found += violations(page, axe)
    choose(page, "Revoke")
    expect(page.get_by_role("textbox", name="Link")).to_have_count(0)
    choose(page, "Close")
    expect(page.locator("dialog[open]")).to_have_count(0)

    title = page.locator("#conversations li[data-id] span").first.inner_text()
    choose(page, f"More for “{title}”", "#conversation-menu")
    choose(page, "Rename", "#rename-dialog")
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Renamed")

    choose(page, "Theme", "#theme-menu")
    choose(page, "Dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("Control+/")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("body").press(",")
    expect(page.locator("#settings-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings-dialog")).to_be_hidden()

    visitor.expect_late_questions()
    choose(page, "More for “Renamed”", "#conversation-menu")
    choose(page, "Delete", "#delete-dialog")
    choose(page, "Delete")
    expect(page).to_have_url(f"{visitor.url}/")
    assert found == []
