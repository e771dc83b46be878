"""The admin dashboard."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from chat.models import DailyAnswers
from quotas import ledger
from tests import factories
from tests.staff import staff_with

pytestmark = pytest.mark.django_db
URL = "/admin/dashboard/"


def counted(user: Any, model: str, upstream: str, back: int = 0, **values: int) -> None:
    day = ledger.day_of(timezone.now()) - timedelta(days=back)
    DailyAnswers.objects.create(user=user, day=day, model=model, upstream=upstream, **values)


def text(answer: Any) -> str:
    assert answer.status_code == 200
    page = re.sub(r"<(script|svg|title)\b.*?</\1>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.fixture
def staff(client: Client, carol: Any) -> Client:
    client.force_login(carol)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


def test_sums_by_model_and_upstream(staff: Client, alice: Any, bob: Any) -> None:
    """Completions, tokens, charges and failures of all users are summed by model and upstream."""
    counted(alice, "gpt-4", "openai", 1, answers=3, daily_charges=2, credit_charges=1, input_tokens=1000)
    counted(bob, "gpt-4", "openai", 1, answers=1, daily_charges=1, output_tokens=2500)
    counted(bob, "spark", "", failures=2)
    words = text(staff.get(URL))
    assert "Answers 4 Failures 2 Charged to the daily allowance 3 Charged to credits 1" in words
    assert "Tokens read 1,000 Tokens written 2,500" in words
    assert "gpt-4 4 0 3 1 1,000 2,500 spark 0 2 0 0 0 0" in words
    assert "openai 4 0 3 1 1,000 2,500 – 0 2 0 0 0 0" in words
    for heading in ("Answers by model gpt-4 4", "Tokens Written 2,500 Read 1,000", "Failures by model spark 2"):
        assert heading in words


def test_the_administration_opens_with_the_dashboard(staff: Client, client: Client, alice: Any) -> None:
    """The first page of the administration shows the figures to staff who may see them, and to no others."""
    counted(alice, "gpt-4", "openai", 1, answers=3)
    assert "Answers 3" in text(staff.get("/admin/"))
    client.force_login(staff_with())
    assert "Answers 3" not in text(client.get("/admin/"))


def test_nothing_yet(staff: Client) -> None:
    """A new service has a dashboard too."""
    assert "Nothing in this period." in text(staff.get(URL))


def test_thirty_days(staff: Client, alice: Any) -> None:
    """Counts older than 30 days are not shown."""
    counted(alice, "new", "u", 29, answers=1)
    counted(alice, "old", "u", 30, answers=1)
    words = text(staff.get(URL))
    assert "new 1" in words
    assert "old 1" not in words


def test_permissions(client: Client, alice: Any) -> None:
    """Only staff with the permission to view generations see the page and its link."""
    assert client.get(URL).status_code == 302
    for user, status in ((alice, 403), (staff_with("view_user"), 403), (staff_with("view_generation"), 200)):
        client.force_login(user)
        assert client.get(URL, follow=True).status_code == status
        index = client.get("/admin/", follow=True)
        assert (URL in index.content.decode()) == (status == 200)


def test_few_queries(staff: Client, django_assert_max_num_queries: Any) -> None:
    """The counts of any number of users are one query."""
    for _ in range(20):
        counted(factories.user(password=None), "m", "u", answers=1)
    staff.get(URL)  # notes the session's use, once a minute
    with django_assert_max_num_queries(5):
        assert staff.get(URL).status_code == 200
