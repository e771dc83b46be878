"""Batches of redeem codes, single codes and invitations in the admin."""

import csv
from io import StringIO

import pytest
from django.db import transaction
from django.urls import reverse

from accounts import deletion
from quotas import invitations, redeem_codes
from quotas.models import Invitation, RedeemBatch, RedeemCode
from tests import factories
from tests.staff import staff_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def quota():
    return factories.quota("standard")


@pytest.fixture
def admin(client, carol):
    client.force_login(carol)
    return client


def page(table, name="changelist", *arguments):
    return reverse(f"admin:quotas_{table}_{name}", args=arguments)


def order(quota, **changes):
    empty = {"expires_at_0": "", "expires_at_1": ""}
    chosen = changes.pop("quota_", quota.pk)
    return {"quota": chosen, "credits": 5, "count": 3, "note": "for the fair", **empty, **changes}


def act(client, action, *batches):
    return client.post(page("redeembatch"), {"action": action, "_selected_action": [batch.pk for batch in batches]})


@pytest.mark.parametrize("day", ["0001-01-01", "2020-01-01"])
def test_codes_for_the_past_are_a_mistake(day, admin, quota):
    """The form refuses a batch that has expired."""
    answer = admin.post(page("redeembatch", "add"), order(quota, expires_at_0=day, expires_at_1="00:00:00"))
    assert answer.context["adminform"].form.errors["expires_at"]
    assert not RedeemBatch.objects.exists()


def test_a_batch_is_made_and_shown(admin, carol, quota, alice):
    """A batch is made, listed with its redeemed codes, and shows its codes."""
    assert admin.get(page("redeembatch", "add")).status_code == 200
    wanted = order(quota, expires_at_0="2099-12-31", expires_at_1="12:00:00")
    assert admin.post(page("redeembatch", "add"), wanted).status_code == 302
    batch = RedeemBatch.objects.get()
    assert (batch.note, batch.created_by) == ("for the fair", carol)
    codes = list(batch.codes.order_by("id"))
    assert [(code.quota, code.credits, code.expires_at.isoformat()) for code in codes] == [
        (quota, 5, "2099-12-31T04:00:00+00:00")
    ] * 3
    redeem_codes.redeem(alice.pk, codes[0].code)
    (row,) = admin.get(page("redeembatch")).context["cl"].result_list
    assert (row.of_quota, row.worth, row.all_codes, row.used_codes) == ("standard", 5, 3, 1)
    shown = admin.get(page("redeembatch", "change", batch.pk)).content.decode()
    assert all(code.grouped() in shown for code in codes)
    assert "alice" in shown


def test_a_note_can_be_changed(admin, quota):
    """An existing batch has only its note to edit."""
    batch = redeem_codes.make(quota, 5, 2, None, None)[0].batch
    admin.post(page("redeembatch", "change", batch.pk), {"note": "new", "credits": 100, "count": 50})
    batch.refresh_from_db()
    assert (batch.note, batch.codes.count(), batch.codes.first().credits) == ("new", 2, 5)


@pytest.mark.parametrize(
    ("changes", "field"), [({"count": 1_001}, "count"), ({"credits": 0}, "credits"), ({"quota_": ""}, "quota")]
)
def test_wrong_orders(changes, field, admin, quota):
    """Wrong values get an error at their field, and nothing is made."""
    answer = admin.post(page("redeembatch", "add"), order(quota, **changes))
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not RedeemBatch.objects.exists()


def test_export(admin, quota, alice):
    """The list and a batch's page export codes as CSV."""
    (first, second), (third,) = (redeem_codes.make(quota, 5, count, None, None) for count in (2, 1))
    redeem_codes.redeem(alice.pk, second.code)
    answer = act(admin, "export", first.batch, third.batch)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith('attachment; filename="codes-')
    rows = list(csv.DictReader(StringIO(answer.content.decode())))
    assert [row["code"] for row in rows] == [code.grouped() for code in (first, second, third)]
    assert rows[0] == {
        "code": first.grouped(),
        "quota": "standard",
        "credits": "5",
        "expires_at": "",
        "redeemed_at": "",
    }
    assert rows[1]["redeemed_at"].endswith("+08:00")
    one = admin.get(page("redeembatch", "codes", third.batch_id)).content.decode()
    assert len(one.splitlines()) == 2
    assert third.grouped() in one


