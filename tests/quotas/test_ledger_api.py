"""GET /api/quotas/ledger/."""

import pytest
from django.db import transaction
from django.test import Client

from accounts import jwt
from quotas import history, ledger
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/api/quotas/ledger/"


@pytest.fixture
def quota():
    return factories.quota("standard", daily_limit=100)


@pytest.fixture
def model(quota):
    return factories.chat_model("glm-4", of=quota)


def client(user):
    return Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"})


def pages(user):
    """Follow `next` to the end; return the pages."""
    url, found = URL, []
    while url:
        answer = client(user).get(url)
        assert answer.status_code == 200
        found.append(answer.json()["results"])
        url = answer.json()["next"]
    return found


@pytest.mark.contract("GET /api/quotas/ledger/")
def test_grants_and_spends_are_listed(alice, quota, model):
    """Grants and spends are listed with their reasons, the newest first."""
    factories.credits_for(alice, quota, 5, "a gift")
    with transaction.atomic():
        ledger.reserve(alice.pk, model.pk, "g1")
        ledger.settle("g1", "stop")
    (rows,) = pages(alice)
    assert [row.pop("created_at")[-6:] for row in rows] == ["+08:00"] * 2
    assert all(row.pop("id") for row in rows)
    assert rows == [
        {"quota": "standard", "amount": -1, "source": "daily", "reason": "stop", "generation": "g1"},
        {"quota": "standard", "amount": 5, "source": "credit", "reason": "a gift", "generation": None},
    ]


def test_nothing_yet(alice):
    """A new account has an empty list and no next page."""
    assert client(alice).get(URL).json() == {"results": [], "next": None}


@pytest.mark.contract("GET /api/quotas/ledger/")
@pytest.mark.parametrize("count", [history.PAGE_SIZE - 1, history.PAGE_SIZE, history.PAGE_SIZE + 1])
def test_page_by_page(count, alice, quota):
    """Following `next` shows each row once, also when new ones come meanwhile."""
    for number in range(count):
        factories.credits_for(alice, quota, 1, f"r{number}")
    reasons = [row["reason"] for page in pages(alice) for row in page]
    assert reasons == [f"r{number}" for number in reversed(range(count))]
    assert len(pages(alice)) == 1 + (count > history.PAGE_SIZE)


def test_new_rows_do_not_shift_pages(alice, quota):
    """A later page begins where the one before it ended."""
    for number in range(history.PAGE_SIZE + 5):
        factories.credits_for(alice, quota, 1, f"r{number}")
    following = client(alice).get(URL).json()["next"]
    factories.credits_for(alice, quota, 1, "late")
    rows = client(alice).get(following).json()["results"]
    assert [row["reason"] for row in rows] == ["r4", "r3", "r2", "r1", "r0"]


def test_others_are_not_shown(alice, bob, quota):
    """No cursor shows another user's ledger; strangers see none."""
    factories.credits_for(alice, quota)
    assert client(bob).get(f"{URL}?cursor={2**62}").json()["results"] == []
    assert Client().get(URL).status_code == 401


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", str(2**63), "9" * 30, "\x00"])
def test_wrong_cursors(cursor, alice):
    """A cursor that is not one of ours is refused by name."""
    answer = client(alice).get(URL, {"cursor": cursor})
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["cursor"])


def test_few_queries(alice, quota, django_assert_num_queries):
    """A page is one query, quotas included."""
    for _ in range(3):
        factories.credits_for(alice, quota, 1)
    with django_assert_num_queries(1):
        rows, _following = history.page(history.entries(alice.pk), None)
        assert [history.shown(row)["quota"] for row in rows] == ["standard"] * 3


def test_reasons_in_words(alice, quota):
    """The product's own reasons are shown in words, an admin's as typed."""
    for reason in ("invited", "inviter", "redeemed", "stop"):
        factories.credits_for(alice, quota, 1, reason)
    rows, _following = history.page(history.entries(alice.pk), None)
    words = [history.words(row) for row in rows]
    assert words[0] == "stop"
    assert not {"invited", "inviter", "redeemed"} & set(words)
