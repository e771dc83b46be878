"""Two models side by side for one prompt."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor, content, part
from tests.product import Product

WIDE: dict[str, int] = {"width": 1280, "height": 800}
PHONE: dict[str, int] = {"width": 360, "height": 740}


def test_two_models(visit: Visit, mortal: Product) -> None:
    """Two completions grow side by side, through a reload and until Stop; the user goes on with one of them.

    When nothing is left for the second, its place says so, and the first is complete.
    """
    visitor = visit(mortal).register().enter()
    visitor.expect_errors("status of 429")
    page = visitor.page
    compare(visitor, "count", "gpt-4-lasting", "lasting")
    first, second = page.locator(".answer").all()
    grown(first, second)
    assert not overlaps(first, second)
    page.reload()
    grown(first, second)
    expect(page.locator(".prompt")).to_have_count(1)
    expect(part(column(page, "first"), "name")).to_have_text("gpt-4-lasting")
    page.set_viewport_size(PHONE)
    expect(first).to_be_visible()
    expect(second).to_be_hidden()
    page.get_by_role("button", name="lasting", exact=True).click()
    expect(second).to_be_visible()
    expect(first).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_role("button", name="Stop").click()
    visitor.wait_for_end()
    page.set_viewport_size(WIDE)
    for name in ("first", "second"):
        expect(column(page, name)).to_contain_text("Stopped.")

    part(column(page, "second"), "choose").click()
    expect(page.locator(".answer")).to_have_count(1)
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    expect(part(visitor.last, "model")).to_have_text("lasting")
    expect(page.locator("#model")).to_have_value("lasting")
    page.reload()
    expect(part(visitor.last, "version")).to_have_text("2 / 2")
    expect(page.locator(".comparison")).to_have_count(0)

    compare(visitor, "again", "gpt-4", "lasting")
    expect(part(column(page, "second"), "failure")).to_contain_text("used up")
    visitor.wait_for_end()
    assert content(page.locator(".comparison .answer").first).inner_text()
    visitor.ask("on", "gpt-4")
    expect(page.locator(".prompt")).to_have_count(3)
    visitor.wait_for_end()
    expect(page.locator(".answer")).to_have_count(3)
    messages = visitor.api_user().messages(int(page.url.split("/")[-2]))
    ids, parents = ([message[key] for message in messages] for key in ("id", "parent"))
    assert parents == [None, ids[0], ids[0], *ids[2:-1]]


def compare(visitor: Visitor, prompt: str, first: str, second: str) -> None:
    page = visitor.page
    page.select_option("#model", first)
    page.get_by_role("button", name="Compare two models").click()
    page.get_by_role("button", name=second, exact=True).click()
    visitor.ask(prompt)
    expect(page.locator(".comparison .answer")).to_have_count(2)
    expect(page.locator("#second-model")).to_be_hidden()


def column(page: Page, name: str) -> Locator:
    return part(page.locator(".comparison"), name)


def grown(*answers: Locator) -> None:
    """Wait until all of them grow, and have more text than a moment ago."""
    for answer in answers:
        expect(answer).to_have_attribute("aria-busy", "true")
        expect(content(answer)).to_contain_text("3 ")
        shown = content(answer).inner_text()
        expect(content(answer)).not_to_have_text(shown)


def overlaps(one: Locator, other: Locator) -> bool:
    left, right = one.bounding_box(), other.bounding_box()
    assert left
    assert right
    return left["x"] + left["width"] > right["x"]
