"""What can be done with a prompt or a completion beside reading it."""

import re

from playwright.sync_api import Locator, Route, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, content, copy, part

RICH = (
    "## Head\n\nSome **bold**, `code` and $x^2$.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint(1)\n```\n\n"
    "- [x] done\n"
)


def test_continue(visitor: Visitor) -> None:
    """A completion that ended at the limit goes on in place, before and after a reload."""
    page = visitor.page
    visitor.ask("Tell me", "too-long")
    button = page.get_by_role("button", name="Continue")
    button.click()
    expect(content(visitor.last)).to_have_text("some textsome text")
    expect(page.locator("#messages > article")).to_have_count(2)
    page.reload()
    expect(content(visitor.last)).to_have_text("some textsome text")
    button.click()
    expect(content(visitor.last)).to_have_text("some textsome textsome text")
    expect(page.locator("#messages > article")).to_have_count(2)
    visitor.answer("And then?", "echo")
    expect(button).to_have_count(0)


def test_continuing_survives_a_reload(visitor: Visitor) -> None:
    """A stopped answer that goes on shows both parts while it grows, also to a page that is opened meanwhile."""
    page = visitor.page
    visitor.ask("Count", "lasting")
    visitor.wait_for_text(more_than=3)
    page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    before = visitor.text
    page.get_by_role("button", name="Continue").click()
    visitor.wait_for_text(more_than=len(before) + 5)
    page.reload()
    assert visitor.wait_for_text(more_than=len(before) + 10)
    assert visitor.text.startswith(before)
    page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    shown = visitor.text
    assert shown.startswith(before)
    page.reload()
    expect(content(visitor.last)).to_have_text(shown)


