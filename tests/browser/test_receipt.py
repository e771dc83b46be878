"""What stands below a completion: sources, tokens, the time of reasoning, and the vendor's words for an error."""

import os
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, copy, part
from tests.product import Product
from tests.scenarios import CITED

# A phone's and a desktop's, in CSS pixels.
WIDTHS = (360, 1280)
# How the receipt names the time of a generation.
SECONDS = re.compile(r"^\d+(\.\d)? s$")
# A folder for screenshots, to look at; none are taken without it.
SHOTS = os.environ.get("SCREENSHOTS")


def photograph(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def expect_sources(visitor: Visitor, title: str) -> None:
    """Expect both pages, as links that open elsewhere and know nothing of this page."""
    sources = part(visitor.last, "sources")
    expect(sources.locator("summary")).to_have_text("Sources 2")
    links = sources.get_by_role("link")
    expect(links).to_have_text([title, "例子.example"])
    expect(sources.locator("li").first).to_have_text(f"{title} example.org")
    for place, address in enumerate(CITED):
        link = links.nth(place)
        expect(link).to_be_visible()
        expect(link).to_have_attribute("href", address)
        expect(link).to_have_attribute("target", "_blank")
        expect(link).to_have_attribute("rel", "noopener noreferrer")


def test_sources_tokens_and_reasoning(visitor: Visitor) -> None:
    """They are shown as they come, and the same after a reload, on a phone too."""
    visitor.answer("Is water wet?", "cited")
    for shot in ("live", "stored"):
        for width in WIDTHS:
            visitor.page.set_viewport_size({"width": width, "height": 740})
            expect_sources(visitor, "First page")
            expect(part(visitor.last, "usage")).to_have_text("9 tokens in (4 cached), 7 out (3 reasoning)")
            expect(part(visitor.last, "reasoning-title")).to_have_text(re.compile(r"^Thought for \d+ s$"))
            assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
            # A dot before the time would begin a line when the receipt takes two.
            before = "time => getComputedStyle(time, '::before').content"
            assert part(visitor.last, "time").evaluate(before) == "none"
            photograph(visitor.page, f"sources-{width}-{shot}")
        visitor.page.reload()


def test_a_plain_completion_has_no_sources(visitor: Visitor) -> None:
    """Without sources there is no list, live and after a reload."""
    visitor.answer("Hello", "plain")
    expect(part(visitor.last, "usage")).to_have_text("9 tokens in, 11 out")
    expect(part(visitor.last, "duration")).to_have_text(SECONDS)
    expect(part(visitor.last, "sources")).to_be_hidden()
    visitor.page.reload()
    expect(part(visitor.last, "sources")).to_be_hidden()
    expect(part(visitor.last, "usage")).to_have_text("9 tokens in, 11 out")
    expect(part(visitor.last, "duration")).to_have_text(SECONDS)


def test_titles_are_text(visitor: Visitor) -> None:
    """A title with HTML is shown as its characters; the fixture fails for any script that runs."""
    visitor.answer("Is water wet?", "cited-hostile")
    expect_sources(visitor, "<img src=x onerror=alert(1)>")
    visitor.page.reload()
    expect_sources(visitor, "<img src=x onerror=alert(1)>")


def test_pages_of_this_service_are_no_links(visitor: Visitor) -> None:
    """A page at an address of ours is shown as text, live and after a reload: a link could generate."""
    path = "/api/chat/?model=demo&prompt=x"
    port = visitor.url.rpartition(":")[2]
    visitor.answer(f"{visitor.url}{path} http://u@127.0.0.1:{port}{path} https://example.org/", "cites-prompt")
    for _shown in ("live", "stored"):
        sources = part(visitor.last, "sources")
        expect(sources.locator("li")).to_have_count(3)
        expect(sources.get_by_role("link")).to_have_text(["example.org"])
        visitor.page.reload()


def test_sources_in_chinese(visit: Visit, site: Product) -> None:
    """The texts are translated."""
    somebody = visit(site, locale="zh-CN").register()
    page = somebody.page
    page.goto("/accounts/login/")
    page.fill("[name=login]", somebody.name)
    page.fill("[name=password]", "correct horse battery staple")
    page.click("main button[type=submit]")
    somebody.wait_for_page()
    somebody.answer("水是湿的吗？", "cited")
    expect(part(somebody.last, "sources").locator("summary")).to_have_text("来源 2")
    expect(part(somebody.last, "usage")).to_have_text("输入 9 token（缓存 4），输出 7（思考 3）")
    expect(part(somebody.last, "reasoning-title")).to_have_text(re.compile(r"^思考了 \d+ 秒$"))


def test_the_vendors_words_for_an_error(visitor: Visitor) -> None:
    """Code and request id of the vendor stand small below the error, live and stored, and can be copied."""
    page, words = visitor.page, "Code 503 · Request req-1"
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.ask("fail", "error")
    visitor.wait_for_end()
    for shot in ("live", "stored"):
        line = visitor.last.locator(".failure-vendor")
        expect(line.locator("code")).to_have_text(words)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            photograph(page, f"vendor-{width}-{shot}")
        copy(line.get_by_role("button"))
        assert page.evaluate("navigator.clipboard.readText()") == words
        page.reload()
