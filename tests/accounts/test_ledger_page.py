"""A person's books in the admin, and the form that gives credits."""

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


def books(answer: Any) -> str:
    """Return what the panel says."""
    assert answer.status_code == 200
    panel = answer.content.decode().partition('id="ledger"')[2].partition('class="submit-row"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", panel).split())


def test_the_page_shows_allowance_credits_invitations_and_ledger(
    staff: Client, alice: User, bob: User, quota: Quota
) -> None:
    """A person's page shows allowance, credits, whom they invited, and the ledger."""
    factories.credits_for(alice, quota, 5, "a gift")
    with transaction.atomic():
        invitations.join(alice.pk, bob.pk, earns=True)
        ledger.reserve(alice.pk, quota.models.get().pk, "g1")
        ledger.settle("g1", "stop")
    words = books(staff.get(page(alice)))
    assert "Standard 1 3 5 7" in words
    assert re.search(r"bob \S+ \S+ pending 0", words)
    assert re.search(r"standard -1 daily allowance Answer \S+ \S+ standard \+5 credit a gift", words)


def test_the_newest_rows_are_shown(
    staff: Client, alice: User, quota: Quota, django_assert_max_num_queries: Any
) -> None:
    """However long a ledger is, the page shows the newest fifty rows, in a bounded number of queries."""
    for number in range(MAX_ROWS + 2):
        factories.credits_for(alice, quota, 1, f"r{number};")
    with django_assert_max_num_queries(25):
        words = books(staff.get(page(alice)))
    assert f"r{MAX_ROWS + 1};" in words
    assert "r1;" not in words


def test_new_people_have_no_books(staff: Client) -> None:
    """The form for a new person has no panel."""
    assert 'id="ledger"' not in staff.get("/admin/accounts/user/add/").content.decode()


def test_credits_are_given_with_a_reason(staff: Client, alice: User, carol: User, quota: Quota) -> None:
    """The form gives credits, or takes them back; ledger and history say who did it and why."""
    assert staff.get(form(alice)).status_code == 200
    values = {"quota": quota.pk, "amount": 5, "reason": "for the outage"}
    answer = staff.post(form(alice), values, follow=True)
    assert answer.redirect_chain == [(page(alice), 302)]
    assert "+5 credits: Standard" in answer.content.decode()
    staff.post(form(alice), {**values, "amount": -5, "reason": "a mistake"})
    entries = LedgerEntry.objects.order_by("id").values_list("user", "amount", "source", "reason")
    assert list(entries) == [(alice.pk, 5, "credit", "for the outage"), (alice.pk, -5, "credit", "a mistake")]
    noted = LogEntry.objects.order_by("id").values_list("user", "object_id", "change_message")
    assert list(noted) == [
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
def test_wrong_grants(changes: dict[str, Any], field: str, staff: Client, alice: User, quota: Quota) -> None:
    """What cannot be given is said at its field, and nothing is written."""
    answer = staff.post(form(alice), {"quota": quota.pk, "amount": 5, "reason": "gift", **changes})
    assert (answer.status_code, list(answer.context["form"].errors)) == (200, [field])
    assert not LedgerEntry.objects.exists()


def test_rights(client: Client, alice: User, quota: Quota) -> None:
    """Giving takes the permission to add to the ledger, and seeing the books the one to view it."""
    values = {"quota": quota.pk, "amount": 5, "reason": "gift"}
    for rights, shown, given in (
        (("view_user",), False, 403),
        (("view_user", "view_ledgerentry"), True, 403),
        (("add_ledgerentry",), False, 403),
        (("view_user", "add_ledgerentry"), False, 302),
    ):
        client.force_login(staff_with(*rights))
        assert ('id="ledger"' in client.get(page(alice)).content.decode()) is shown
        assert client.post(form(alice), values).status_code == given
    assert LedgerEntry.objects.count() == 1


def test_nobody_there(staff: Client) -> None:
    """The form of somebody who does not exist is not found."""
    assert staff.get("/admin/accounts/user/999999/credits/").status_code == 404
