"""The audit: what staff do and read is recorded, stays as it was written, and is shown to auditors only."""

import csv
import io
import runpy
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.core import management
from django.db import DatabaseError, connections, transaction
from django.test import Client
from django.utils import timezone

from accounts import deletion
from accounts.audit import commands, retention
from accounts.models import AuditEntry, User
from chat.models import Conversation
from tests import factories, servers
from tests.staff import auditors, calling, send, staff_with

pytestmark = pytest.mark.django_db
PAGE = "/admin/accounts/auditentry/"


@pytest.fixture
def staff(client: Client, carol: User) -> Client:
    client.force_login(carol)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def auditor(db: None) -> Client:
    user = factories.user("otto", is_staff=True)
    user.groups.add(auditors())
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def rows(*columns: str) -> list[tuple[Any, ...]]:
    return list(AuditEntry.objects.order_by("pk").values_list(*columns))


def entry(**values: Any) -> AuditEntry:
    return AuditEntry.objects.create(**{"actor_name": "carol", "via": "admin", "action": "view", **values})


def conversation(user: User) -> Conversation:
    made = Conversation.objects.create(user=user, title="my secret plan")
    made.messages.create(role="user", content="my secret plan")
    return made


def test_a_change_in_the_admin_names_actor_object_and_fields(staff: Client, alice: User) -> None:
    """The row has who, from where, what and which fields, but no values."""
    page = f"/admin/accounts/user/{alice.pk}/change/"
    form = {
        name: value for name, value in staff.get(page).context["adminform"].form.initial.items() if value is not None
    }
    inlines = {
        f"{kind}-{name}": number
        for kind in ("emailaddress_set", "socialaccount_set", "api_tokens")
        for name, number in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))
    }
    form |= {"first_name": "hidden value", **inlines, "last_login_0": "", "last_login_1": ""}
    form = {name: value for name, value in form.items() if name not in {"password", "groups", "user_permissions"}}
    saved = staff.post(page, form, REMOTE_ADDR="192.0.2.7", headers={"X-Forwarded-For": "203.0.113.1"})
    assert saved.status_code == 302, saved.context["adminform"].errors
    (row,) = AuditEntry.objects.all()
    assert (row.actor_name, row.via, row.address, row.action) == ("carol", "admin", "192.0.2.7", "change")
    assert (row.object_type, row.object_id, row.user_id) == ("accounts.user", str(alice.pk), alice.pk)
    assert "first name" in row.changed_fields.lower()
    assert "hidden value" not in str(row.__dict__)


def test_the_staff_api_is_recorded(alice: User, carol: User) -> None:
    """Changes, deletions and grants by programs have their rows; refused requests of other users have none."""
    admin, quota = calling(carol), factories.quota("standard")
    send(admin, "PATCH", f"/api/admin/users/{alice.pk}/", {"is_active": False})
    grant = {"user": "alice", "quota": quota.slug, "amount": 3, "reason": "a lost day"}
    assert send(admin, "POST", "/api/admin/credits/", grant).status_code == 201
    assert send(admin, "PATCH", f"/api/admin/users/{alice.pk}/", {"email": "no address"}).status_code == 400
    assert send(admin, "DELETE", f"/api/admin/users/{alice.pk}/").status_code == 204
    assert send(calling(factories.user("bob")), "DELETE", f"/api/admin/users/{carol.pk}/").status_code == 403
    assert rows("via", "action", "object_type", "user_id", "changed_fields", "reason") == [
        ("api", "change", "accounts.user", alice.pk, "is_active", ""),
        ("api", "add", "quotas.ledgerentry", alice.pk, "", "a lost day"),
        ("api", "delete", "accounts.user", alice.pk, "", ""),
    ]


def test_actions_and_refusals_are_recorded(staff: Client, alice: User) -> None:
    """An action on chosen rows has a row for each; an attempt without the permission is there too."""
    bob = factories.user("bob")
    chosen = {"action": "delete_selected", "_selected_action": [alice.pk, bob.pk]}
    assert staff.post("/admin/accounts/user/", chosen).status_code == 200  # asks whether to go on
    assert not AuditEntry.objects.exists()
    assert staff.post("/admin/accounts/user/", {**chosen, "post": "yes"}).status_code == 302
    limited = Client()
    limited.force_login(staff_with("view_user"))
    assert limited.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    assert rows("action", "object_type", "object_id") == [
        ("delete_selected", "accounts.user", str(alice.pk)),
        ("delete_selected", "accounts.user", str(bob.pk)),
        ("refused", "accounts.user", str(alice.pk)),
    ]


