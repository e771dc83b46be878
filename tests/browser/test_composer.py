"""Writing a prompt: keys, input methods, and refusals that lose nothing."""

import re

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor, part, write_instructions
from tests.product import Product


def test_enter_sends_and_shift_enter_begins_a_line(visitor: Visitor) -> None:
    """Shift+Enter begins a new line, Enter sends, an empty prompt is not sent."""
    page = visitor.page
    page.press("#prompt", "Enter")
    page.fill("#prompt", "  ")
    page.press("#prompt", "Enter")
    expect(page.locator(".prompt")).to_have_count(0)
    page.select_option("#model", "echo")
    page.fill("#prompt", "one")
    page.press("#prompt", "Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#prompt")).to_have_value("one\ntwo")
    expect(page.locator(".prompt")).to_have_count(0)
    page.keyboard.press("Enter")
    visitor.wait_until_sent()
    visitor.wait_for_end()
    assert visitor.text == "one\ntwo"
    expect(page.locator(".prompt [data-part=content]")).to_have_text("one\ntwo", use_inner_text=True)
    expect(page.locator("#prompt")).to_have_value("")
    expect(page.locator("#prompt")).to_be_focused()


def test_input_method(visitor: Visitor) -> None:
    """The Enter that ends a composition belongs to the input method; the next one sends."""
    page = visitor.page
    page.select_option("#model", "echo")
    page.focus("#prompt")
    keyboard = visitor.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    expect(page.locator("#prompt")).to_have_value("ni hao")
    enter = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    keyboard.send("Input.dispatchKeyEvent", enter)
    expect(page.locator(".prompt")).to_have_count(0)
    keyboard.send("Input.insertText", {"text": "你好"})
    expect(page.locator("#prompt")).to_have_value("你好")
    expect(page.locator(".prompt")).to_have_count(0)
    page.keyboard.press("Enter")
    visitor.wait_until_sent()
    visitor.wait_for_end()
    assert visitor.text == "你好"


def test_while_an_answer_runs(visitor: Visitor) -> None:
    """The next prompt can be written during a generation; Enter does not send it, and none of its text is lost."""
    visitor.ask("count", "lasting")
    visitor.wait_for_text()
    visitor.page.fill("#prompt", "the next question")
    visitor.page.press("#prompt", "Enter")
    expect(visitor.page.locator(".prompt")).to_have_count(1)
    visitor.page.reload()
    expect(visitor.page.locator("#prompt")).to_have_value("the next question")


def test_a_prompt_that_is_written_before_the_conversation_begins(visitor: Visitor) -> None:
    """The next prompt belongs to the conversation that begins while it is written, and to no other one."""
    page, held = visitor.page, list[Route]()
    page.route("**/api/chat/", lambda route: held.append(route))
    visitor.ask("hello", "echo")
    page.fill("#prompt", "the next question")
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    visitor.wait_for_end()
    page.reload()
    expect(page).to_have_url(re.compile("/c/"))
    expect(page.locator("#prompt")).to_have_value("the next question")
    page.goto("/")
    visitor.wait_for_page()
    expect(page.locator("#prompt")).to_have_value("")


def test_quota_exhausted(visit: Visit, mortal: Product) -> None:
    """A user without allowance reads so, and when it returns; the prompt comes back on Edit and after a reload."""
    visitor = visit(mortal).register().enter()
    visitor.expect_errors("status of 429")
    visitor.answer("first", "echo")
    visitor.answer("a long thought")
    failure = part(visitor.last, "failure")
    expect(failure).to_contain_text("used up")
    expect(failure).to_contain_text("The daily allowance is renewed at")
    expect(visitor.page.locator("#quota")).to_contain_text("0 of 1 left today")
    failure.get_by_role("button", name="Edit").click()
    expect(visitor.page.locator("#prompt")).to_have_value("a long thought")
    expect(visitor.page.locator(".prompt")).to_have_count(1)
    visitor.page.press("#prompt", "Enter")
    visitor.wait_until_sent()
    visitor.wait_for_end()
    visitor.page.reload()
    expect(visitor.page.locator("#prompt")).to_have_value("a long thought")


