"""The pages /usage/ and /invite/, and what the chat page says about charges and credits."""

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular, Visit
from tests.browser.test_mobile import PHONE, fits
from tests.browser.test_pages import CHINESE
from tests.browser.visitor import Visitor, copy, part
from tests.product import ApiUser, Product

PATHS = ("/usage/", "/invite/")


def codes(product: Product, count: int = 1) -> list[str]:
    """Let the admin make codes worth three credits."""
    order = {"quota": "standard", "credits": 3, "count": count}
    made = product.admin().client.post("/api/admin/redeem-codes/", json=order)
    assert made.status_code == 201, made.text
    return list(made.json()["codes"])


def test_an_answer_appears_on_the_usage_page(visit: Visit) -> None:
    """After a completion the usage page has a bar, a row that leads back to it, and a smaller allowance."""
    visitor = visit().register().enter()
    page = visitor.page
    visitor.answer("Hello", "echo")
    expect(part(visitor.last, "charge")).to_have_text("1 of the daily allowance")
    conversation = page.url
    page.click("#quota")
    expect(page.locator("h1")).to_have_text("Usage")
    card = page.locator(".quota-card").filter(has_text="Standard")
    expect(card.locator(".figure")).to_have_text("49")
    expect(card).to_contain_text("49 of 50 left today")
    expect(page.locator(".plot-drawing rect")).to_have_count(1)
    expect(page.locator(".plot-legend")).to_contain_text("echo 1")
    box = page.locator(".plot-drawing rect").bounding_box()
    assert box
    assert box["height"] > 40
    page.click(".plot-table summary")
    expect(page.locator(".plot-table td").nth(2)).to_have_text("1")
    row = page.locator(".rows tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(re.compile(r"Completion\s+echo"))
    row.locator("a").click()
    expect(page).to_have_url(conversation)
    expect(part(visitor.last, "charge")).to_have_text("1 of the daily allowance")


def test_redeeming(visit: Visit) -> None:
    """A code typed with small letters and look-alikes brings its credits; a second time the page says no."""
    visitor = visit().register().enter()
    page = visitor.page
    (code,) = codes(visitor.product)
    page.goto("/usage/")
    for expected in ("You received 3 credits for “Standard”.", "This code cannot be redeemed"):
        page.fill("#code", code.lower().replace("0", "o").replace("1", "l").replace("-", " "))
        page.press("#code", "Enter")
        expect(page.locator(".flash")).to_contain_text(expected)
    expect(page.locator(".quota-card").filter(has_text="Standard")).to_contain_text("3 credits")
    expect(page.locator(".rows .gain")).to_contain_text("+3")


def test_inviting(visit: Visit) -> None:
    """A friend opens the copied link, signs up with the code filled in, asks, and the inviter sees what it earned."""
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).register().enter()
    page = visitor.page
    page.click(".user-menu summary")
    page.click(".user-menu a[href='/invite/']")
    expect(page.locator(".nothing")).to_contain_text("No friend has joined yet")
    page.wait_for_load_state()  # its script makes the button work
    copy(page.get_by_role("button", name="Copy"))
    link = page.evaluate("() => navigator.clipboard.readText()")
    code = page.locator(".qr-code").bounding_box()
    assert code
    assert min(code["width"], code["height"]) > 120

    friend = visit()
    friend.page.goto(link)
    friend.name = f"{visitor.name}f"
    friend.page.fill("[name=username]", friend.name)
    friend.page.fill("[name=email]", f"{friend.name}@example.org")
    for field in ("password1", "password2"):
        friend.page.fill(f"[name={field}]", "correct horse battery staple")
    friend.page.click("main button[type=submit]:has-text('Sign up')")
    friend.wait_for_page()
    assert "5 credits" in friend.quota
    page.reload()
    expect(page.locator(".rows tbody tr")).to_contain_text("waiting for the first answer")
    friend.answer("Hello", "echo")
    page.reload()
    expect(page.locator(".rows tbody tr")).to_contain_text(f"{friend.name}")
    expect(page.locator(".rows .gain")).to_have_text("+10")


def test_a_used_up_quota_leads_to_inviting(visit: Visit, mortal: Product) -> None:
    """A user without allowance is led to inviting and redeeming; a credit then pays for a completion."""
    visitor = visit(mortal).register().enter()
    visitor.expect_errors("status of 429")
    page = visitor.page
    visitor.answer("First", "echo")
    visitor.answer("Second")
    failure = part(visitor.last, "failure")
    expect(failure.get_by_role("link", name="Invite friends")).to_have_attribute("href", "/invite/")
    failure.get_by_role("link", name="Redeem a code").click()
    page.fill("#code", codes(mortal)[0])
    page.press("#code", "Enter")
    expect(page.locator(".flash")).to_contain_text("3 credits")
    page.goto("/")
    visitor.answer("Third", "echo")
    expect(part(visitor.last, "charge")).to_have_text("1 credit")


def test_a_failure_is_not_charged(visitor: Visitor) -> None:
    """Below a failed completion the page shows that it cost nothing, now and after a reload."""
    visitor.answer("Hello", "cut")
    for _ in range(2):
        expect(part(visitor.last, "charge")).to_have_text("Not charged")
        visitor.page.reload()


def test_looks(visit: Visit, regular: Regular) -> None:
    """Both pages speak the reader's language, have their colours at night, and fit a phone."""
    page = visit(storage_state=regular.cookies, locale="zh-CN", color_scheme="dark", **PHONE).page
    for path in PATHS:
        page.goto(path)
        assert CHINESE.search(page.inner_text("h1"))
        assert luminance(page) < 60
        fits(page)
    page.emulate_media(color_scheme="light")
    assert luminance(page) > 200


def luminance(page: Page) -> float:
    """How bright the page's background is, from 0 to 255."""
    colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    parts = [int(number) for number in re.findall(r"\d+", colour)[:3]]
    return sum(parts) / 3


def test_a_long_history_fits(visit: Visit) -> None:
    """Long names, reasons and many models stay inside of a phone's screen."""
    visitor = visit(**PHONE).register()
    admin = visitor.product.admin()
    grant = {"user": visitor.name, "quota": "standard", "amount": 5, "reason": "w" * 200}
    assert admin.client.post("/api/admin/credits/", json=grant).status_code == 201
    api_user = api_user_of(visitor)
    for model in ("plain", "echo", "reasoning"):
        api_user.answer(model=model)
    visitor.enter()
    for path in PATHS:
        visitor.page.goto(path)
        fits(visitor.page)


def api_user_of(visitor: Visitor) -> ApiUser:
    body = {"username": visitor.name, "password": "correct horse battery staple"}
    tokens = visitor.product.client().post("/api/auth/token/", json=body).json()
    return ApiUser(visitor.product, visitor.name, tokens["access"], tokens["refresh"])
