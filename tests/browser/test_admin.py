"""The admin pages: limits, keys that are written and never shown, ledger rows that are read-only."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import Visitor
from tests.product import Product
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

SECRET = "sk-planted-9f8e7d6c5b4a3210zyxw"


@pytest.fixture
def operator(visit: Visit, mortal: Product, admin: Regular) -> Visitor:
    """The first admin, logged in, before the first page."""
    return visit(mortal, storage_state=admin.cookies)


def test_a_changed_daily_limit_holds_at_once(operator: Visitor) -> None:
    """A daily limit changed in the list of quotas holds for all users at once."""
    page = operator.page
    page.goto("/admin/")
    page.click("#content-main .model-quota th a")
    row = page.locator("#result_list tbody tr").filter(has_text="premium")
    row.locator("input[name$=daily_limit]").fill("7")
    page.click("[name=_save]")
    expect(page.locator(".messagelist")).to_contain_text("1 quota was changed successfully")
    expect(row.locator("input[name$=daily_limit]")).to_have_value("7")
    assert operator.product.register("judith").quota("premium")["daily_limit"] == 7


def test_keys_are_write_only(operator: Visitor) -> None:
    """A key's secret is nowhere in any page once it is stored, and saving its page again leaves it as it is."""
    page = operator.page
    page.goto("/admin/providers/apikey/add/")
    page.select_option("[name=upstream]", index=1)
    page.fill("[name=secret]", SECRET)
    assert page.get_attribute("[name=secret]", "type") == "password"
    page.click("[name=_continue]")
    expect(page.locator(".messagelist")).to_contain_text("added successfully")
    change = page.url
    page.click("[name=_continue]")
    expect(page.locator(".messagelist")).to_contain_text("changed successfully")
    upstreams = "/admin/providers/upstream/"
    pages = ["/admin/providers/apikey/", change.replace("change/", "history/"), upstreams, f"{upstreams}1/change/"]
    answers = [operator.context.request.get(address) for address in [*pages, "/admin/"]]
    assert [answer.status for answer in answers] == [200] * 5
    seen = [page.content(), *(answer.text() for answer in answers)]
    assert [SECRET[:-4] in source for source in seen] == [False] * 6
    assert SECRET[-4:] in seen[1]
    assert SECRET not in operator.product.output


def test_health_at_a_glance(operator: Visitor, upstream: FakeOpenAI) -> None:
    """A key that the vendor refused makes its rows stand out, with a sign and a reason; an action puts it to use."""
    product, page = operator.product, operator.page
    staff = product.admin().client
    good = next(key for key in staff.get("/api/admin/keys/").json() if key["upstream"] == "openai")
    upstream.keys["sk-refused-00000001"] = "http_401:invalid_api_key"
    made = staff.post("/api/admin/keys/", json={"upstream": "openai", "secret": "sk-refused-00000001"})
    bad = f"/api/admin/keys/{made.json()['id']}/"
    staff.patch(f"/api/admin/keys/{good['id']}/", json={"enabled": False})
    try:
        asker = product.register("glancer")
        failed = asker.ended(asker.ask(model="echo")["id"])
        assert failed["error"]["code"] in {"upstream_error", "model_unavailable"}
        wait_until(lambda: staff.get(bad).json()["status"] == "quarantined")  # by a probe, which may end later
        page.goto("/admin/providers/apikey/")
        row = page.locator("#result_list tbody tr").filter(has_text="…0001")
        expect(row).to_contain_text("✕ quarantined since")
        expect(row).to_contain_text("The upstream refused the key.")
        plain = page.locator("#result_list tbody tr").filter(has_not_text="…0001").locator("td").last
        colour = "cell => getComputedStyle(cell).backgroundColor"
        assert row.locator("td").last.evaluate(colour) != plain.evaluate(colour)
        page.goto("/admin/providers/upstream/")
        mine = page.locator("#result_list tbody tr").filter(has_text="openai").first
        expect(mine).to_contain_text("✕ 1 key cannot be used")
        expect(mine.locator(".field-usable")).to_have_text("0 / 2")
        mine.locator("input.action-select").check()
        page.select_option("[name=action]", "clear_health")
        page.click("[name=index]")
        expect(page.locator(".messagelist")).to_contain_text("1 upstream is in use again, with its keys.")
        expect(mine).to_contain_text("✓ ok")
        assert staff.get(bad).json()["status"] == "ok"
    finally:
        staff.delete(bad)
        staff.patch(f"/api/admin/keys/{good['id']}/", json={"enabled": True})


