"""/api/admin/quotas/, /api/admin/redeem-codes/ and /api/admin/credits/."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.utils import timezone

from quotas import ledger, redeem_codes
from quotas.errors import InvalidCode
from quotas.models import LedgerEntry, Quota, RedeemCode
from tests import factories
from tests.quotas import consistency
from tests.staff import calling, send, staff_with

pytestmark = pytest.mark.django_db

QUOTAS, CODES, CREDITS = (f"/api/admin/{name}/" for name in ("quotas", "redeem-codes", "credits"))
ORDER = {"quota": "standard", "credits": 5, "count": 3}


@pytest.fixture
def quota():
    return factories.quota("standard", models=[factories.chat_model("glm-4")])


def post(user, path, body):
    return send(calling(user), "POST", path, body)


def refused(answer):
    error = answer.json()["error"]
    return answer.status_code, error["code"], sorted(error.get("details", {}))


@pytest.mark.contract("staff: quotas")
def test_a_quota_is_made_changed_and_deleted(carol, alice):
    """A quota is made with its models, listed, changed and deleted."""
    client, model = calling(carol), factories.chat_model("glm-4")
    body = {"slug": "standard", "title": "Standard", "models": ["glm-4"], "daily_limit": 3}
    made = post(carol, QUOTAS, {**body, "inviter_credits": 10})
    assert made.status_code == 201
    row = made.json()
    assert row == {"id": row["id"], **body, "inviter_credits": 10, "invitee_credits": 0}
    assert client.get(QUOTAS).json() == [row]
    changed = send(client, "PATCH", f"{QUOTAS}{row['id']}/", {"daily_limit": None})
    assert (changed.status_code, changed.json()) == (200, {**row, "daily_limit": None})
    assert ledger.state(alice.pk, row["id"])["remaining"] is None
    assert ledger.quota_slugs() == {model.pk: "standard"}
    assert client.delete(f"{QUOTAS}{row['id']}/").status_code == 204
    assert not Quota.objects.exists()


@pytest.mark.contract("staff changes within five seconds")
def test_changes_are_felt_at_once(carol, alice, quota):
    """Callers see a change of a quota with their next request."""
    client = calling(alice)
    assert client.get("/api/quotas/").json()[0]["daily_limit"] == 50
    send(calling(carol), "PATCH", f"{QUOTAS}{quota.pk}/", {"daily_limit": 7, "title": "New"})
    (shown,) = client.get("/api/quotas/").json()
    assert (shown["daily_limit"], shown["title"], shown["remaining"]) == (7, "New", 7)


def test_models_move(carol, quota):
    """A model named in another quota leaves its earlier one."""
    factories.chat_model("spark")
    client = calling(carol)
    row = post(carol, QUOTAS, {"slug": "premium", "title": "P", "models": ["spark", "glm-4"]}).json()
    assert row["models"] == ["glm-4", "spark"]
    assert client.get(f"{QUOTAS}{quota.pk}/").json()["models"] == []
    changed = send(client, "PATCH", f"{QUOTAS}{row['id']}/", {"models": ["spark"]})
    assert changed.json()["models"] == ["spark"]
    assert client.get(f"{QUOTAS}{row['id']}/").json()["models"] == ["spark"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"daily_limit": -1}, "daily_limit"),
        ({"daily_limit": 2**31}, "daily_limit"),
        ({"daily_limit": "many"}, "daily_limit"),
        ({"slug": "not a slug"}, "slug"),
        ({"models": ["unheard-of"]}, "models"),
        ({"models": "glm-4"}, "models"),
        ({"models": ["a\0"]}, "models"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_quotas(changes, field, carol, quota):
    """Wrong values are refused by name, and nothing changes."""
    answer = send(calling(carol), "PATCH", f"{QUOTAS}{quota.pk}/", changes)
    assert refused(answer) == (400, "invalid_request", [field])
    assert list(quota.models.values_list("slug", flat=True)) == ["glm-4"]


def test_a_used_quota_stays(carol, alice, quota):
    """A quota with ledger rows cannot be deleted."""
    factories.credits_for(alice, quota)
    answer = calling(carol).delete(f"{QUOTAS}{quota.pk}/")
    assert refused(answer)[:2] == (409, "conflict")


@pytest.mark.contract("staff: redeem-codes")
def test_codes(carol, alice, quota):
    """A new batch returns its codes; each is listed and can be redeemed."""
    until = (timezone.localtime() + timedelta(days=1)).isoformat()
    answer = post(carol, CODES, {**ORDER, "expires_at": until})
    assert (answer.status_code, list(answer.json())) == (201, ["codes"])
    codes = answer.json()["codes"]
    assert len(set(codes)) == 3
    rows = calling(carol).get(CODES).json()
    assert [row["code"] for row in rows] == codes
    (batch,) = {row["batch"] for row in rows}
    assert rows[0] == {
        "id": RedeemCode.objects.first().pk,
        "batch": batch,
        "code": codes[0],
        "quota": "standard",
        "credits": 5,
        "expires_at": until,
        "redeemed_by": None,
        "redeemed_at": None,
    }
    redeem_codes.redeem(alice.pk, codes[1])
    row = calling(carol).get(f"{CODES}{rows[1]['id']}/").json()
    assert (row["redeemed_by"], row["redeemed_at"] is None) == ("alice", False)
    post(carol, CODES, {**ORDER, "count": 1})
    assert len(calling(carol).get(CODES, {"batch": batch}).json()) == 3
    assert LogEntry.objects.filter(user=carol).count() == 2


@pytest.mark.contract("staff: redeem-codes")
def test_unused_codes_can_be_changed(carol, alice, quota):
    """An unused code can be changed or deleted."""
    client, (code, other) = calling(carol), redeem_codes.make(quota, 5, 2, None, None)
    answer = send(client, "PATCH", f"{CODES}{code.pk}/", {"credits": 9, "code": "X", "redeemed_by": "alice"})
    assert (answer.status_code, answer.json()["credits"], answer.json()["code"]) == (200, 9, code.grouped())
    assert redeem_codes.redeem(alice.pk, code.code).credits == 9
    past = (timezone.now() - timedelta(seconds=1)).isoformat()
    assert send(client, "PATCH", f"{CODES}{other.pk}/", {"expires_at": past}).status_code == 200
    with pytest.raises(InvalidCode):
        redeem_codes.redeem(alice.pk, other.code)
    assert client.delete(f"{CODES}{other.pk}/").status_code == 204


def test_redeemed_codes_stay(carol, alice, quota):
    """A redeemed code can be neither changed nor deleted."""
    (code,) = redeem_codes.make(quota, 5, 1, None, None)
    redeem_codes.redeem(alice.pk, code.code)
    for method, body in (("PATCH", {"credits": 9}), ("DELETE", None)):
        answer = send(calling(carol), method, f"{CODES}{code.pk}/", body)
        assert refused(answer)[:2] == (409, "conflict")
    assert RedeemCode.objects.get().credits == 5


def test_codes_of_one_batch_only(carol, quota):
    """A wrong batch number is refused, because it would list all codes."""
    post(carol, CODES, ORDER)
    assert calling(carol).get(CODES, {"batch": "999999"}).json() == []
    for batch in ("x", "", "9" * 19, "\0", "٣"):
        assert refused(calling(carol).get(CODES, {"batch": batch})) == (400, "invalid_request", ["batch"])


def test_a_moment_that_no_database_has(carol, quota):
    """An expiry of another century, or beyond UTC's days, is refused by name."""
    (code,) = redeem_codes.make(quota, 5, 1, None, None)
    for moment in (
        "0001-01-01T00:00:00",
        "0026-12-25T15:02:50+02:29",
        "1900-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:00",
    ):
        answer = send(calling(carol), "PATCH", f"{CODES}{code.pk}/", {"expires_at": moment})
        assert refused(answer) == (400, "invalid_request", ["expires_at"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 1_001}, "count"),
        ({"credits": 0}, "credits"),
        ({"credits": -5}, "credits"),
        ({"credits": 1_000_001}, "credits"),
        ({"quota": "unheard-of"}, "quota"),
        ({"quota": 5}, "quota"),
        ({"quota": "a\0"}, "quota"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00"}, "expires_at"),
        ({"code": "MINE"}, "code"),
    ],
)
def test_wrong_batches(changes, field, carol, quota):
    """Wrong values are refused by name, and nothing is made."""
    assert refused(post(carol, CODES, {**ORDER, **changes})) == (400, "invalid_request", [field])
    assert not RedeemCode.objects.exists()


