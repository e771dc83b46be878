"""The page /tools/: a text goes in, a result comes out, and a reload or a broken line loses nothing of it."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.line import Line
from tests.browser.test_answers import GONE, disconnect, reconnect
from tests.browser.test_mobile import PHONE
from tests.browser.test_overview import luminance
from tests.browser.test_pages import CHINESE
from tests.browser.visitor import Visitor, copy, part
from tests.paused import PAUSE, PausedUpstream
from tests.product import Product
from tests.upstreams import FakeOpenAI


@pytest.fixture
def worker(user: Visitor) -> Visitor:
    """Return a logged-in visitor, with the page of text tools open."""
    user.page.goto("/tools/")
    user.wait_for_page()
    return user


def test_a_text_is_translated_by_keyboard_alone(visitor: Visitor, upstream: FakeOpenAI) -> None:
    """A user follows the link, translates a text with the keyboard alone, copies the result and runs it again."""
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.page
    page.get_by_role("link", name="Text tools").click()
    expect(page.locator("#quota")).to_contain_text("left today")
    expect(page.get_by_label("Target language")).to_be_hidden()
    page.get_by_label("Polish").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Target language")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Japanese")
    page.keyboard.press("Tab")
    page.keyboard.type("Good **morning**")
    page.select_option("#model", "gpt-4-echo")
    before = page.inner_text("#quota")
    page.locator("#text").press("ControlOrMeta+Enter")
    visitor.wait_for_end()
    expect(visitor.last.locator("strong")).to_have_text("morning")
    assert "Japanese" in upstream.requests[-1].body["messages"][-1]["content"]
    expect(page.locator("#quota")).not_to_have_text(before)
    expect(page.locator("#announcer")).to_have_text("Answer complete.")
    copy(part(visitor.last, "copy"))
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == visitor.stored()["content"]
    assert visitor.stored()["conversation"] is None
    part(visitor.last, "regenerate").click()
    visitor.wait_for_end()
    expect(visitor.last.locator("strong")).to_have_text("morning")


THREE_PARTS = PAUSE.join(["first ", "second ", "third."])


def test_reload(worker: Visitor, upstream: PausedUpstream) -> None:
    """A reload in the middle and one after the end lose neither the result nor what was written."""
    page = worker.page
    page.check("[name=tool][value=summarise]")
    run(worker, THREE_PARTS, "paused")
    expect(part(worker.last, "content")).to_contain_text("first")
    page.reload()
    expect(part(worker.last, "content")).to_contain_text("first")
    upstream.go_on(THREE_PARTS)
    expect(part(worker.last, "content")).to_contain_text("second")
    upstream.go_on(THREE_PARTS)
    worker.wait_for_end()
    expect(part(worker.last, "content")).to_contain_text("first second third.")
    page.reload()
    worker.wait_for_end()
    expect(part(worker.last, "content")).to_contain_text("first second third.")
    expect(page.locator("#text")).to_have_value(THREE_PARTS)
    expect(page.locator("#model")).to_have_value("paused")
    expect(page.locator("[name=tool][value=summarise]")).to_be_checked()


def test_stop(worker: Visitor) -> None:
    """The stop button ends the run with what was there."""
    run(worker, "count", "lasting")
    worker.wait_for_text(more_than=20)
    worker.page.get_by_role("button", name="Stop").click()
    worker.wait_for_end()
    expect(part(worker.last, "status")).to_have_text("Stopped.")
    assert worker.stored()["finish_reason"] == "cancelled"
    expect(worker.page.get_by_role("button", name="Run", exact=True)).to_be_focused()


def test_offline(visit: Visit, regular: Regular, site: Product, upstream: PausedUpstream) -> None:
    """A line that breaks and is mended leaves no gap and no repetition."""
    with Line.to(site.url) as line:
        visitor = visit(url=line.url, storage_state=regular.cookies)
        visitor.expect_errors(GONE)
        visitor.page.goto("/tools/")
        run(visitor, THREE_PARTS, "paused")
        expect(part(visitor.last, "content")).to_contain_text("first")
        disconnect(visitor, line)
        expect(part(visitor.last, "status")).to_have_text("Reconnecting…")
        upstream.go_on(THREE_PARTS)
        reconnect(visitor, line)
        expect(part(visitor.last, "content")).to_contain_text("second")
        upstream.go_on(THREE_PARTS)
        visitor.wait_for_end()
        assert visitor.text == visitor.stored()["content"].strip()
        assert visitor.text.endswith("first second third.")


def test_failures(worker: Visitor) -> None:
    """An upstream's failure is shown in our words, costs nothing and can be retried."""
    before = worker.page.inner_text("#quota")
    run(worker, "hello", "http-400")
    failure = part(worker.last, "failure")
    expect(failure.locator("p")).to_have_text("The model's service reported an error. Please try again.")
    expect(part(worker.last, "charge")).to_have_text("Not charged")
    expect(worker.page.locator("#quota")).to_have_text(before)
    worker.page.select_option("#model", "echo")
    failure.get_by_role("button", name="Try again").click()
    worker.wait_for_end()
    expect(part(worker.last, "content")).to_contain_text("hello")


