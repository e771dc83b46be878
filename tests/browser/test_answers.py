"""Answers that are stopped, read twice, or lose the server or the network on their way."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.line import Line
from tests.browser.visitor import Visitor, content, part
from tests.paused import PAUSE, PausedUpstream
from tests.product import Product

WHOLE = " ".join(str(number) for number in range(900))
PARTS = ["one two three ", "four five six ", "seven eight nine"]
PROMPT = PAUSE.join(PARTS)
GONE = "ERR_INTERNET_DISCONNECTED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_|ERR_EMPTY_RESPONSE"


def test_the_stop_button_keeps_the_text_so_far(visitor: Visitor) -> None:
    """The stop button ends the generation and keeps its text for good; the user can get another version."""
    page = visitor.page
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    visitor.ask("count", "lasting")
    visitor.wait_for_text(more_than=20)
    page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    row = visitor.stored()
    assert (row["status"], row["finish_reason"]) == ("completed", "cancelled")
    assert visitor.text == row["content"].strip()
    assert WHOLE.startswith(visitor.text)
    assert 20 < len(visitor.text) < len(WHOLE)
    expect(part(visitor.last, "status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()

    page.reload()
    assert visitor.text == row["content"].strip()
    expect(part(visitor.last, "status")).to_have_text("Stopped.")
    page.select_option("#model", "quick")
    part(visitor.last, "regenerate").click()
    visitor.wait_for_end()
    assert visitor.text == " ".join(str(number) for number in range(20))
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    part(visitor.last, "previous").click()
    expect(content(visitor.last)).to_have_text(row["content"].strip())


def test_stop_before_the_first_word(visitor: Visitor) -> None:
    """A generation without any text yet can be stopped too, and costs nothing."""
    before = visitor.quota
    visitor.ask("say nothing", "hang")
    visitor.page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    expect(part(visitor.last, "status")).to_have_text("Stopped.")
    expect(visitor.page.locator("#quota")).to_have_text(before)


def test_a_completion_without_text_says_so(visitor: Visitor) -> None:
    """A model may return no text: the page says so, after a reload too, and it costs nothing."""
    before = visitor.quota
    visitor.ask("say nothing", "empty")
    visitor.wait_for_end()
    expect(part(visitor.last, "status")).to_have_text("The model returned no text.")
    visitor.page.reload()
    expect(part(visitor.last, "status")).to_have_text("The model returned no text.")
    expect(visitor.page.locator("#quota")).to_have_text(before)


def test_reasoning(visitor: Visitor) -> None:
    """Reasoning is shown apart from the completion, and after a reload too."""
    for _ in range(2):
        if visitor.page.locator(".answer").count() == 0:
            visitor.answer("two plus two", "reasoning")
        expect(part(visitor.last, "reasoning")).to_be_visible()
        expect(part(visitor.last, "reasoning-text")).to_contain_text("two plus two.")
        expect(content(visitor.last)).not_to_contain_text("two plus two")
        visitor.page.reload()


def test_thought_without_its_opening_tag(visitor: Visitor, upstream: PausedUpstream) -> None:
    """What looked like content moves to the reasoning when the closing tag comes, and stays there."""
    thought = "\n\n".join(f"Thought {number}." for number in range(9))
    prompt = f"{thought}\n{PAUSE}</think>\n\nAnswer."
    visitor.ask(prompt, "paused")
    expect(content(visitor.last)).to_contain_text("Thought 3.")
    upstream.go_on(prompt)
    visitor.wait_for_end()
    for _ in range(2):
        expect(content(visitor.last)).to_have_text("Answer.")
        expect(part(visitor.last, "reasoning-text")).to_contain_text("Thought 8.")
        expect(part(visitor.last, "reasoning")).to_be_visible()
        visitor.page.reload()
    assert visitor.stored()["content"] == "Answer."


def test_two_tabs(visit: Visit, visitor: Visitor, regular: Regular, upstream: PausedUpstream) -> None:
    """Another tab and another device that open the conversation in the middle show the same text to its end."""
    visitor.ask(PROMPT, "paused")
    expect(content(visitor.last)).to_have_text(PARTS[0].strip())
    tab = visitor.context.new_page()
    tab.goto(visitor.page.url)
    device = visit(storage_state=regular.cookies)
    device.page.goto(visitor.page.url)
    pages = [visitor.page, tab, device.page]
    for number in (1, 2):
        for page in pages:
            expect(page.locator(".answer.running")).to_have_count(1)
            expect(content(page.locator(".answer"))).to_have_text("".join(PARTS[:number]).strip())
        upstream.go_on(PROMPT)
    for page in pages:
        visitor.wait_for_end(page)
    stored = visitor.stored()["content"]
    assert [content(page.locator(".answer")).inner_text().strip() for page in pages] == [stored] * 3
    assert stored == "".join(PARTS)


def test_closed_tab(visitor: Visitor, regular: Regular, upstream: PausedUpstream) -> None:
    """A generation continues when no page reads it."""
    visitor.ask(PROMPT, "paused")
    visitor.wait_for_text()
    address, generation = visitor.page.url, visitor.stored()["id"]
    visitor.page.close()
    visitor.page = visitor.context.new_page()
    upstream.go_on(PROMPT, 2)
    regular.api_user.ended(generation)
    visitor.page.goto(address)
    assert visitor.text == "".join(PARTS)


def test_offline(visit: Visit, regular: Regular, site: Product, upstream: PausedUpstream) -> None:
    """A network that goes away and comes back leaves no gap and no repetition."""
    with Line.to(site.url) as line:
        visitor = visit(url=line.url).become(regular.api_user).enter()
        visitor.expect_errors(GONE)
        visitor.ask(PROMPT, "paused")
        visitor.wait_for_text()
        disconnect(visitor, line)
        expect(part(visitor.last, "status")).to_have_text("Reconnecting…")
        upstream.go_on(PROMPT)
        reconnect(visitor, line)
        expect(content(visitor.last)).to_have_text("".join(PARTS[:2]).strip())
        expect(part(visitor.last, "status")).to_be_hidden()
        upstream.go_on(PROMPT)
        visitor.wait_for_end()
        assert visitor.text == visitor.stored()["content"] == "".join(PARTS)


def test_offline_until_after_the_end(visit: Visit, regular: Regular, site: Product, upstream: PausedUpstream) -> None:
    """A reader who was offline when the generation ended finds the whole completion on coming back."""
    with Line.to(site.url) as line:
        visitor = visit(url=line.url).become(regular.api_user).enter()
        visitor.expect_errors(GONE)
        visitor.ask(PROMPT, "paused")
        expect(content(visitor.last)).to_have_text(PARTS[0].strip())
        generation = visitor.stored()["id"]
        disconnect(visitor, line)
        upstream.go_on(PROMPT, 2)
        regular.api_user.ended(generation)
        assert visitor.text == PARTS[0].strip()
        reconnect(visitor, line)
        visitor.wait_for_end()
        assert visitor.text == visitor.stored()["content"] == "".join(PARTS)


def disconnect(visitor: Visitor, line: Line) -> None:
    visitor.context.set_offline(True)
    line.cut()


def reconnect(visitor: Visitor, line: Line) -> None:
    line.mend()
    visitor.context.set_offline(False)


@pytest.mark.parametrize("model", ["cut", "error"])
def test_upstream_fails(visitor: Visitor, model: str) -> None:
    """A completion that an upstream cuts off keeps its text, shows the failure after a reload, and can be retried."""
    visitor.answer("go on", model)
    expect(part(visitor.last, "failure").locator("p").first).to_have_text(visitor.stored()["error"]["message"])
    assert visitor.text == "one two three"
    visitor.page.reload()
    expect(part(visitor.last, "failure").locator("p").first).to_have_text(visitor.stored()["error"]["message"])
    assert visitor.text == "one two three"
    visitor.page.select_option("#model", "quick")
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.wait_for_end()
    assert visitor.text.endswith("18 19")
    expect(visitor.page.locator("#messages > article")).to_have_count(2)


def test_killed_server(visit: Visit, mortal: Product) -> None:
    """The server killed in the middle and started again: the stored text, the word that it was interrupted, a retry."""
    visitor = visit(mortal).register().enter()
    visitor.expect_errors(GONE)
    visitor.ask(PROMPT, "paused")
    expect(content(visitor.last)).to_have_text(PARTS[0].strip())
    mortal.wait_for_draft(visitor.stored()["id"], PARTS[0])
    mortal.kill()
    expect(part(visitor.last, "status")).to_have_text("Reconnecting…")
    mortal.start()
    visitor.wait_for_end()

    row = visitor.stored()
    assert (row["status"], row["error"]["code"]) == ("interrupted", "interrupted")
    expect(part(visitor.last, "failure").locator("p").first).to_have_text(row["error"]["message"])
    assert visitor.text == row["content"].strip() == PARTS[0].strip()
    expect(visitor.page.locator("#quota")).to_contain_text("1 of 1 left today")
    after_reload(visitor.page, visitor, row["error"]["message"])

    visitor.page.select_option("#model", "quick")
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.wait_for_end()
    assert visitor.text.endswith("18 19")
    expect(visitor.page.locator("#quota")).to_contain_text("0 of 1 left today")


def after_reload(page: Page, visitor: Visitor, message: str) -> None:
    """Load the page anew and find the same text and the same message."""
    text = visitor.text
    page.reload()
    assert visitor.text == text
    expect(part(visitor.last, "failure").locator("p").first).to_have_text(message)
