"""chat/stats/daily.py: daily counts of generations, and `GET /api/quotas/usage/`."""

from datetime import datetime, timedelta
from importlib import import_module
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import jwt
from chat.generations import finish
from chat.generations.finish import End
from chat.generations.request import GenerationRequest
from chat.models import DailyAnswers, Generation
from chat.stats import daily
from providers.models import ChatModel
from quotas import ledger
from quotas.models import DailyUsage
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/api/quotas/usage/"
COUNTERS = ("answers", "daily_charges", "credit_charges", "failures", "input_tokens", "output_tokens")


@pytest.fixture
def model(db: None) -> ChatModel:
    return factories.chat_model("glm-4", of=factories.quota(daily_limit=2))


def end(row: Generation, **changes: Any) -> Generation:
    values = {"status": "completed", "finish_reason": "stop", "visible": True, "upstream": "fake", **changes}
    tokens = {"input_tokens": 7, "output_tokens": 11}
    return finish.store(End(row, content="text", reasoning="", last_event=1, **{**tokens, **values}))


def answer(user: Any, model: ChatModel, at: datetime | None = None, **changes: Any) -> Generation:
    return end(factories.generation(user, model, at), **changes)


def failed(user: Any, model: ChatModel) -> Generation:
    return answer(user, model, status="failed", finish_reason=None, error={"code": "upstream_error"}, upstream="")


def counted(**where: Any) -> list[tuple[Any, ...]]:
    return list(DailyAnswers.objects.filter(**where).order_by("day", "upstream").values_list("upstream", *COUNTERS))


def usage(user: Any, query: str = "") -> Any:
    return Client(headers={"Authorization": f"Bearer {jwt.issue(user)['access']}"}).get(f"{URL}{query}")


@pytest.mark.contract("GET /api/quotas/usage/")
def test_usage_by_day_and_model(alice: Any, model: ChatModel) -> None:
    """Completions are listed by day and model, with their tokens."""
    for _ in range(2):
        answer(alice, model)
    day = ledger.day_of(timezone.now()).isoformat()
    expected = {"date": day, "model": "glm-4", "answers": 2, "input_tokens": 14, "output_tokens": 22}
    reply = usage(alice)
    assert (reply.status_code, reply.json()) == (200, [expected])


def test_how_they_ended(alice: Any, bob: Any, model: ChatModel) -> None:
    """Charges are counted by source, failures without tokens, an empty completion as free."""
    factories.credits_for(alice, model.quota_link.quota, 1)
    for _ in range(3):
        answer(alice, model)
    failed(bob, model)
    answer(bob, model, visible=False)
    assert counted(user=alice) == [("fake", 3, 2, 1, 0, 21, 33)]
    assert counted(user=bob) == [("", 0, 0, 0, 1, 0, 0), ("fake", 1, 0, 0, 0, 7, 11)]
    assert usage(bob).json() == []


def test_counted_once(alice: Any, model: ChatModel) -> None:
    """Ending a generation a second time counts nothing."""
    row = factories.generation(alice, model)
    for _ in range(2):
        end(Generation.objects.get(pk=row.pk))
    assert counted() == [("fake", 1, 1, 0, 0, 7, 11)]


def test_undone_with_the_end(alice: Any, model: ChatModel) -> None:
    """An end that is rolled back is not counted."""
    with transaction.atomic():
        answer(alice, model)
        transaction.set_rollback(True)
    assert counted() == []


def test_the_day_it_began(alice: Any, model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion counts on the day in TIME_ZONE on which it began."""
    midnight = datetime(2026, 11, 22, tzinfo=ZoneInfo("Asia/Shanghai"))
    late = factories.generation(alice, model, midnight - timedelta(seconds=1))
    monkeypatch.setattr(timezone, "now", lambda: midnight + timedelta(seconds=1))
    end(late)
    answer(alice, model, midnight)
    assert [row["date"] for row in usage(alice).json()] == ["2026-11-21", "2026-11-22"]
    assert [row["date"] for row in usage(alice, "?days=1").json()] == ["2026-11-22"]
    assert [day.day for day in daily.last_days(3)] == [20, 21, 22]


def test_others_are_not_shown(alice: Any, bob: Any, model: ChatModel) -> None:
    """Users see only their own completions; anonymous callers see none."""
    answer(alice, model)
    assert usage(bob).json() == []
    assert Client().get(URL).status_code == 401


@pytest.mark.parametrize("days", ["0", "-1", "367", "x", "1.5", "９", "9" * 400])
def test_wrong_days(days: str, alice: Any) -> None:
    """`days` must be a number up to a year; other values are refused by name."""
    reply = usage(alice, f"?days={days}")
    assert (reply.status_code, list(reply.json()["error"]["details"])) == (400, ["days"])


def test_generations_are_not_read(alice: Any, model: ChatModel) -> None:
    """Reading the counts is one query that reads no generation."""
    answer(alice, model)
    for look in (lambda: daily.by_model(alice.pk, 30), lambda: daily.of_all_users(30)):
        with CaptureQueriesContext(connection) as context:
            assert len(look()) == 1
        (query,) = context.captured_queries
        assert "chat_generation" not in query["sql"]


def test_few_statements(alice: Any, model: ChatModel) -> None:
    """Ending a generation takes four ledger statements on SQLite, one update, and two that count it and its text."""
    answer(alice, model)  # what is cached is read now
    row = factories.generation(alice, model)
    with CaptureQueriesContext(connection) as context:
        end(row)
    statements = [query["sql"] for query in context.captured_queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 7


def test_a_deleted_user_is_not_counted(alice: Any, model: ChatModel) -> None:
    """Deleting a user deletes their counts."""
    answer(alice, model)
    alice.delete()
    assert daily.of_all_users(30) == []


def test_the_migration_counts_earlier_generations(alice: Any, bob: Any, model: ChatModel) -> None:
    """The migration counts earlier generations as if they had ended today."""
    factories.credits_for(alice, model.quota_link.quota, 1)
    for _ in range(3):
        answer(alice, model)
    failed(bob, model)
    answer(bob, model, visible=False)
    factories.generation(bob, model)
    before = list(DailyAnswers.objects.order_by("user", "upstream").values_list("user", "day", "model", *COUNTERS))
    DailyAnswers.objects.all().delete()
    import_module("chat.migrations.0005_fill_daily_answers").fill(apps, None)
    after = list(DailyAnswers.objects.order_by("user", "upstream").values_list("user", "day", "model", *COUNTERS))
    assert after == before


def test_the_day_of_the_reservation(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completion counts on the day of its reservation, even across midnight."""
    quota = factories.quota(daily_limit=2)
    factories.chat_model("glm-4", of=quota, to=factories.upstream())
    midnight = datetime(2030, 1, 2, tzinfo=ZoneInfo("Asia/Shanghai"))
    times = (midnight + timedelta(milliseconds=10 * step - 100) for step in count())
    monkeypatch.setattr(timezone, "now", lambda: next(times))
    started = factories.admission().start(GenerationRequest(alice.pk, "glm-4", "Hello"))
    for _step in range(20):
        next(times)
    end(started.row)
    (taken,) = DailyUsage.objects.all()
    assert list(DailyAnswers.objects.values_list("day", flat=True)) == [taken.day]