def test_withdraw(admin, quota, alice):
    """Unused codes can be withdrawn; redeemed codes stay."""
    first, _second = redeem_codes.make(quota, 5, 2, None, None)
    redeem_codes.redeem(alice.pk, first.code)
    act(admin, "withdraw", first.batch)
    assert list(RedeemCode.objects.all()) == [first]
    assert admin.post(page("redeembatch", "delete", first.batch_id), {"post": "yes"}).status_code == 403


def test_a_code_is_found_as_it_was_typed(admin, quota, alice):
    """The search finds codes with or without dashes, in any case, or by redeemer."""
    first, second = redeem_codes.make(quota, 5, 2, None, None)
    redeem_codes.redeem(alice.pk, second.code)
    for typed, found in ((first.grouped().lower(), first), (first.code, first), ("alice", second)):
        answer = admin.get(page("redeemcode"), {"q": typed})
        assert list(answer.context["cl"].result_list) == [found]


def test_codes_are_read_only(admin, quota):
    """A single code cannot be added, changed or deleted."""
    (code,) = redeem_codes.make(quota, 5, 1, None, None)
    assert admin.get(page("redeemcode", "change", code.pk)).status_code == 200
    assert admin.get(page("redeemcode", "add")).status_code == 403
    assert admin.post(page("redeemcode", "change", code.pk), {"credits": 9}).status_code == 403
    assert admin.post(page("redeemcode", "delete", code.pk), {"post": "yes"}).status_code == 403


def test_who_sees_codes(client, quota):
    """Seeing a batch does not show its codes: that takes the permission to view them."""
    (code,) = redeem_codes.make(quota, 5, 1, None, None)
    for rights, seen in ((("view_redeembatch",), False), (("view_redeembatch", "view_redeemcode"), True)):
        client.force_login(staff_with(*rights))
        shown = client.get(page("redeembatch", "change", code.batch_id)).content.decode()
        assert (code.grouped() in shown) is seen
        assert client.get(page("redeembatch", "codes", code.batch_id)).status_code == (200 if seen else 403)
        assert (code.grouped() in act(client, "export", code.batch).content.decode()) is seen


def test_invitations_are_read_only(admin, alice, bob):
    """Invitations can be listed and searched, but not edited."""
    with transaction.atomic():
        invitations.join(alice.pk, bob.pk, earns=True)
    row = Invitation.objects.get()
    for name in ("alice", "bob"):
        assert list(admin.get(page("invitation"), {"q": name}).context["cl"].result_list) == [row]
    assert admin.get(page("invitation", "add")).status_code == 403
    assert admin.post(page("invitation", "change", row.pk), {"status": "credited"}).status_code == 403


def test_users_with_history_can_be_deleted(admin, alice, bob, quota):
    """An admin can delete a user with invitations and codes."""
    with transaction.atomic():
        invitations.join(alice.pk, bob.pk, earns=True)
    (code,) = redeem_codes.make(quota, 5, 1, None, alice.pk)
    redeem_codes.redeem(alice.pk, code.code)
    for user in (bob, alice):
        answer = admin.post(reverse("admin:accounts_user_delete", args=[user.pk]), {"post": "yes"})
        assert answer.status_code == 302
        deletion._delete_account(user.pk)  # as the timer does in a moment
    assert not Invitation.objects.exists()
    assert RedeemCode.objects.get().redeemed_at


def test_lists_are_made_of_few_queries(admin, quota, django_assert_max_num_queries):
    """The number of queries for a list does not grow with its rows."""
    for _ in range(5):
        redeem_codes.make(quota, 5, 3, None, None)
    for table in ("redeembatch", "redeemcode", "invitation"):
        with django_assert_max_num_queries(12):
            assert admin.get(page(table)).status_code == 200
