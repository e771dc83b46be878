"""Deletion of accounts: nothing of the user is left in any table or file, and the ledger's sums stay."""

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client

from accounts import deletion
from accounts.models import User
from quotas.models import LedgerEntry, Source
from tests import factories
from tests.product import PASSWORD, ApiUser, Product, connected
from tests.upstreams import FakeOpenAI
from web.refusals import Forbidden

# The id of the user who is deleted. Nothing else has so large a number.
USER_ID = 987_654_321
SECONDS = 60
IMPATIENCE = "accounts.deletion.LOOK_SECONDS=0.5,chat.events.sse.DISABLED_CHECK_SECONDS=1"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def own_product(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI
) -> Iterator[Product]:
    url = request.getfixturevalue("postgres").migrated_database() if request.param == "postgresql" else ""
    variables = {**connected(upstream), "IMPATIENCE": IMPATIENCE, "HIT_EXCERPT_CHARS": "200"}
    with Product(tmp_path_factory.mktemp("deletion"), url, **variables) as made:
        yield made


def let_next_user_be(product: Product, number: int) -> None:
    """Give the next account this id, which nothing else has."""
    if product.database_url.startswith("sqlite"):
        product.sql("UPDATE sqlite_sequence SET seq = ? WHERE name = 'accounts_user'", number - 1)
    else:
        product.sql(f"ALTER SEQUENCE accounts_user_id_seq RESTART WITH {number}")


def tables(product: Product) -> list[str]:
    if product.database_url.startswith("sqlite"):
        found = product.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    else:
        found = product.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return [name for (name,) in found]


def send(client: httpx.Client, verb: str, path: str, /, **body: Any) -> dict[str, Any]:
    response = client.request(verb, path, json=body)
    assert response.is_success, response.text
    return dict(response.json()) if response.content else {}


def keep_everything(product: Product, owner: ApiUser, admin: ApiUser, marker: str) -> None:
    """Store something of each kind that a user can keep, each with the marker in its text."""
    client = owner.client
    uploaded = client.post("/api/attachments/", files={"file": (f"{marker}.txt", marker.encode())}).json()["id"]
    unused = client.post("/api/attachments/", files={"file": (f"{marker}-2.txt", marker.encode())})
    assert unused.status_code == 201
    made = owner.ended(owner.ask(marker, "echo", attachments=[uploaded], system_prompt=marker)["id"])
    owner.ended(owner.ask(marker, "echo", temporary=True)["id"])
    owner.ended(owner.ask(marker, "echo", text_tool="polish", key=marker)["id"])
    send(client, "POST", f"/api/conversations/{made['conversation']}/share/")
    send(client, "POST", "/api/presets/", title=marker, system_prompt=marker)
    send(client, "PATCH", "/api/me/instructions/", instructions=marker)
    token = send(client, "POST", "/api/tokens/", name=marker)["token"]
    call = {"model": "echo", "messages": [{"role": "user", "content": marker}]}
    programs = product.client(token)
    assert (
        programs.post("/v1/chat/completions", json=call, headers={"Idempotency-Key": f"{marker}-2"}).status_code == 200
    )
    send(client, "POST", "/api/tickets/", path=f"/sse/{marker}/")
    send(admin.client, "POST", f"/api/channels/{marker}/messages/", user=owner.name, data=marker)
    given = {"user": owner.name, "quota": "standard", "amount": 3, "reason": f"for {marker}"}
    send(admin.client, "POST", "/api/admin/credits/", **given)
    send(admin.client, "POST", "/api/admin/sensitive-words/", word="forbiddenfruit")
    assert client.post("/api/chat/", json={"model": "echo", "prompt": f"forbiddenfruit {marker}"}).status_code == 422
    assert product.log_in(owner.name, "wrong password").status_code == 401
    ((hit,),) = product.sql("SELECT id FROM chat_hit")
    staff = product.browser("admin")
    for look in (f"conversation/{made['conversation']}/change/", f"hit/{hit}/context/"):
        assert marker in staff.get(f"/admin/chat/{look}").text


def left(product: Product, number: int, *markers: str) -> list[str]:
    """Return where in tables and files one of these texts is found, or in tables the user's id."""
    found = []
    for table in tables(product):
        for row in product.sql(f'SELECT * FROM "{table}"'):
            texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in row]
            if any(marker in text for marker in (*markers, str(number)) for text in texts):
                found.append(f"table {table}: {row}")
    for folder, _folders, names in os.walk(product.var_dir):
        for name in names:
            with suppress(FileNotFoundError):  # it is deleted just now
                content = Path(folder, name).read_bytes()
                found += [f"file {name}: {marker}" for marker in markers if marker.encode() in content]
    return found


def sums(product: Product) -> list[tuple[Any, ...]]:
    return product.sql("SELECT quota_id, source, SUM(amount) FROM quotas_ledgerentry GROUP BY 1, 2 ORDER BY 1, 2")


def wait_until_nothing_is_left(product: Product, number: int, *markers: str) -> None:
    deadline = time.monotonic() + SECONDS
    while found := left(product, number, *markers):
        assert time.monotonic() < deadline, (found, product.output[-6000:])
        time.sleep(0.5)