@pytest.mark.contract("staff: credits")
def test_credits(carol, alice, quota):
    """Credits are given with a reason, and taken back down to zero."""
    given = post(carol, CREDITS, {"user": "alice", "quota": "standard", "amount": 5, "reason": "for the outage"})
    assert given.status_code == 201
    row = given.json()
    assert row.pop("created_at")
    entry = LedgerEntry.objects.get()
    assert row == {"id": entry.pk, "user": "alice", "quota": "standard", "amount": 5, "reason": "for the outage"}
    assert (entry.user, entry.amount, entry.source, entry.reason) == (alice, 5, "credit", "for the outage")
    taken = {"user": "alice", "quota": "standard", "amount": -6, "reason": "a mistake"}
    assert refused(post(carol, CREDITS, taken)) == (400, "invalid_request", ["amount"])
    assert post(carol, CREDITS, {**taken, "amount": -5}).json()["amount"] == -5
    assert ledger.state(alice.pk, quota.pk)["credits"] == 0
    consistency.check(alice.pk, quota.pk)
    assert list(LogEntry.objects.values_list("user", flat=True)) == [carol.pk] * 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 2**31}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"user": "unheard-of"}, "user"),
        ({"user": 5}, "user"),
        ({"user": "a\0"}, "user"),
        ({"quota": "unheard-of"}, "quota"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"source": "daily"}, "source"),
    ],
)
def test_wrong_credits(changes, field, carol, alice, quota):
    """Wrong values are refused by name, and the ledger has no row."""
    factories.user("5", password=None)
    body = {"user": "alice", "quota": "standard", "amount": 5, "reason": "gift", **changes}
    assert refused(post(carol, CREDITS, body)) == (400, "invalid_request", [field])
    assert not LedgerEntry.objects.exists()


