"""A stranger's first visit: sign up, ask, watch, reload."""

import os
import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, content, copy, part
from tests.paused import PAUSE, PausedUpstream
from tests.product import PASSWORD, ApiUser
from tests.servers import ROOT

DOCS = ROOT / "docs"
QUESTION = "How do I print the Fibonacci numbers in Python?"
# The demo writes for six seconds, on a machine that does nothing else.
DEMO_MS = 60_000
PARTS = ["One, ", "two, ", "three, ", "four."]


def test_a_first_visit_loses_nothing_to_a_reload(visit: Visit, upstream: PausedUpstream) -> None:
    """A new user signs up, asks, sees words appear, reloads in the middle and loses nothing."""
    stranger = visit(permissions=["clipboard-read", "clipboard-write"])
    sign_up(stranger, "mei")
    page = stranger.page
    if "SCREENSHOTS" in os.environ:
        fill_the_list(stranger)

    page.select_option("#model", "demo")
    expect(page.locator("#quota")).to_contain_text(re.compile(r"\d+ of 50 left today"))
    left = left_today(stranger)
    stranger.ask(QUESTION)
    expect(page).to_have_url(re.compile(r"/c/\d+/$"))
    expect(page.locator(".answer.running")).to_have_count(0, timeout=DEMO_MS)
    stranger.wait_for_end()

    row = stranger.stored()
    assert (row["status"], row["finish_reason"]) == ("completed", "stop")
    assert copied(stranger) == row["content"]
    shown = stranger.text
    assert f"You said: “{QUESTION}”" in shown
    for element in ["h2", "ol > li", "pre code.language-python span", "table td", ".katex-display"]:
        expect(content(stranger.last).locator(element).first).to_be_visible()

    expect(page.locator("#conversations a[aria-current=page]")).to_have_text(QUESTION)
    assert left_today(stranger) == left - 1
    page.reload()
    expect(content(stranger.last).locator(".katex-display")).to_be_visible()
    assert stranger.text == shown
    assert copied(stranger) == row["content"]
    assert left_today(stranger) == left - 1
    if "SCREENSHOTS" in os.environ:
        take_screenshots(visit, stranger)
    see_it_grow(stranger, upstream)


def test_follow_up(visitor: Visitor) -> None:
    """The next question goes on in the same conversation, and an upstream receives the earlier messages."""
    visitor.answer("First", "echo")
    address = visitor.page.url
    visitor.answer("Second", "echo")
    assert visitor.text == "Second"
    assert visitor.page.url == address
    expect(visitor.page.locator("#conversations > [data-id]")).to_have_count(1)
    visitor.page.reload()
    expect(visitor.page.locator("#messages > article")).to_have_count(4)


def sign_up(stranger: Visitor, name: str) -> None:
    """Come to the front page and make an account through the form."""
    page = stranger.page
    page.goto("/")
    expect(page).to_have_url(re.compile(r"/accounts/login/\?next=/$"))
    page.click("text=Sign up")
    page.fill("[name=username]", name)
    page.fill("[name=email]", f"{name}@example.org")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    page.click("main button[type=submit]:has-text('Sign up')")
    expect(page.get_by_text(f"Hello, {name}.")).to_be_visible()
    stranger.name = name


def see_it_grow(visitor: Visitor, upstream: PausedUpstream) -> None:
    """Ask something else, and reload the page in the middle of the completion."""
    prompt = PAUSE.join(PARTS)
    visitor.ask(prompt, "paused")
    for number in range(1, len(PARTS)):
        expect(visitor.last).to_have_class(re.compile("running"))
        expect(content(visitor.last)).to_have_text("".join(PARTS[:number]).strip())
        if number == 2:
            visitor.page.reload()
            assert visitor.stored()["status"] == "running"
            expect(content(visitor.last)).to_have_text("".join(PARTS[:number]).strip())
        upstream.go_on(prompt)
    visitor.wait_for_end()
    assert visitor.text == visitor.stored()["content"] == "".join(PARTS)


def left_today(visitor: Visitor) -> int:
    found = re.search(r"(\d+) of 50 left today", visitor.quota)
    assert found, visitor.quota
    return int(found[1])


def copied(visitor: Visitor) -> str:
    """Return the text that the copy button of the last completion copies."""
    copy(part(visitor.last, "copy"))
    return str(visitor.page.evaluate("() => navigator.clipboard.readText()"))


def fill_the_list(visitor: Visitor) -> None:
    """Give the screenshots a list of conversations to show."""
    tokens = visitor.product.client().post("/api/auth/token/", json={"username": visitor.name, "password": PASSWORD})
    api_user = ApiUser(visitor.product, visitor.name, tokens.json()["access"], tokens.json()["refresh"])
    for prompt in [
        "Three books about rivers",
        "杭州周末两日游怎么安排？",
        "Polish this letter to my landlord",
        "Why is the sky blue?",
    ]:
        api_user.answer(prompt, "plain")
    visitor.page.reload()


def take_screenshots(visit: Visit, visitor: Visitor) -> None:
    """Renew the pictures of the documentation."""
    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
    looks = {"chat.png": {}, "chat-dark.png": {"color_scheme": "dark"}, "chat-mobile.png": phone}
    state = visitor.context.storage_state()
    for name, options in looks.items():
        page = visit(storage_state=state, **options).page
        page.goto(visitor.page.url)
        expect(page.locator(".answer .katex-display")).to_be_visible()
        begin_with(page, page.locator(".answer .code" if name == "chat-mobile.png" else ".answer h3").last)
        page.screenshot(path=DOCS / name)


def begin_with(page: Page, element: Locator) -> None:
    """Make the window so high that, scrolled to the end, it begins with this element."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    box, size = element.bounding_box(), page.viewport_size
    assert box
    assert size
    header = page.locator(".topbar").bounding_box()
    below = header["height"] if header else 0
    page.set_viewport_size({"width": size["width"], "height": round(size["height"] + below + 12 - box["y"])})
    page.wait_for_timeout(500)