def test_models_are_added(operator: Visitor) -> None:
    """The upstream's own list is one click away; what is ticked there can be asked at once."""
    page = operator.page
    page.goto("/admin/providers/upstream/")
    page.locator("#result_list th a", has_text="openai").click()
    page.click(".object-tools a:has-text('Fetch the model list')")
    expect(page.locator("h1")).to_have_text("Models of openai")
    box = page.get_by_label("think_tags", exact=True)
    box.check()
    expect(page.locator("tr").filter(has=box)).to_contain_text("new model think_tags")
    page.click("text=Add the chosen models")
    expect(page.locator(".messagelist")).to_contain_text("1 model was added: think_tags")
    expect(page.locator("#result_list").get_by_text("think_tags").first).to_be_attached()
    assert operator.product.register("early").answer(model="think_tags")[-1].name == "done"
    page.go_back()
    page.reload()
    expect(page.locator("tr").filter(has_text="think_tags")).to_contain_text("✓ think_tags")


def test_books_are_read_only(operator: Visitor) -> None:
    """The ledger can be looked at, not added to, changed or deleted."""
    operator.product.register("reader").answer("Hello", "plain")
    page = operator.page
    page.goto("/admin/quotas/ledgerentry/")
    expect(page.locator("#result_list tbody tr")).not_to_have_count(0)
    expect(page.locator("#content .addlink")).to_have_count(0)
    expect(page.locator("#result_list input")).to_have_count(0)
    expect(page.locator("select[name=action]")).to_have_count(0)
    page.locator("#result_list tbody th a").first.click()
    expect(page.locator("main, #content").first).to_contain_text("reader")
    expect(page.locator("#content-main input:not([type=hidden]), .deletelink")).to_have_count(0)
    row = re.sub("change/$", "", page.url)
    for address in ["/admin/quotas/ledgerentry/add/", f"{row}delete/"]:
        assert operator.context.request.get(address).status == 403


# What our policy forbids in a page's source: styles, scripts and handlers of its own.
FORBIDDEN = re.compile(
    r"<style|<script(?![^>]*\s(?:src=|type=\"application/json\"))|<[^>]+\s(?:style|on\w+)=", re.IGNORECASE
)


def test_every_list_and_form(operator: Visitor) -> None:
    """Each list and each form for something new opens, and breaks no policy; one of each kind runs its scripts."""
    page = operator.page
    page.goto("/admin/")
    lists = page.eval_on_selector_all("#content-main th a", "links => links.map(({ href }) => href)")
    forms = page.eval_on_selector_all("#content-main .addlink", "links => links.map(({ href }) => href)")
    assert len(lists) > 8
    assert len(forms) > 3
    kinds: dict[tuple[str, ...], str] = {}
    for address in [*lists, *forms]:
        answer = operator.context.request.get(address)
        assert (address, answer.status, FORBIDDEN.findall(answer.text())) == (address, 200, [])
        kinds.setdefault(tuple(re.findall(r'<script[^>]* src="([^"]+)"', answer.text())), address)
    for address in kinds.values():
        page.goto(address)


def test_dashboard(operator: Visitor) -> None:
    """The dashboard is one click from the front page, draws today's generations, and breaks no policy."""
    operator.product.register("counted").answer("Hello", "plain")
    page = operator.page
    page.goto("/admin/")
    page.click("text=Dashboard")
    expect(page.locator("h1")).to_have_text("Dashboard")
    expect(page.locator(".plots section").first.locator(".plot-drawing rect").first).to_be_visible()
    sums = page.locator(".sums", has=page.locator("th", has_text="failures"))  # an open alert may stand above
    expect(sums.first).to_contain_text("plain")