def test_copying_with_formatting(visitor: Visitor) -> None:
    """The clipboard gets exactly the Markdown, and its elements without buttons and icons."""
    page = visitor.page
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.answer(RICH, "echo")
    expect(content(visitor.last).locator(".katex")).to_have_count(1)
    copy(part(visitor.last, "copy"))
    forms = page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const read = async type => (await item.getType(type)).text();
            return {plain: await read("text/plain"), html: await read("text/html")};
        }"""
    )
    assert forms["plain"] == RICH.rstrip("\n") or forms["plain"] == RICH
    for tag in ("h2", "strong", "code", "table", "pre", "math", "input"):
        assert f"<{tag}" in forms["html"], forms["html"]
    assert not re.search(r"<(button|svg|use)|class=|style=|\sid=", forms["html"].partition("<h2")[2]), forms["html"]
    assert "x^2" in forms["html"]


def test_deleting_messages(visitor: Visitor) -> None:
    """A message goes with what follows it, after a question; the rest stays, also after a reload."""
    page = visitor.page
    visitor.answer("first", "echo")
    visitor.answer("second", "echo")
    choose(page.locator(".prompt").last, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert visitor.shown() == ["first", "first", "second", "second"]
    choose(page.locator(".prompt").last, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#messages > article")).to_have_count(2)
    visitor.answer("third", "echo")
    assert visitor.shown() == ["first", "first", "third", "third"]
    page.reload()
    assert visitor.shown() == ["first", "first", "third", "third"]
    choose(page.locator(".prompt").first, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#messages > article")).to_have_count(0)
    expect(page.locator(".welcome")).to_be_visible()


def test_quoting_what_is_far_from_the_screen(visitor: Visitor) -> None:
    """A long text with formulas, of which the browser lays out only what is near, is quoted from its beginning."""
    visitor.answer("First words\n\n" + "Let $x^2$ be.\n\n" * 80 + "Last words", "echo")
    begin = content(visitor.last).locator("p").first.element_handle()
    is_left_out = "node => !node.checkVisibility({ contentVisibilityAuto: true })"
    visitor.page.wait_for_function(is_left_out, arg=begin)
    choose(visitor.last, "Delete")
    expect(visitor.page.get_by_role("dialog")).to_contain_text("First words")
    visitor.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()


def test_another_model(visitor: Visitor) -> None:
    """The menu of a completion regenerates it with another model; that of a prompt copies it."""
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.answer("first", "echo")
    choose(visitor.last, "Regenerate with plain")
    visitor.wait_for_end()
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    expect(part(visitor.last, "model")).to_have_text("plain")
    choose(visitor.page.locator(".prompt"), "Copy")
    expect(visitor.page.locator("#announcer")).to_have_text("Copied")
    assert visitor.page.evaluate("() => navigator.clipboard.readText()") == "first"


def test_menus_without_a_connection(visitor: Visitor) -> None:
    """A menu whose script cannot be loaded says so beside its button, and opens at the next click."""
    page = visitor.page
    visitor.expect_errors("ERR_FAILED")
    visitor.answer("first", "echo")
    buttons = {
        "message-menu": part(visitor.last, "more"),
        "conversation-menu": page.locator("#conversations .row-more"),
    }
    failure = page.locator("#menu-failure")
    for menu, button in buttons.items():
        page.route(f"**/{menu}-*.js", lambda route: route.abort())
        button.first.click()
        expect(failure).to_be_visible()  # its text may be that of the menu before
        expect(failure).to_have_text("The server cannot be reached. Please check your connection.")
        page.keyboard.press("Escape")
        expect(failure).to_be_hidden()
        page.unroute(f"**/{menu}-*.js")
        button.first.press("Enter")
        expect(page.locator(f"#{menu} button:visible").first).to_be_focused()
        page.keyboard.press("Escape")
        expect(button.first).to_be_focused()


def test_temporary_chat(visitor: Visitor) -> None:
    """A temporary conversation has a mark and no address, is in no list, and is gone after a reload."""
    page = visitor.page
    switch = page.get_by_role("button", name="Temporary chat")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#temporary-note")).to_be_visible()
    visitor.answer("a passing thought", "echo")
    visitor.answer("another one", "echo")
    assert page.evaluate("() => location.pathname") == "/"
    expect(page.locator("#temporary-note")).to_be_visible()
    expect(switch).to_be_hidden()
    assert visitor.shown() == ["a passing thought"] * 2 + ["another one"] * 2
    expect(page.locator("#conversations")).not_to_contain_text("a passing thought")
    page.reload()
    visitor.wait_for_page()
    expect(page.locator("#messages > article")).to_have_count(0)
    expect(page.locator("#conversations")).not_to_contain_text("a passing thought")


def test_sharing(visit: Visit, visitor: Visitor) -> None:
    """A link is made, copied, read by another user, and revoked; "Your data" lists it."""
    page = visitor.page
    visitor.answer("**Bold** words and $x^2$", "echo")
    dialog = page.get_by_role("dialog")
    held: list[Route] = []
    page.route("**/api/shares/", lambda route: held.append(route))
    with page.expect_request("**/api/shares/"):
        page.get_by_role("button", name="Share").click()
    dialog.get_by_role("button", name="Create link").click()
    held[0].continue_()  # the list, which the new link must not be in, too
    page.unroute("**/api/shares/")
    link = dialog.get_by_role("textbox", name="Link")
    expect(link).to_be_focused()
    url = link.input_value()
    reader = visit().register().enter()
    reader.page.goto(url)
    answer = reader.page.locator("main .answer")
    expect(content(answer).locator("strong")).to_have_text("Bold")
    expect(content(answer).locator(".katex")).to_have_count(1)
    expect(reader.page.locator("main textarea")).to_have_count(0)
    assert visitor.name not in reader.page.locator("main").inner_text()
    reader.expect_errors("status of 404")
    dialog.get_by_role("button", name="Revoke").click()
    expect(link).to_have_count(0)
    assert reader.page.goto(url).status == 404  # type: ignore[union-attr]
    dialog.get_by_role("button", name="Create link").click()
    expect(link).to_have_count(1)
    dialog.get_by_role("button", name="Close").click()
    page.goto("/accounts/data/")
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("You have shared no conversation.")).to_be_visible()


def choose(message: Locator, name: str) -> None:
    """Choose an action in the menu of a message."""
    message.hover()
    part(message, "more").click()
    message.page.locator("#message-menu").get_by_role("button", name=name).click()
