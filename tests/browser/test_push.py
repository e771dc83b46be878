"""The payment example: a page that waits for its payment, with the browser's own EventSource."""

import re
import secrets

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.line import Line
from tests.browser.test_mobile import PHONE, fits
from tests.browser.visitor import Visitor
from tests.product import ApiUser, Product


@pytest.fixture(scope="module")
def shop(site: Product) -> ApiUser:
    """The program that knows how payments go."""
    return site.admin()


@pytest.fixture
def order() -> str:
    return f"order-{secrets.token_hex(5)}"


def push(shop: ApiUser, to: Visitor, order: str, step: str) -> None:
    body = {"user": to.name, "data": {"status": step}, "event": step}
    assert shop.client.post(f"/api/channels/{order}/messages/", json=body).status_code == 202


def reached(page: Page, *steps: str) -> None:
    """Wait until the page shows these steps as reached and no others."""
    expect(page.locator("#steps > li.reached")).to_have_count(len(steps))
    expect(page.locator("#steps > li[aria-current=step]")).to_have_attribute("data-step", steps[-1])


def received(page: Page) -> list[str]:
    """Return the names of the events that the page received, in order; each id occurs once."""
    ids = page.locator("#received td:first-child").all_text_contents()
    assert len(set(ids)) == len(ids)
    return page.locator("#received td:nth-child(2)").all_text_contents()


def test_paying_survives_reloads(user: Visitor) -> None:
    """Paying goes from step to step to its end; a reload in the middle and one in the end show the same, once."""
    page = user.page
    page.goto("/push-demo/")
    page.get_by_role("button", name="Pay").click()
    # The other steps follow by themselves, on a slow machine before the page is looked at.
    expect(page.locator("#steps > li[data-step=created]")).to_contain_class("reached")
    expect(page.get_by_role("button", name="Pay")).to_be_disabled()
    page.reload()
    reached(page, "created", "paying", "paid", "complete")
    expect(page.locator("#status")).to_have_text("The payment is complete.")
    assert received(page) == ["created", "paying", "paid", "complete"]
    page.reload()
    reached(page, "created", "paying", "paid", "complete")
    assert received(page) == ["created", "paying", "paid", "complete"]
    order = page.inner_text("#order")
    page.click("#again")
    expect(page.locator("#status")).to_have_text("Waiting for the payment…")
    expect(page.locator("#steps > li.reached")).to_have_count(0)
    assert page.inner_text("#order") != order


def test_closed_meanwhile(visit: Visit, regular: Regular, shop: ApiUser, order: str) -> None:
    """A payment that goes on while the page is closed is there when it is opened again, also in another browser."""
    first = visit(storage_state=regular.cookies).become(regular.api_user)
    first.page.goto(f"/push-demo/?order={order}")
    push(shop, first, order, "created")
    reached(first.page, "created")
    first.page.goto("/accounts/email/")
    push(shop, first, order, "paying")
    second = visit(storage_state=regular.cookies).become(regular.api_user)
    second.page.goto(f"/push-demo/?order={order}")
    reached(second.page, "created", "paying")
    push(shop, first, order, "paid")
    reached(second.page, "created", "paying", "paid")
    assert received(second.page) == ["created", "paying", "paid"]


def test_the_network_is_cut(visit: Visit, site: Product, regular: Regular, shop: ApiUser, order: str) -> None:
    """After a cut the browser connects again by itself, and what was pushed meanwhile comes once."""
    with Line.to(site.url) as line:
        visitor = visit(site, url=line.url, storage_state=regular.cookies).become(regular.api_user)
        visitor.expect_errors("ERR_|Failed to load resource")
        page = visitor.page
        page.goto(f"/push-demo/?order={order}")
        push(shop, visitor, order, "created")
        reached(page, "created")
        line.cut()
        expect(page.locator("#status")).to_have_text("The connection was lost. Reconnecting…")
        push(shop, visitor, order, "paying")
        push(shop, visitor, order, "paid")
        line.mend()
        reached(page, "created", "paying", "paid")
        assert received(page) == ["created", "paying", "paid"]


def test_a_payment_fails(user: Visitor, shop: ApiUser, order: str) -> None:
    """An error ends the channel, and the page says why, as text."""
    user.page.goto(f"/push-demo/?order={order}")
    body = {"user": user.name, "message": "<b>Card</b> refused"}
    assert shop.client.post(f"/api/channels/{order}/error/", json=body).status_code == 200
    expect(user.page.locator("#status")).to_have_text("<b>Card</b> refused")
    expect(user.page.get_by_role("button", name="Pay")).to_be_disabled()


def test_orders_are_ones_own(visit: Visit, regular: Regular, user: Visitor, shop: ApiUser, order: str) -> None:
    """Another user with the same address sees nothing of the order; an invalid order id gives a new order."""
    push(shop, user, order, "created")
    other = visit().register().enter()
    other.page.goto(f"/push-demo/?order={order}")
    expect(other.page.locator("#status")).to_have_text("Waiting for the payment…")
    other.page.goto("/push-demo/?order=<script>")
    expect(other.page.locator("#order")).to_have_text(re.compile("^order-"))
    expect(other.page.locator("#steps > li.reached")).to_have_count(0)
    user.page.goto(f"/push-demo/?order={order}")
    reached(user.page, "created")


def test_on_a_phone(visit: Visit, regular: Regular, shop: ApiUser) -> None:
    """The page fits a phone, the longest key and what was received too."""
    phone = visit(storage_state=regular.cookies, **PHONE).become(regular.api_user)
    order = "x" * 117 + secrets.token_hex(5)
    push(shop, phone, order, "created")
    phone.page.goto(f"/push-demo/?order={order}")
    reached(phone.page, "created")
    phone.page.tap(".received summary")
    fits(phone.page)
