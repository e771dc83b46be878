"""POST /api/redeem/."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from quotas import ledger, redeem_codes
from quotas.models import Quota
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/api/redeem/"


@pytest.fixture
def quota(db: None) -> Quota:
    return factories.quota("standard", models=[factories.chat_model("glm")])


def code(quota: Quota, **changes: Any) -> str:
    values = {"credit": 5, "count": 1, "expires_at": None, "made_by": None, **changes}
    return redeem_codes.make(quota, **values)[0].grouped()


def post(client: Client, typed: Any) -> Any:
    return client.post(URL, {"code": typed}, "application/json")


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@pytest.mark.contract("POST /api/redeem/")
def test_a_code_brings_its_credits(alice: User, bearer: Any, quota: Quota) -> None:
    """A code brings its credits, and the answer says how many of which quota."""
    answer = post(bearer(alice), code(quota).lower().replace("-", " "))
    assert (answer.status_code, answer.json()) == (200, {"quota": "standard", "credits": 5})
    assert ledger.state(alice.pk, quota.pk)["credits"] == 5


@pytest.mark.contract("refusal: invalid_code")
def test_one_answer_for_all_that_is_wrong(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """Used, expired and unknown codes are refused in the very same way."""
    used, expired = code(quota), code(quota, expires_at=timezone.now() - timedelta(days=1))
    post(bearer(bob), used)
    refused = {refusal(post(bearer(alice), typed)) for typed in (used, expired, "0" * 20, "x", "码")}
    assert {row[:2] for row in refused} == {(400, "invalid_code")}
    assert len(refused) == 1


@pytest.mark.parametrize("typed", ["", None, "\x00", [], "x" * 101])
def test_what_is_no_text_is_named(typed: Any, alice: User, bearer: Any) -> None:
    """A body that has no code is wrong; it counts as no failure."""
    assert refusal(post(bearer(alice), typed))[:2] == (400, "invalid_request")


@pytest.mark.contract("POST /api/redeem/")
def test_only_failures_are_counted(alice: User, bearer: Any, quota: Quota, settings: Any) -> None:
    """Good codes can be redeemed without end; after too many bad ones even a good one has to wait."""
    settings.ACCOUNT_RATE_LIMITS = {"redeem_failed": "3/5m/user"}
    client = bearer(alice)
    assert {post(client, code(quota)).status_code for _ in range(10)} == {200}
    assert [post(client, "no").status_code for _ in range(3)] == [400] * 3
    good = code(quota)
    answer = post(client, good)
    assert refusal(answer)[:2] == (429, "too_many_requests")
    assert 290 <= int(answer["Retry-After"]) <= 300
    assert ledger.state(alice.pk, quota.pk)["credits"] == 50


def test_one_person_does_not_lock_out_another(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """A person's failures are their own, as the limits are by default."""
    client = bearer(alice)
    assert [post(client, "no").status_code for _ in range(12)] == [400] * 10 + [429] * 2
    assert post(bearer(bob), code(quota)).status_code == 200


def test_an_address_is_limited_too(alice: User, bob: User, bearer: Any, settings: Any) -> None:
    """Many accounts behind one address guess together."""
    settings.ACCOUNT_RATE_LIMITS = {"redeem_failed": "100/5m/user,2/m/ip"}
    assert [post(bearer(who), "no").status_code for who in (alice, bob, alice)] == [400, 400, 429]


def test_strangers_are_refused(quota: Quota) -> None:
    """Credits need somebody to have them."""
    assert post(Client(), code(quota)).status_code == 401
