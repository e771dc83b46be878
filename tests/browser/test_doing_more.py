"""What can be done with a prompt or a completion beside reading it."""

import re

from playwright.sync_api import expect

from tests.browser.visitor import Visitor, content, part

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
    part(visitor.last, "copy").click()
    expect(part(visitor.last, "copy")).to_have_text("Copied")
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
