"""The pages around the chat: accounts, errors, languages, usage."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor, content
from tests.product import PASSWORD, Product

CHINESE = re.compile(r"[\u4e00-\u9fff\uff00-\uffef]")


def test_signing_up_with_mistakes_keeps_what_was_typed(visit: Visit) -> None:
    """Signing up with mistakes tells each of them and keeps what was typed; without them it leads to the chat."""
    stranger = visit()
    page = stranger.page
    page.goto("/accounts/signup/")
    page.fill("[name=username]", "jürgen")
    page.fill("[name=email]", "juergen@example.org")
    page.fill("[name=password1]", "password")
    page.fill("[name=password2]", "passwort")
    page.click("main button[type=submit]:has-text('Sign up')")
    expect(page.locator("main")).to_contain_text("too common")
    expect(page.locator("[name=username]")).to_have_value("jürgen")
    expect(page.locator("[name=email]")).to_have_value("juergen@example.org")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    page.click("main button[type=submit]:has-text('Sign up')")
    expect(page.get_by_text("Hello, jürgen.")).to_be_visible()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_entrance_pages(visit: Visit, locale: str) -> None:
    """Every page before the login has a heading, in both languages, and nothing that its policy forbids."""
    page = visit(locale=locale).page
    for path in ["login/", "signup/", "password/reset/", "password/reset/done/", "confirm-email/no/"]:
        answer = page.goto(f"/accounts/{path}")
        assert answer
        assert (path, answer.status) == (path, 200)
        assert bool(CHINESE.search(page.inner_text("h1"))) == (locale == "zh-CN")


def test_change_password(visit: Visit) -> None:
    """A changed password keeps this login, and is the one that counts from then on."""
    visitor = visit().register().enter()
    page = visitor.page
    page.goto("/accounts/password/change/")
    page.fill("[name=oldpassword]", PASSWORD)
    page.fill("[name=password1]", "another horse battery")
    page.fill("[name=password2]", "another horse battery")
    page.click("main button[type=submit]")
    expect(page.get_by_text("Password successfully changed.")).to_be_visible()
    page.goto("/")
    visitor.wait_for_page()
    visitor.context.clear_cookies()
    page.goto("/accounts/login/")
    visitor.fill_in_login(page)
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.fill_in_login(page, "another horse battery")
    page.goto("/")
    visitor.wait_for_page()


def test_next_stays_here(visit: Visit, regular: Regular) -> None:
    """Logging in leads to pages of this service only, whatever `next` says."""
    visitor = visit().become(regular.api_user)
    for elsewhere in ("//evil.example/", "https://evil.example/", "/\\evil.example/", "javascript:alert(1)"):
        visitor.page.goto(f"/accounts/login/?next={elsewhere}")
        visitor.fill_in_login(visitor.page)
        visitor.wait_for_page()
        expect(visitor.page).to_have_url(f"{visitor.url}/")
        visitor.context.clear_cookies()


def test_languages(visit: Visit) -> None:
    """The browser's language is spoken, the switch changes it, and the choice holds on every page and for refusals."""
    visitor = visit(locale="zh-CN").register()
    visitor.expect_errors("status of 400")
    page = visitor.page
    page.goto("/accounts/login/")
    assert page.get_attribute("html", "lang") == "zh-hans"
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("h1")).to_have_text("Welcome back")
    visitor.log_in()
    assert not CHINESE.search(page.locator("#prompt").get_attribute("placeholder") or "")
    assert "left today" in visitor.quota

    page.click(".user-menu summary")
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    visitor.wait_for_page()
    assert CHINESE.search(visitor.quota)
    shown = page.evaluate(
        """() => [...document.querySelectorAll("#strings")].flatMap(({ dataset }) => Object.values(dataset))"""
    )
    assert [words for words in shown if words and words[0] != "/" and not CHINESE.search(words)] == []
    visitor.ask("你好", "demo")
    expect(content(visitor.last).locator("h2")).to_have_text("这里是演示模型")
    visitor.stop()
    page.evaluate("() => document.querySelector('#model option').value = 'unheard-of'")
    page.select_option("#model", "unheard-of")
    visitor.answer("再来")
    assert CHINESE.search(visitor.last.locator("[data-part=failure]").inner_text())


def test_not_found(user: Visitor) -> None:
    """A missing object and an object of another user give the same readable page."""
    user.expect_errors("status of 404")
    somebody = user.product.register("somebody")
    foreign = somebody.answer("secret", "plain")[0].data["conversation"]
    texts = []
    for path in ["/nowhere/", "/c/999999/", f"/c/{foreign}/"]:
        answer = user.page.goto(path)
        assert answer
        assert answer.status == 404
        texts.append(user.page.inner_text("main"))
    assert texts == [texts[0]] * 3


def test_conversations(user: Visitor) -> None:
    """Conversations can be searched, and renamed, pinned and deleted, found ones too."""
    page = user.page
    user.expect_late_questions()
    for prompt in ["apples and pears", "cherries"]:
        page.goto("/")
        user.answer(prompt, "echo")
    rows = page.locator("#conversations > [data-id]")
    expect(rows.first).to_contain_text("cherries")
    page.fill("#search", "pear")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("apples and pears")
    page.fill("#search", "durian")
    expect(page.locator("#nothing-found")).to_be_visible()
    expect(page.locator("#nothing-found")).to_have_text("Nothing found.")

    page.fill("#search", "pear")
    apples = rows.filter(has_text="apples")
    choose(user, "apples", "rename")
    page.fill("#rename-title", "apples only")
    page.keyboard.press("Enter")
    expect(apples).to_contain_text("apples only")
    choose(user, "apples", "pin")
    page.fill("#search", "")
    expect(rows).not_to_have_count(1)
    expect(rows.first).to_contain_text("apples only")
    choose(user, "cherries", "delete")
    page.click("#delete-dialog .danger")
    expect(rows.filter(has_text="cherries")).to_have_count(0)
    page.goto("/")
    expect(rows.first).to_contain_text("apples only")
    expect(rows.filter(has_text="cherries")).to_have_count(0)


def choose(visitor: Visitor, title: str, action: str) -> None:
    """Choose from the menu of a conversation."""
    row = visitor.page.locator("#conversations > [data-id]").filter(has_text=title)
    row.hover()
    row.locator("[data-more]").click()
    visitor.page.click(f"[data-action={action}]")


def test_api_docs(visit: Visit) -> None:
    """The description of the API can be read on a phone, opened wide, and its links open the shapes they lead to."""
    page = visit(viewport={"width": 360, "height": 740}).page
    page.goto("/api/docs/")
    expect(page.locator("h2").first).to_have_text("Accounts")
    page.locator("summary", has_text=re.compile(r"GET\s*/api/me/(?!\w)")).click()
    page.locator("details[open] dd a", has_text="Me").click()
    expect(page.locator("#shape-Me")).to_be_in_viewport()
    expect(page.locator("#shape-Me")).to_contain_text("invite_code")
    page.evaluate("() => document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_the_text_of_staff_is_seen(visit: Visit, mortal: Product) -> None:
    """The page with a text of staff shows it, in a browser with scripts too."""
    columns = "kind, text_en, text_zh, updated_at"
    row = ("privacy", "We keep nothing.", "", "2026-11-30 00:00:00")
    mortal.sql(f"INSERT INTO accounts_pagetext ({columns}) VALUES (?, ?, ?, ?)", *row)
    page = visit(mortal).page
    page.goto("/privacy/")
    expect(page.get_by_text("We keep nothing.")).to_be_visible()
    mortal.sql("DELETE FROM accounts_pagetext")
