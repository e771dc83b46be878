"""The ledger on a user's admin page, and the form that grants credits."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.test import Client

from accounts.ledger_page import MAX_ROWS
from accounts.models import User
from quotas import invitations, ledger
from quotas.models import LedgerEntry, Quota
from tests import factories
from tests.staff import staff_with

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def quota(db: None) -> Quota:
    return factories.quota("standard", title="Standard", daily_limit=3, models=[factories.chat_model("glm-4")])


@pytest.fixture
def staff(client: Client, carol: User) -> Client:
    client.force_login(carol)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def page(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/change/"


def form(user: User) -> str:
    return f"/admin/accounts/user/{user.pk}/credits/"


def panel_text(response: Any) -> str:
    """Return the text of the ledger panel."""
    assert response.status_code == 200
    panel = response.content.decode().partition('id="ledger"')[2].partition('class="submit-row"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", panel).split())


def test_the_page_shows_allowance_credits_invitations_and_ledger(
    staff: Client, alice: User, bob: User, quota: Quota
) -> None:
    """The page of a user shows allowance, credits, invitations and the ledger."""
    factories.credits_for(alice, quota, 5, "a gift")
    with transaction.atomic():
        invitations.join(alice.pk, bob.pk, earns=True)
        ledger.reserve(alice.pk, quota.models.get().pk, "g1")
        ledger.settle("g1", "stop")
    text = panel_text(staff.get(page(alice)))
    assert "Standard 1 3 5 7" in text
    assert re.search(r"bob \S+ \S+ pending 0", text)
    assert re.search(r"standard -1 daily allowance Completion \S+ \S+ standard \+5 credit a gift", text)


def test_only_the_newest_entries_are_shown(
    staff: Client, alice: User, quota: Quota, django_assert_max_num_queries: Any
) -> None:
    """The page shows the newest fifty entries, with a bounded number of queries."""
    for number in range(MAX_ROWS + 2):
        factories.credits_for(alice, quota, 1, f"r{number};")
    with django_assert_max_num_queries(25):
        text = panel_text(staff.get(page(alice)))
    assert f"r{MAX_ROWS + 1};" in text
    assert "r1;" not in text


def test_the_form_for_a_new_account_has_no_ledger(staff: Client) -> None:
    """The form for a new account has no ledger panel."""
    assert 'id="ledger"' not in staff.get("/admin/accounts/user/add/").content.decode()


def test_credits_are_given_with_a_reason(staff: Client, alice: User, carol: User, quota: Quota) -> None:
    """The form grants credits or takes them back; ledger and history name actor and reason."""
    assert staff.get(form(alice)).status_code == 200
    values = {"quota": quota.pk, "amount": 5, "reason": "for the outage"}
    response = staff.post(form(alice), values, follow=True)
    assert response.redirect_chain == [(page(alice), 302)]
    assert "+5 credits: Standard" in response.content.decode()
    staff.post(form(alice), {**values, "amount": -5, "reason": "a mistake"})
    entries = LedgerEntry.objects.order_by("id").values_list("user", "amount", "source", "reason")
    assert list(entries) == [(alice.pk, 5, "credit", "for the outage"), (alice.pk, -5, "credit", "a mistake")]
    history = LogEntry.objects.order_by("id").values_list("user", "object_id", "change_message")
    assert list(history) == [
        (carol.pk, str(alice.pk), "+5 credits: Standard (for the outage)"),
        (carol.pk, str(alice.pk), "-5 credits: Standard (a mistake)"),
    ]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": 0}, "amount"),
        ({"amount": 2**31}, "amount"),
        ({"amount": "many"}, "amount"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"quota": 0}, "quota"),
    ],
)
def test_invalid_grants_are_form_errors(
    changes: dict[str, Any], field: str, staff: Client, alice: User, quota: Quota
) -> None:
    """An invalid grant is an error of its field, and nothing is stored."""
    response = staff.post(form(alice), {"quota": quota.pk, "amount": 5, "reason": "gift", **changes})
    assert (response.status_code, list(response.context["form"].errors)) == (200, [field])
    assert not LedgerEntry.objects.exists()


def test_permissions_decide_who_grants_and_who_reads(client: Client, alice: User, quota: Quota) -> None:
    """Granting needs the permission to add ledger entries, reading the one to view them."""
    values = {"quota": quota.pk, "amount": 5, "reason": "gift"}
    for rights, visible, status in (
        (("view_user",), False, 403),
        (("view_user", "view_ledgerentry"), True, 403),
        (("add_ledgerentry",), False, 403),
        (("view_user", "add_ledgerentry"), False, 302),
    ):
        client.force_login(staff_with(*rights))
        assert ('id="ledger"' in client.get(page(alice)).content.decode()) is visible
        assert client.post(form(alice), values).status_code == status
    assert LedgerEntry.objects.count() == 1


def test_the_form_of_an_unknown_user_is_404(staff: Client) -> None:
    """The form of a user who does not exist is not found."""
    assert staff.get("/admin/accounts/user/999999/credits/").status_code == 404