@pytest.mark.contract("staff: credits")
def test_grants_are_listed(carol, alice, bob, quota):
    """Grants are listed, newest first, of all users or one; spends are not."""
    for user, reason in ((alice, "first"), (bob, "second")):
        factories.credits_for(user, quota, 1, reason)
    ledger.reserve(alice.pk, quota.models.get().pk, "g1")
    ledger.settle("g1", "stop")
    client = calling(carol)
    assert [row["reason"] for row in client.get(CREDITS).json()] == ["second", "first"]
    (row,) = client.get(CREDITS, {"user": "alice"}).json()
    assert client.get(f"{CREDITS}{row['id']}/").json() == row


def test_the_ledger_is_only_added_to(carol, alice, quota):
    """No route changes or deletes a row of the ledger."""
    factories.credits_for(alice, quota, 1)
    path = f"{CREDITS}{LedgerEntry.objects.get().pk}/"
    answers = [send(calling(carol), "PATCH", path, {"amount": 100}), calling(carol).delete(path)]
    assert [answer.status_code for answer in answers] == [405, 405]
    assert LedgerEntry.objects.get().amount == 1


@pytest.mark.parametrize(("path", "name"), [(QUOTAS, "quota"), (CODES, "redeemcode"), (CREDITS, "ledgerentry")])
def test_rights(path, name, alice, quota):
    """Each list wants its own permission, from staff."""
    assert calling(alice).get(path).status_code == 403
    assert calling(staff_with("view_user")).get(path).status_code == 403
    assert calling(staff_with(f"view_{name}")).get(path).status_code == 200
    assert post(staff_with(f"view_{name}"), path, {}).status_code == 403
    assert post(staff_with(f"add_{name}"), path, {}).status_code == 400


def test_few_queries(carol, quota, django_assert_max_num_queries):
    """Lists are made of a bounded number of queries."""
    redeem_codes.make(quota, 5, 20, None, carol.pk)
    for number in range(5):
        factories.quota(f"q{number}", models=[factories.chat_model()])
        factories.credits_for(carol, quota, 1)
    client = calling(carol)
    bounds = 2 if connection.vendor == "postgresql" else 0  # setting and resetting the statement time-out
    for path in (QUOTAS, CODES, CREDITS):
        with django_assert_max_num_queries(4 + bounds):
            assert client.get(path).status_code == 200