def test_quota_exhausted(visit: Visit, mortal: Product) -> None:
    """A user without allowance is led to inviting, and keeps the text."""
    visitor = visit(mortal).register().enter()
    visitor.expect_errors("status of 429")
    visitor.page.goto("/tools/")
    for text in ("first", "second"):
        run(visitor, text, "echo")
        visitor.wait_for_end()
    failure = part(visitor.last, "failure")
    expect(failure).to_contain_text("used up")
    expect(failure.get_by_role("link", name="Invite friends")).to_have_attribute("href", "/invite/")
    expect(visitor.page.locator("#text")).to_have_value("second")
    expect(visitor.page.locator("#quota")).to_contain_text("0 of 1 left today")


def test_a_result_that_is_gone(worker: Visitor) -> None:
    """A result whose generation is gone is not there after a reload, and what was written is."""
    run(worker, "hello", "echo")
    worker.wait_for_end()
    worker.page.evaluate(
        """() => {
            const name = Object.keys(sessionStorage).find(each => each.startsWith("text-tools"));
            const kept = JSON.parse(sessionStorage[name]);
            sessionStorage[name] = JSON.stringify({ ...kept, generation: "0".repeat(32) });
        }"""
    )
    worker.expect_errors("status of 404")
    worker.page.reload()
    expect(worker.page.locator("#text")).to_have_value("hello")
    expect(worker.page.locator(".answer")).to_have_count(0)


def test_a_result_that_has_expired(worker: Visitor) -> None:
    """A result whose text is no longer kept is said to be gone, once."""
    run(worker, "hello", "echo")
    worker.wait_for_end()
    charge = {"amount": 1, "source": "daily", "reason": "stop"}
    events = [("reset", {"content": "", "reasoning": ""}), ("done", {"finish_reason": "stop", "charge": charge})]
    stream = "".join(f"id: x:{n}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for n, (name, data) in enumerate(events))
    worker.page.route("**/events/", lambda route: route.fulfill(content_type="text/event-stream", body=stream))
    worker.page.reload()
    expect(part(worker.last, "status")).to_have_text("The result is no longer kept.")
    expect(worker.page.locator("#text")).to_have_value("hello")
    worker.page.reload()
    expect(worker.page.locator("#quota")).not_to_be_empty()
    expect(worker.page.locator(".answer")).to_have_count(0)


def test_looks(visit: Visit, regular: Regular) -> None:
    """The page speaks the reader's language, has its colours at night, and fits a phone with a wide result on it."""
    phone = {**PHONE, "viewport": {"width": 360, "height": 740}}
    visitor = visit(storage_state=regular.cookies, locale="zh-CN", color_scheme="dark", **phone)
    page = visitor.page
    page.goto("/tools/")
    assert CHINESE.search(page.inner_text("h1"))
    assert luminance(page) < 60
    page.check("[name=tool][value=translate]")
    run(visitor, "w" * 300 + "\n\n" + "|" + "cell|" * 30 + "\n|" + "-|" * 30, "echo")
    visitor.wait_for_end()
    expect(visitor.last.locator("table")).to_have_count(1)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def run(visitor: Visitor, text: str, model: str) -> None:
    """Write a text, choose a model, and run the tool that is chosen."""
    visitor.page.fill("#text", text)
    visitor.page.select_option("#model", model)
    visitor.page.locator("#text").press("ControlOrMeta+Enter")
