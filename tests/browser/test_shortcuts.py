"""Keyboard shortcuts, and their list."""

from playwright.sync_api import expect

from tests.browser.visitor import Visitor, content, part, saying

# The clipboard as in a browser that does not let the page write.
REFUSE_CLIPBOARD = """() => {
    navigator.clipboard.write = async () => { throw new DOMException("refused", "NotAllowedError"); };
}"""


def test_shortcuts_work_outside_of_fields_and_can_be_turned_off(visitor: Visitor) -> None:
    """`?` and Ctrl+/ open the list; keys alone act outside of fields only, and not once they are turned off."""
    page = visitor.page
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    visitor.wait_for_page()
    page.focus("#prompt")
    page.keyboard.type("no? ")
    expect(page.locator("#prompt")).to_have_value("no? ")
    page.keyboard.press("Control+/")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_text("Copy the last answer")).to_be_hidden()  # there is none yet
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.wait_for_function("() => document.activeElement === document.body")

    page.keyboard.press("s")
    expect(page.locator("#search")).to_be_focused()
    page.locator("#search").evaluate("field => field.blur()")
    page.keyboard.press("p")
    expect(page.locator("#prompt")).to_be_focused()
    page.click(".user-menu summary")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    dialog.get_by_role("checkbox").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.locator("#main").press("n")
    page.keyboard.press("?")
    expect(dialog).to_be_hidden()
    page.keyboard.press("Control+/")
    expect(dialog).to_be_visible()
    dialog.get_by_role("checkbox").check()


def test_escape_stops_the_running_answer(visitor: Visitor) -> None:
    """Escape closes what is open first, then stops the generation; `c` copies it, `n` begins a new conversation."""
    page = visitor.page
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.ask("go", "lasting")
    visitor.wait_for_text(more_than=10)
    page.click(".user-menu summary")
    page.keyboard.press("Escape")
    expect(page.locator(".user-menu .menu-panel")).to_be_hidden()
    expect(visitor.last).to_have_class("message answer running")
    page.focus("#prompt")
    page.keyboard.press("Escape")
    visitor.wait_for_end()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.locator("#announcer")).to_have_text("Copied")
    text = content(visitor.last).inner_text().strip()
    page.wait_for_function("async text => (await navigator.clipboard.readText()).trim() === text", arg=text)
    page.evaluate(REFUSE_CLIPBOARD)
    with saying(part(visitor.last, "copy"), "Not copied"):
        page.keyboard.press("c")
    expect(page.locator("#announcer")).to_have_text("Not copied")
    page.keyboard.press("n")
    expect(page).to_have_url(f"{visitor.url}/")
    expect(page.locator(".answer")).to_have_count(0)