def test_credits_by_hand(operator: Visitor) -> None:
    """Credits are given on a user's page, and stand in the user's ledger with the reason."""
    api_user = operator.product.register("rewarded")
    page = operator.page
    page.goto("/admin/accounts/user/?q=rewarded")
    page.click("#result_list tbody th a")
    page.click("text=Grant or take back credits")
    page.fill("[name=amount]", "4")
    page.fill("[name=reason]", "found a bug")
    page.click("#content-main [type=submit]")
    expect(page.locator(".messagelist")).to_contain_text("+4 credits: Standard")
    expect(page.locator("#ledger")).to_contain_text("found a bug")
    assert api_user.quota()["credits"] == 4


def test_not_for_everybody(visitor: Visitor) -> None:
    """A user who is not staff gets no admin page, and no link to one."""
    visitor.wait_for_page()
    expect(visitor.page.locator(".user-menu a[href='/admin/']")).to_have_count(0)
    visitor.expect_errors("status of 403")
    answer = visitor.page.goto("/admin/quotas/quota/")
    assert answer
    assert answer.status == 403
    expect(visitor.page.locator("#result_list")).to_have_count(0)


def test_sensitive_words(operator: Visitor) -> None:
    """A list is pasted, a text is tried and what is found in it marked, the words are disabled and deleted again."""
    page = operator.page
    page.goto("/admin/chat/sensitiveword/import/")
    page.fill("[name=text]", "filbert\n\n榛子\n榛 子")
    page.select_option("[name=action]", "mask")
    page.fill("[name=category]", "browser test")
    page.click("input[type=submit]")
    expect(page.locator(".messagelist")).to_have_text("2 added, 1 already in the list, 1 refused.")
    page.goto("/admin/chat/sensitiveword/")
    page.click("text=Try a text")
    page.fill("[name=text]", "FIL-BERT <script>alert(1)</script> und 榛\n子")
    page.click("input[type=submit]")
    expect(page.locator("#tried mark")).to_have_text(["FIL-BERT", "榛子"])
    expect(page.locator("#found tbody tr")).to_have_count(2)
    api_user = operator.product.register("nutty")
    assert api_user.ask("filbert", "plain")["status"] == "running"
    assert api_user.client.get("/api/conversations/").json()["results"][0]["title"] == "*******"
    page.goto("/admin/chat/hit/?q=nutty")
    expect(page.locator("#result_list tbody tr")).to_contain_text("filbert")
    page.goto("/admin/chat/sensitiveword/?category=browser+test")
    for action in ("disable", "delete_selected"):
        page.check("#action-toggle")
        page.select_option("[name=action]", action)
        with page.expect_navigation():  # a script of the next page makes its boxes work together
            page.click("button[name=index]")
    page.click("input[type=submit]")
    expect(page.locator(".messagelist")).to_contain_text("Successfully deleted 2 sensitive words")


def test_books_on_a_phone(visit: Visit, mortal: Product, admin: Regular) -> None:
    """Long names, reasons and numbers scroll within their tables; a field's label stands before the field."""
    staff, name = mortal.admin().client, "l" + "o" * 100 + "ng"
    api_user = mortal.register(name)
    gift = {"user": name, "quota": "standard", "amount": 1_000_000, "reason": "x" * 200}
    assert staff.post("/api/admin/credits/", json=gift).status_code == 201
    api_user.ended(api_user.ask(model="gpt-4")["id"])
    user = f"/admin/accounts/user/{api_user.client.get('/api/me/').json()['id']}"
    page = visit(mortal, storage_state=admin.cookies, viewport={"width": 360, "height": 740}).page
    for path in ("/admin/dashboard/", "/admin/quotas/quota/", f"{user}/change/", f"{user}/credits/"):
        page.goto(path)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360, path
    page.set_viewport_size({"width": 1280, "height": 740})
    page.goto("/admin/quotas/quota/1/change/")
    label, boxes = page.locator("label[for=id_covers]"), page.locator(".field-covers .selector")
    assert label.bounding_box()["x"] < boxes.bounding_box()["x"]  # type: ignore[index]
