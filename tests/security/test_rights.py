"""Own rights and credits cannot be raised; proxy passwords; formulas in CSV files; bad cursors."""

import base64
import csv
import io
import secrets
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.test import Client
from pydantic import SecretStr

from accounts.models import User
from chat.screening import wordlist
from chat.screening.models import SensitiveWord
from providers import setup
from providers.encryption import without_password
from providers.models import Upstream
from providers.snapshot import upstream_config
from quotas import ledger, redeem_codes
from quotas.models import LedgerEntry, RedeemCode
from tests import factories
from tests.product import Product
from tests.staff import calling, send, staff_with
from web import spreadsheets

pytestmark = pytest.mark.django_db
GROUPS = "/admin/auth/group/"
CREDITS, UPSTREAMS = "/api/admin/credits/", "/api/admin/upstreams/"
SECRET = "hunter2-of-the-proxy"
PROXY = f"http://proxy-user:{SECRET}@192.0.2.9:3128"
SHOWN = "http://proxy-user@192.0.2.9:3128"


@pytest.fixture(autouse=True)
def _fresh_rate_limits() -> None:
    cache.clear()


def refused(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def permissions(*names: str) -> list[int]:
    return list(Permission.objects.filter(codename__in=names).values_list("pk", flat=True))


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def editor(client: Client) -> User:
    """Staff who may edit groups and users, and is in a group of their own."""
    actor: User = staff_with("view_group", "add_group", "change_group", "delete_group", "view_user", "change_user")
    Group.objects.create(name="helpers").user_set.add(actor)
    client.force_login(actor)
    return actor


def test_staff_give_their_group_no_rights_that_they_lack(editor: User, client: Client) -> None:
    """The group page refuses permissions that the actor does not have, for new and for existing groups."""
    helpers = Group.objects.get(name="helpers")
    for page in (f"{GROUPS}{helpers.pk}/change/", f"{GROUPS}add/"):
        form = {"name": "helpers" if "change" in page else "others", "permissions": permissions("add_ledgerentry")}
        response = client.post(page, form)
        assert list(response.context["adminform"].form.errors) == ["permissions"]
        assert client.post(page, {**form, "permissions": permissions("view_user")}).status_code == 302
    assert not User.objects.get(pk=editor.pk).has_perm("quotas.add_ledgerentry")


def test_staff_change_no_group_above_their_own_rights(editor: User, client: Client) -> None:
    """A group with a permission that the actor lacks cannot be changed or deleted, alone or in a selection."""
    powerful = Group.objects.create(name="powerful")
    powerful.permissions.set(permissions("add_ledgerentry", "view_user"))
    page = f"{GROUPS}{powerful.pk}"
    assert client.get(f"{page}/change/").status_code == 200
    assert client.post(f"{page}/change/", {"name": "mine", "permissions": []}).status_code == 403
    assert client.post(f"{page}/delete/", {"post": "yes"}).status_code == 403
    client.post(GROUPS, {"action": "delete_selected", "_selected_action": [powerful.pk], "post": "yes"})
    powerful.refresh_from_db()
    assert powerful.name == "powerful"
    assert powerful.permissions.count() == 2


def test_superusers_change_every_group(client: Client, carol: User) -> None:
    """A superuser may grant and withdraw every permission."""
    client.force_login(carol)
    form = {"name": "powerful", "permissions": permissions("add_ledgerentry")}
    assert client.post(f"{GROUPS}add/", form).status_code == 302
    group = Group.objects.get(name="powerful")
    assert client.post(f"{GROUPS}{group.pk}/change/", {**form, "permissions": []}).status_code == 302
    assert client.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 302


def test_staff_do_not_raise_themselves_by_the_staff_route(editor: User) -> None:
    """`/api/admin/users/` changes no account of staff, not even the own one."""
    for changes in ({"groups": []}, {"is_staff": True}, {"is_superuser": True}):
        response = send(calling(editor), "PATCH", f"/api/admin/users/{editor.pk}/", changes)
        assert response.status_code in {400, 403}
    editor.refresh_from_db()
    assert not editor.is_superuser


# --- credits and codes -----------------------------------------------------------------------------------------------


def test_staff_grant_themselves_no_credits(client: Client, alice: User, carol: User) -> None:
    """By page and staff route, credits go to others; a superuser may credit the own account."""
    quota = factories.quota("standard")
    treasurer = staff_with("add_ledgerentry", "view_ledgerentry", "view_user")

    def grant(actor: User, to: User) -> Any:
        body = {"user": to.username, "quota": "standard", "amount": 7, "reason": "gift"}
        return send(calling(actor), "POST", CREDITS, body)

    assert refused(grant(treasurer, treasurer)) == (403, "forbidden")
    client.force_login(treasurer)
    form = {"quota": quota.pk, "amount": 7, "reason": "gift"}
    assert client.post(f"/admin/accounts/user/{treasurer.pk}/credits/", form).status_code == 403
    assert not LedgerEntry.objects.exists()
    assert client.post(f"/admin/accounts/user/{alice.pk}/credits/", form).status_code == 302
    assert grant(treasurer, alice).status_code == 201
    assert grant(carol, carol).status_code == 201
    assert ledger.state(alice.pk, quota.pk)["credits"] == 14


@pytest.mark.parametrize("right", ["view_redeemcode", "add_redeemcode", "add_redeembatch"])
def test_staff_who_can_see_codes_redeem_none(right: str, client: Client) -> None:
    """Redeeming is refused by API and page for staff who can read or make codes."""
    quota = factories.quota("standard")
    clerk = staff_with(right)
    (code,) = redeem_codes.make(quota, 5, 1, None, None)
    response = send(calling(clerk), "POST", "/api/redeem/", {"code": code.grouped()})
    assert refused(response) == (403, "forbidden")
    client.force_login(clerk)
    client.post("/usage/", {"code": code.grouped()})
    assert RedeemCode.objects.get().redeemed_at is None
    others = staff_with("view_user")
    assert send(calling(others), "POST", "/api/redeem/", {"code": code.grouped()}).status_code == 200


# --- passwords of proxies --------------------------------------------------------------------------------------------


def stored() -> str:
    return str(list(Upstream.objects.values()))


def test_a_proxy_password_is_write_only(carol: User, client: Client) -> None:
    """No route and no page shows it, the database has it encrypted, and requests use it."""
    staff = calling(carol)
    body = {"slug": "far", "kind": "openai", "base_url": "https://api.example.org/v1", "proxy": PROXY}
    made = send(staff, "POST", UPSTREAMS, body)
    assert (made.status_code, made.json()["proxy"]) == (201, SHOWN)
    row = Upstream.objects.get(slug="far")
    client.force_login(carol)
    pages = (staff.get(UPSTREAMS), client.get("/admin/providers/upstream/"))
    page = client.get(f"/admin/providers/upstream/{row.pk}/change/")
    assert SHOWN in page.content.decode()
    for shown in (made.content, *(response.content for response in (*pages, page)), stored().encode()):
        assert SECRET.encode() not in shown
    assert upstream_config(row).endpoint.proxy == PROXY


def test_an_unchanged_address_keeps_the_password(carol: User) -> None:
    """Sending back what was read keeps the password; another address, or an empty password, drops it."""
    row = factories.upstream("far", kind="openai", base_url="https://api.example.org/v1", proxy=PROXY)

    def patch(proxy: str) -> str:
        response = send(calling(carol), "PATCH", f"{UPSTREAMS}{row.pk}/", {"proxy": proxy})
        assert response.status_code == 200, response.content
        row.refresh_from_db()
        return row.proxy_url()

    assert patch(SHOWN) == PROXY
    assert patch(PROXY.replace(SECRET, "another")) == PROXY.replace(SECRET, "another")
    assert patch(SHOWN.replace("192.0.2.9", "192.0.2.66")) == SHOWN.replace("192.0.2.9", "192.0.2.66"), (
        "sent to a stranger"
    )
    assert patch(SHOWN) == SHOWN
    patch(PROXY)
    assert patch("http://proxy-user:@192.0.2.9:3128") == "http://proxy-user:@192.0.2.9:3128"
    assert patch("") == ""


def test_the_form_of_the_admin_keeps_the_password(carol: User, client: Client) -> None:
    """Saving the page without a change keeps the password."""
    row = factories.upstream("far", kind="openai", base_url="https://api.example.org/v1", proxy=PROXY)
    client.force_login(carol)
    page = f"/admin/providers/upstream/{row.pk}/change/"
    initial = client.get(page).context["adminform"].form.initial
    form = {name: value for name, value in initial.items() if value not in (None, False)}
    done = client.post(page, {**form, "keys-TOTAL_FORMS": 0, "keys-INITIAL_FORMS": 0})
    assert done.status_code == 302
    row.refresh_from_db()
    assert row.proxy_url() == PROXY


def test_the_environment_is_followed_with_its_password(settings: Any) -> None:
    """A new password in the environment is taken, one that an admin entered stays, and none is stored in plain text."""

    def start(proxy: str) -> Upstream:
        update = {"OPENAI_PROXY": proxy, "OPENAI_API_KEYS": (SecretStr("sk-0123456789"),)}
        settings.ENV = settings.ENV.model_copy(update=update)
        setup.ensure_upstreams()
        assert SECRET not in stored()
        return Upstream.objects.get(slug="openai")

    assert start(PROXY).proxy_url() == PROXY
    row = start(PROXY.replace(SECRET, f"{SECRET}-2"))
    assert row.proxy_url() == PROXY.replace(SECRET, f"{SECRET}-2")
    assert upstream_config(row).trusted
    row.proxy = PROXY.replace(SECRET, f"{SECRET}-admin")
    row.save()
    assert start(PROXY).proxy_url() == PROXY.replace(SECRET, f"{SECRET}-admin")


def test_passwords_of_the_previous_release_are_encrypted() -> None:
    """The next start encrypts what the previous release stored as it was."""
    row = factories.upstream("far", kind="openai", base_url="https://api.example.org/v1")
    values = {"base_url": row.base_url, "proxy": PROXY, "enabled": True}
    Upstream.objects.filter(pk=row.pk).update(proxy=PROXY, environment={"values": values})
    assert Upstream.objects.get(pk=row.pk).proxy_url() == PROXY, "usable before"
    setup.ensure_upstreams()
    assert SECRET not in stored()
    row.refresh_from_db()
    assert (row.proxy, row.proxy_url()) == (SHOWN, PROXY)
    assert upstream_config(row).trusted


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("", ""),
        ("http://192.0.2.9:1", "http://192.0.2.9:1"),
        ("http://u:p@h:1", "http://u@h:1"),
        ("socks5://u:p@p:q@h:1", "socks5://u@h:1"),
        ("http://u:@h:1", "http://u@h:1"),
        ("http://:p@[2001:db8::1]:1", "http://@[2001:db8::1]:1"),
    ],
)
def test_passwords_are_cut_out_of_addresses(url: str, bare: str) -> None:
    """Only the password goes; an address without one stays as it is."""
    assert without_password(url) == bare
    assert without_password(bare) == bare


