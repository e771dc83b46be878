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


def refusal(response: Any) -> tuple[int, str, str]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


@pytest.mark.contract("POST /api/redeem/")
def test_a_code_brings_its_credits(alice: User, bearer: Any, quota: Quota) -> None:
    """A code adds its credits, and the response names quota and number."""
    response = post(bearer(alice), code(quota).lower().replace("-", " "))
    assert (response.status_code, response.json()) == (200, {"quota": "standard", "credits": 5})
    assert ledger.state(alice.pk, quota.pk)["credits"] == 5


@pytest.mark.contract("refusal: invalid_code")
def test_all_invalid_codes_get_the_same_response(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """Used, expired and unknown codes get the same response."""
    used, expired = code(quota), code(quota, expires_at=timezone.now() - timedelta(days=1))
    post(bearer(bob), used)
    refused = {refusal(post(bearer(alice), typed)) for typed in (used, expired, "0" * 20, "x", "码")}
    assert {row[:2] for row in refused} == {(400, "invalid_code")}
    assert len(refused) == 1


@pytest.mark.parametrize("typed", ["", None, "\x00", [], "x" * 101])
def test_a_body_without_a_code_is_not_a_failure(typed: Any, alice: User, bearer: Any) -> None:
    """A body without a code is invalid, and does not count as a failed attempt."""
    assert refusal(post(bearer(alice), typed))[:2] == (400, "invalid_request")


@pytest.mark.contract("POST /api/redeem/")
def test_only_failures_are_counted(alice: User, bearer: Any, quota: Quota, settings: Any) -> None:
    """Valid codes are not limited; after too many invalid ones a valid one has to wait."""
    settings.ACCOUNT_RATE_LIMITS = {"redeem_failed": "3/5m/user"}
    client = bearer(alice)
    assert {post(client, code(quota)).status_code for _ in range(10)} == {200}
    assert [post(client, "no").status_code for _ in range(3)] == [400] * 3
    good = code(quota)
    response = post(client, good)
    assert refusal(response)[:2] == (429, "too_many_requests")
    assert 200 <= int(response["Retry-After"]) <= 300
    assert ledger.state(alice.pk, quota.pk)["credits"] == 50


def test_failures_count_per_user(alice: User, bob: User, bearer: Any, quota: Quota) -> None:
    """The failures of one user do not limit another."""
    client = bearer(alice)
    assert [post(client, "no").status_code for _ in range(12)] == [400] * 10 + [429] * 2
    assert post(bearer(bob), code(quota)).status_code == 200


def test_failures_count_per_address_too(alice: User, bob: User, bearer: Any, settings: Any) -> None:
    """Failures of all accounts behind one IP address are limited together."""
    settings.ACCOUNT_RATE_LIMITS = {"redeem_failed": "100/5m/user,2/m/ip"}
    assert [post(bearer(user), "no").status_code for user in (alice, bob, alice)] == [400, 400, 429]


def test_anonymous_clients_are_refused(quota: Quota) -> None:
    """A client without credentials gets 401."""
    assert post(Client(), code(quota)).status_code == 401
