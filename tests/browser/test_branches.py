"""Versions of answers and of prompts: made, switched between, and found again after a reload."""

from playwright.sync_api import Locator, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, content, part
from tests.product import Product


def test_versions_can_be_switched_after_a_reload(visitor: Visitor) -> None:
    """The versions of a completion can be switched after a reload; the messages that follow a version come with it."""
    page = visitor.page
    visitor.answer("first", "echo")
    visitor.answer("second", "echo")
    first = page.locator(".answer").first
    page.select_option("#model", "plain")
    first.hover()
    part(first, "regenerate").click()
    visitor.wait_for_end()
    expect(page.locator("#messages > article")).to_have_count(2)
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    assert visitor.text != "first"
    page.reload()
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    expect(part(visitor.last, "next")).to_be_disabled()

    part(visitor.last, "previous").click()
    expect(page.locator("#messages > article")).to_have_count(4)
    assert visitor.shown() == ["first", "first", "second", "second"]
    expect(part(page.locator(".answer").first, "next")).to_be_focused()
    page.reload()
    expect(page.locator("#messages > article")).to_have_count(4)
    visitor.answer("third", "echo")
    page.reload()
    expect(page.locator("#messages > article")).to_have_count(6)
    assert visitor.shown() == ["first", "first", "second", "second", "third", "third"]


def test_editing(visitor: Visitor) -> None:
    """A prompt that is written anew, the first one too, is another version of it, and the old one is still there."""
    page = visitor.page
    visitor.answer("first", "echo")
    visitor.answer("second", "echo")
    edit(page.locator(".prompt").last, "second, better")
    visitor.wait_for_end()
    assert visitor.text == "second, better"
    expect(part(page.locator(".prompt").last, "version")).to_have_text("2 / 2")
    edit(page.locator(".prompt").first, "another beginning")
    visitor.wait_for_end()
    expect(page.locator("#messages > article")).to_have_count(2)
    expect(part(page.locator(".prompt").first, "version")).to_have_text("2 / 2")
    page.reload()
    assert visitor.text == "another beginning"
    part(page.locator(".prompt").first, "previous").click()
    expect(page.locator("#messages > article")).to_have_count(4)
    assert visitor.shown() == ["first", "first", "second, better", "second, better"]
    part(page.locator(".prompt").last, "previous").click()
    expect(content(visitor.last)).to_have_text("second")


def test_giving_up_an_edit(visitor: Visitor) -> None:
    """Escape and Cancel leave a prompt as it was, and so does sending it unchanged."""
    visitor.answer("first", "echo")
    prompt = visitor.page.locator(".prompt")
    for key in ("Escape", "Enter"):
        open_editor(prompt)
        visitor.page.keyboard.press(key)
        expect(part(prompt, "edit")).to_be_focused()
    open_editor(prompt).fill("something else")
    part(prompt, "cancel").click()
    expect(content(prompt)).to_have_text("first")
    expect(visitor.page.locator("#messages > article")).to_have_count(2)


def test_a_refused_edit(visit: Visit, mortal: Product) -> None:
    """An edit for which no answer is left says so, and gives back what was there when something else is done."""
    visitor = visit(mortal).register().enter()
    visitor.expect_errors("status of 429")
    page = visitor.page
    visitor.answer("first", "echo")
    edit(page.locator(".prompt"), "better")
    expect(part(visitor.last, "failure")).to_contain_text("used up")
    part(visitor.last, "failure").get_by_role("button", name="Edit").click()
    expect(page.locator(".prompt textarea")).to_have_value("better")
    page.keyboard.press("Escape")
    assert visitor.text == "first"
    expect(page.locator("#messages > article")).to_have_count(2)
    part(visitor.last, "regenerate").click()
    expect(part(visitor.last, "failure")).to_contain_text("used up")
    assert visitor.text == "first"


def test_a_running_version(visitor: Visitor) -> None:
    """Another version that is still being written goes on when it is switched to."""
    page = visitor.page
    visitor.answer("count", "echo")
    page.select_option("#model", "lasting")
    part(visitor.last, "regenerate").click()
    visitor.wait_for_text()
    message = visitor.api_user().messages(int(page.url.split("/")[-2]))[1]["id"]
    page.goto(f"{page.url}?message={message}")
    assert visitor.text == "count"
    part(visitor.last, "next").click()
    expect(page.locator(".answer.running")).to_have_count(1)
    assert visitor.wait_for_text(more_than=10) > 10
    page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    expect(part(visitor.last, "version")).to_have_text("2 / 2")


def open_editor(prompt: Locator) -> Locator:
    prompt.hover()
    part(prompt, "edit").click()
    return prompt.locator("textarea")


def edit(prompt: Locator, text: str) -> None:
    """Write a prompt anew, and Enter."""
    field = open_editor(prompt)
    field.fill(text)
    field.press("Enter")