def test_logged_out_in_another_tab(visit: Visit) -> None:
    """A user logged out in another tab is informed, and after a new login finds the prompt where it was written."""
    visitor = visit().register().enter()
    visitor.expect_errors("status of 401")
    visitor.answer("first", "echo")
    address = visitor.page.url
    log_out(visitor.context.new_page())
    visitor.answer("a long thought")
    failure = part(visitor.last, "failure")
    expect(failure.locator("p").first).not_to_be_empty()
    failure.get_by_text("Log in", exact=True).click()
    visitor.fill_in_login(visitor.page)
    visitor.wait_for_page()
    expect(visitor.page).to_have_url(address)
    expect(visitor.page.locator("#prompt")).to_have_value("a long thought")
    visitor.page.press("#prompt", "Enter")
    visitor.wait_until_sent()
    visitor.wait_for_end()
    assert visitor.text == "a long thought"


def test_logged_in_again_in_another_tab(visit: Visit) -> None:
    """A page from before logging out and in again can still ask."""
    visitor = visit().register().enter()
    other = visitor.context.new_page()
    log_out(other)
    visitor.log_in(other)
    visitor.answer("still here?", "echo")
    assert visitor.text == "still here?"


def test_somebody_else_in_the_same_tab(visit: Visit, regular: Regular) -> None:
    """A user who logs in after another user sees nothing of the other's draft; its owner finds it again."""
    visitor = visit().become(regular.api_user).enter()
    page = visitor.page
    write_instructions(visitor, "In confidence.")
    page.fill("#prompt", "a secret thought")
    log_out(page)
    visitor.register().log_in()
    expect(page.locator("#prompt")).to_have_value("")
    expect(page.locator("#instructions")).to_be_hidden()
    log_out(page)
    visitor.become(regular.api_user).log_in()
    expect(page.locator("#prompt")).to_have_value("a secret thought")
    expect(page.locator("#instructions p")).to_have_text("In confidence.")


def test_offline(visitor: Visitor) -> None:
    """A prompt sent without a network is sent, once, when there is one."""
    # The second is about the service worker, which the browser may be looking for just then.
    visitor.expect_errors("ERR_INTERNET_DISCONNECTED|occurred when fetching the script")
    visitor.context.set_offline(True)
    visitor.ask("are you there?", "echo")
    expect(part(visitor.last, "status")).to_have_text("Reconnecting…")
    visitor.context.set_offline(False)
    visitor.wait_for_end()
    assert visitor.text == "are you there?"
    visitor.page.reload()
    expect(visitor.page.locator("#messages > article")).to_have_count(2)


def test_upstream_refuses(visitor: Visitor) -> None:
    """An upstream's refusal is shown in our words and costs nothing; another model can be tried."""
    before = visitor.quota
    visitor.answer("hello", "http-400")
    failure = part(visitor.last, "failure")
    expect(failure.locator("p")).to_have_text("The model's service reported an error. Please try again.")
    expect(visitor.page.locator("#quota")).to_have_text(before)
    visitor.page.select_option("#model", "echo")
    failure.get_by_role("button", name="Try again").click()
    visitor.wait_for_end()
    assert visitor.text == "hello"


def test_try_again_while_writing(visitor: Visitor) -> None:
    """The text that a user is writing stays in the field when a refused prompt is retried."""
    visitor.expect_errors("status of 503")
    route = "**/api/chat/"
    refusal = {"error": {"code": "model_unavailable", "message": "Busy."}, "request_id": "1"}
    visitor.page.route(route, lambda request: request.fulfill(status=503, json=refusal))
    visitor.answer("first", "echo")
    expect(part(visitor.last, "failure").locator("p")).to_have_text("Busy.")
    visitor.page.unroute(route)
    visitor.page.fill("#prompt", "second")
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.wait_for_end()
    assert visitor.text == "first"
    expect(visitor.page.locator("#prompt")).to_have_value("second")


def log_out(page: Page) -> None:
    """Log out from the menu of another tab."""
    page.goto("/")
    page.click(".user-menu summary")
    page.get_by_role("button", name="Log out").click()
    expect(page).not_to_have_url("/")