# --- formulas in CSV files -------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_is_no_formula_and_can_be_read_back(text: str) -> None:
    """A formula gets an apostrophe, which reading removes; other texts and numbers stay as they are."""
    assert spreadsheets.cell(text) == f"'{text}"
    assert spreadsheets.text_of(spreadsheets.cell(text)) == text
    for plain in ("word", "'quoted'", "a=b", "", "张三"):
        assert spreadsheets.text_of(plain) == spreadsheets.cell(plain) == plain
    assert spreadsheets.cell(-5) == "-5"


def test_exported_words_are_no_formulas() -> None:
    """The list of words is exported without formulas, and is the same after an import."""
    words = ['=HYPERLINK("https://evil.example")', "+86", "-x-", "@here"]
    wordlist.add(wordlist.plain_lines("\n".join(words), {"action": "mask", "category": "=cmd"}))
    text = wordlist.as_csv(SensitiveWord.objects.order_by("id"))
    cells = [cell for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    before = list(SensitiveWord.objects.order_by("id").values_list("word", "action", "category"))
    SensitiveWord.objects.all().delete()
    wordlist.add(wordlist.csv_lines(text.removeprefix("\ufeff")))
    assert list(SensitiveWord.objects.order_by("id").values_list("word", "action", "category")) == before


def test_exported_codes_are_no_formulas(carol: User, client: Client) -> None:
    """A quota's slug may begin with a minus."""
    (code,) = redeem_codes.make(factories.quota("-2-3"), 5, 1, None, None)
    client.force_login(carol)
    exported = client.get(f"/admin/quotas/redeembatch/{code.batch_id}/codes.csv").content.decode()
    assert list(csv.reader(io.StringIO(exported)))[1][:3] == [code.grouped(), "'-2-3", "5"]


# --- cursors ---------------------------------------------------------------------------------------------------------


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


MOMENT = "2026-11-29T00:00:00+00:00"
BAD = [
    "x",
    "é",
    "%00",
    "9" * 400,
    base64.urlsafe_b64encode(b"[" * 5000).decode(),
    cursor(),
    cursor(True, MOMENT),
    cursor(True, MOMENT, "x"),
    cursor(True, MOMENT, [1]),
    cursor(True, 5, 1),
    cursor(True, "0001-01-01T00:00:00+14:00", 1),
    cursor(True, "9999-12-31T23:59:59-14:00", 1),
]


@pytest.mark.server
def test_bad_cursors_are_400_on_every_database(on_each: Product) -> None:
    """An invalid cursor is refused with 400; one with an id that no row has gives a page."""
    client = on_each.register(f"c{secrets.token_hex(5)}").client
    for text in BAD:
        for path in ("/api/conversations/", "/api/quotas/ledger/"):
            response = client.get(path, params={"cursor": text})
            assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request"), (path, text)
            assert list(response.json()["error"]["details"]) == ["cursor"]
    for last_id in (10**17, -(10**17), 2**63 - 1, -(2**63), 2**64 - 1):
        assert client.get("/api/conversations/", params={"cursor": cursor(True, MOMENT, last_id)}).status_code == 200
    assert client.get("/api/conversations/", params={"cursor": cursor(False, "2026-11-29", 1)}).status_code == 200
    assert client.get("/api/quotas/ledger/", params={"cursor": str(2**63)}).status_code == 400