def test_an_action_on_all_rows_says_so(staff: Client, alice: User) -> None:
    """Of an action on all rows that were found, the request names one page at most; both action fields are named."""
    chosen = {"action": ["approve", ""], "select_across": "on", "_selected_action": [alice.pk]}
    assert staff.post("/admin/accounts/user/", {**chosen, "index": "0"}).status_code == 302
    assert staff.post("/admin/accounts/user/", {**chosen, "action": ["approve", "x"]}).status_code == 302
    assert rows("action", "object_id") == [("approve (all)", str(alice.pk)), ("approve x (all)", str(alice.pk))]


def test_each_look_at_a_conversation_is_recorded(staff: Client, alice: User) -> None:
    """Opening one names the conversation and its user, the list is a look too; other pages are none."""
    made = conversation(alice)
    page = f"/admin/chat/conversation/{made.pk}/change/"
    assert "my secret plan" in staff.get(page).content.decode()
    staff.get("/admin/chat/conversation/")
    staff.get(f"/admin/accounts/user/{alice.pk}/change/")
    staff.get("/admin/chat/conversation/999999/change/")
    generation = factories.generation(alice, factories.chat_model(of=factories.quota()), conversation=made)
    # Not a look at the conversation, so it shows no title.
    shown = staff.get(f"/admin/chat/generation/{generation.pk}/change/").content.decode()
    assert (f">{made.pk}<" in shown, "my secret plan" in shown) == (True, False)
    found = [("view", str(made.pk), alice.pk), ("list", "", None)]
    assert rows("action", "object_id", "user_id") == found


@pytest.mark.contract("setting: AUDIT_REASON")
def test_a_reason_is_asked_before_the_text(staff: Client, alice: User, settings: Any) -> None:
    """With AUDIT_REASON the text comes after a reason, which the row keeps; the list shows no titles."""
    settings.AUDIT_REASON = True
    made = conversation(alice)
    page = f"/admin/chat/conversation/{made.pk}/change/"
    assert "my secret plan" not in staff.get("/admin/chat/conversation/").content.decode()
    assert "alice" not in staff.get("/admin/chat/conversation/?q=secret").content.decode()
    assert "alice" in staff.get("/admin/chat/conversation/?q=lic").content.decode()
    for field in ("title", "system_prompt"):
        assert "alice" not in staff.get(f"/admin/chat/conversation/?{field}__startswith=my").content.decode()
    for other in ("delete", "history"):
        assert "my secret plan" not in staff.get(page.replace("change", other)).content.decode()
    asked = staff.get(page).content.decode()
    assert "Why do you open this conversation?" in asked
    assert "my secret plan" not in asked
    assert staff.post(page, {"audit_reason": " "}).status_code == 200
    assert staff.post(page, {"audit_reason": "a complaint"}).headers["Location"] == page
    assert "my secret plan" in staff.get(page).content.decode()
    found = [("list", "", "")] * 3 + [("view", str(made.pk), "a complaint")]
    assert rows("action", "object_id", "reason") == found