@pytest.mark.server
@pytest.mark.contract("DELETE /api/me/")
def test_nothing_of_a_deleted_user_is_left(own_product: Product) -> None:
    """A deletion stops what runs, ends all logins and streams, and leaves nothing but nameless amounts."""
    product, marker = own_product, f"zq{secrets.token_hex(6)}"
    let_next_user_be(product, USER_ID)
    owner, admin = product.register(marker), product.admin()
    other = product.register(f"o{secrets.token_hex(5)}")
    assert owner.client.get("/api/me/").json()["id"] == USER_ID
    invited = {"username": f"i{marker[2:]}", "email": f"i{marker[2:]}@example.org", "password": PASSWORD}
    code = owner.client.get("/api/me/").json()["invite_code"]
    send(product.client(), "POST", "/api/auth/register/", **invited, invite_code=code)
    keep_everything(product, owner, admin, marker)
    other.ended(other.ask("Hello", "echo")["id"])
    session = product.browser(marker).cookies["sessionid"]
    running = owner.ask(marker, "hang-after-headers")["id"]
    before = sums(product)
    with owner.client.stream("GET", f"/sse/{marker}-open/") as stream:
        started = time.monotonic()
        assert owner.client.request("DELETE", "/api/me/", json={"password": PASSWORD}).status_code == 204
        list(stream.iter_raw())
        assert time.monotonic() - started < SECONDS
    assert owner.client.get("/api/me/").status_code == 401
    assert product.client().post("/api/auth/token/refresh/", json={"refresh": owner.refresh}).status_code == 401
    assert product.log_in(marker).status_code == 401
    wait_until_nothing_is_left(product, USER_ID, marker, session, running, code)
    assert sums(product) == before
    # The audit says that staff read a conversation, but no longer whose.
    looks = product.sql("SELECT actor_name, object_id, user_id FROM accounts_auditentry WHERE action = 'view'")
    assert looks == [("admin", "", None)]
    # What other users have is there, and the name is free again.
    assert other.client.get("/api/conversations/").json()["results"]
    assert product.register(marker).name == marker


@pytest.mark.server
def test_staff_delete_by_the_same_steps(own_product: Product) -> None:
    """An account that staff delete in the admin leaves nothing, and no name in the admin's own log."""
    product, name = own_product, f"zq{secrets.token_hex(6)}"
    let_next_user_be(product, USER_ID + 1_000_000)
    victim, staff = product.register(name), product.browser("admin")
    number = victim.client.get("/api/me/").json()["id"]
    victim.ended(victim.ask(name, "echo")["id"])
    address = f"/admin/accounts/user/{number}/delete/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', staff.get(address).text)
    assert token
    fields = {"post": "yes", "csrfmiddlewaretoken": token[1]}
    assert staff.post(address, data=fields, headers={"Referer": product.url}).status_code == 200
    wait_until_nothing_is_left(product, number, name)
    assert product.sql("SELECT COUNT(*) FROM accounts_user WHERE id = ?", number) == [(0,)]
    assert product.sql("SELECT object_id, object_repr FROM django_admin_log WHERE action_flag = 3") == [(None, "")]


def delete(client: Client, **body: Any) -> tuple[int, str]:
    response = client.delete("/api/me/", body, content_type="application/json")
    return response.status_code, response.json()["error"]["code"] if response.content else ""


@pytest.mark.django_db
def test_the_password_is_needed(alice: User, bearer: Any, api_token: Any) -> None:
    """Without the password nothing happens; an account without one needs a recent login."""
    assert delete(bearer(alice)) == (400, "invalid_request")
    assert delete(bearer(alice), password="wrong") == (403, "reauthentication_required")
    alice.set_unusable_password()
    alice.save()
    program = Client(headers={"Authorization": f"Bearer {api_token(alice)}"})
    assert delete(program) == (403, "reauthentication_required")
    assert User.objects.get(pk=alice.pk).is_active
    assert delete(bearer(alice)) == (204, "")
    assert not User.objects.get(pk=alice.pk).is_active


@pytest.mark.django_db
def test_the_last_superuser_stays(carol: User) -> None:
    """The last superuser cannot delete their own account; one of two can."""
    with pytest.raises(Forbidden):
        deletion.request(carol)
    assert User.objects.get(pk=carol.pk).username == "carol"
    deletion.request(factories.user(is_superuser=True, is_staff=True))


@pytest.mark.django_db
def test_the_page_deletes_and_logs_out(client: Client, alice: User) -> None:
    """The page asks for the password, and leads to the login page."""
    client.force_login(alice)
    assert "alice" in client.get("/accounts/delete/").content.decode()
    wrong = client.post("/accounts/delete/", {"password": "wrong"})
    assert wrong.context["form"].errors["password"]
    right = client.post("/accounts/delete/", {"password": PASSWORD})
    assert right.headers["Location"] == "/accounts/login/"
    assert "sessionid" not in client.cookies or not client.cookies["sessionid"].value
    assert not User.objects.filter(username="alice").exists()


@pytest.mark.django_db
def test_the_ledger_keeps_amounts_alone(alice: User) -> None:
    """Rows of a deleted user have no user, and no reason that an operator typed."""
    quota = factories.quota("standard")
    for reason in ("invited", "for alice"):
        LedgerEntry.objects.create(user=alice, quota=quota, amount=2, source=Source.CREDIT, reason=reason)
    deletion._delete_account(alice.pk)
    rows = LedgerEntry.objects.order_by("pk").values_list("user", "amount", "reason")
    assert list(rows) == [(None, 2, "invited"), (None, 2, "")]