def test_auditors_see_the_audit_and_nothing_else(auditor: Client, staff: Client, alice: User) -> None:
    """The group's only permission is this page, which offers no change; staff without it are kept out."""
    made = entry(object_type="accounts.user", object_id=str(alice.pk), user_id=alice.pk)
    index = auditor.get("/admin/").content.decode()
    assert "/admin/accounts/auditentry/" in index
    assert "/admin/accounts/user/" not in index
    assert auditor.get(f"{PAGE}{made.pk}/change/").status_code == 200
    assert auditor.get("/admin/chat/conversation/").status_code == 403
    assert auditor.get("/api/admin/users/").status_code == 403
    other = Client()
    other.force_login(staff_with("view_user"))
    assert other.get(PAGE).status_code == other.get(f"{PAGE}export/").status_code == 403
    for client in (auditor, staff):
        assert client.get(f"{PAGE}add/").status_code == 403
        assert client.post(f"{PAGE}{made.pk}/delete/", {"post": "yes"}).status_code == 403
        assert client.post(f"{PAGE}{made.pk}/change/", {"reason": "x"}).status_code == 403
        client.post(PAGE, {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"})
    assert AuditEntry.objects.filter(pk=made.pk, reason="").exists()


def test_filters_search_and_export(auditor: Client, alice: User) -> None:
    """The list filters and searches, and the file has the rows that the list shows."""
    entry(action="delete", reason="=HYPERLINK(1)")
    entry(action="view", object_type="chat.conversation", object_id="7")
    shown = auditor.get(f"{PAGE}?action=view&q=carol").content.decode()
    assert "chat.conversation 7" in shown
    assert "export/?action=view&amp;q=carol" in shown
    answer = auditor.get(f"{PAGE}export/?action=delete")
    table = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [(row["actor_name"], row["action"], row["reason"]) for row in table] == [
        ("carol", "delete", "'=HYPERLINK(1)")
    ]
    assert rows("actor_name", "action", "object_type")[-1] == ("otto", "export", "accounts.auditentry")


@pytest.mark.server
def test_the_database_keeps_rows_as_they_are(database_url: str) -> None:
    """No statement changes a row or deletes a young one; erasing what it says about a user is possible."""
    changes = ("UPDATE accounts_auditentry SET action = 'x'", "DELETE FROM accounts_auditentry")
    with servers.connected(database_url):
        made = entry(user_id=5, object_id="5", reason="why")
        entry(at=timezone.now() - timedelta(days=31)).delete()
        for change in changes:
            with (
                pytest.raises(DatabaseError, match="audit cannot be changed"),
                transaction.atomic(),
                connections["default"].cursor() as cursor,
            ):
                cursor.execute(change)
        AuditEntry.objects.erase_user(5)
        made.refresh_from_db()
    assert (made.action, made.actor_name, made.user_id, made.object_id, made.reason) == ("view", "carol", None, "", "")


@pytest.mark.contract("setting: AUDIT_RETENTION_DAYS")
def test_old_rows_go(settings: Any) -> None:
    """Rows older than AUDIT_RETENTION_DAYS are deleted, younger ones stay."""
    settings.AUDIT_RETENTION_DAYS = 40
    old, young = (entry(at=timezone.now() - timedelta(days=days)) for days in (41, 39))
    retention.delete_old()
    assert list(AuditEntry.objects.all()) == [young]
    assert old.pk != young.pk


def test_a_deletion_erases_the_user(staff: Client, alice: User) -> None:
    """Who acted and when stays; which user it was goes with the account."""
    staff.get(f"/admin/chat/conversation/{conversation(alice).pk}/change/")
    deletion._clear_admin_log(alice.pk)
    assert rows("actor_name", "action", "object_type", "object_id", "user_id") == [
        ("carol", "view", "chat.conversation", "", None)
    ]


def test_commands_are_recorded_without_values() -> None:
    """A command that changes data has a row with its options; one that only reads settings has none."""
    commands.note(["manage.py", "grant_credits", "--all", "--reason=private", "secret.csv"])
    commands.note(["manage.py", "shell", "-cprint('private')", "-"])
    commands.note(["manage.py", "check"])
    commands.note(["manage.py", "prune", "--help"])
    commands.note(["manage.py"])
    assert rows("via", "action", "changed_fields", "actor_id") == [
        ("command", "grant_credits", "--all --reason", None),
        ("command", "shell", "-c -", None),
    ]
    assert all(row.actor_name for row in AuditEntry.objects.all())


def test_a_command_that_ends_by_exit_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`exit()` in a shell ends it well; an exit with a code is a failure, which stays one."""

    def leave(arguments: list[str]) -> None:
        raise SystemExit(int(arguments[2]))

    monkeypatch.setattr(management, "execute_from_command_line", leave)
    for code in (0, 1):
        monkeypatch.setattr("sys.argv", ["manage.py", "shell", str(code)])
        with pytest.raises(SystemExit) if code else nullcontext():
            runpy.run_path(str(settings.BASE_DIR / "manage.py"), run_name="__main__")
    assert rows("action") == [("shell",)]
