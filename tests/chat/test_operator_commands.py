"""`manage.py export_usage` and `manage.py prune`."""

import csv
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat.housekeeping import EXPIRED_AT_ONCE
from chat.models import Conversation, DailyAnswers, Message
from runtime import database
from runtime.apps import runtime
from tests import factories

LONG_AGO = timezone.now() - timedelta(days=400)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def used(alice: Any) -> date:
    """Usage of two days, of a model whose name looks like a formula; returns the later day."""
    today = timezone.localdate()
    for day, answers in ((today, 3), (today - timedelta(days=40), 5)):
        DailyAnswers.objects.create(user=alice, day=day, model="=1+1", answers=answers, input_tokens=7)
    return today


def test_usage_is_exported(used: date, tmp_path: Path) -> None:
    """Columns are named, a formula is none, and the days can be chosen."""
    header, row = csv.reader(StringIO(run("export_usage")))
    found = dict(zip(header, row, strict=True))
    assert found["date"] == used.isoformat()
    assert (found["user"], found["model"], found["answers"], found["input_tokens"]) == ("alice", "'=1+1", "3", "7")
    path, earlier = tmp_path / "usage.csv", (used - timedelta(days=40)).isoformat()
    run("export_usage", "--from", earlier, "--to", earlier, "--output", str(path))
    _header, row = csv.reader(StringIO(path.read_text(encoding="utf-8-sig")))
    assert row[0] == earlier
    with pytest.raises(CommandError, match="cannot be written"):
        run("export_usage", "--output", str(path))
    with pytest.raises(CommandError, match="after"):
        run("export_usage", "--from", used.isoformat(), "--to", earlier)


@pytest.mark.django_db(transaction=True)
def test_prune_deletes_all_that_is_due(settings: Any) -> None:
    """Old conversations go with RETENTION_DAYS only; other things, also many, in any case."""
    user = factories.user("alice")
    old = Conversation.objects.create(user=user, title="old", created_at=LONG_AGO)
    Message.objects.create(conversation=old, role="user", content="text", created_at=LONG_AGO)
    Conversation.objects.create(user=user, title="new")
    Conversation.objects.bulk_create(
        Conversation(user=user, title="temporary", temporary=True) for _number in range(2 * EXPIRED_AT_ONCE + 1)
    )
    Conversation.objects.filter(temporary=True).update(updated_at=LONG_AGO)
    Session.objects.create(session_key="expired", session_data="", expire_date=LONG_AGO)
    printed = run("prune")
    assert "RETENTION_DAYS is not set" in printed
    assert f"chat_conversation: {2 * EXPIRED_AT_ONCE + 1} rows deleted" in printed
    assert not Session.objects.exists()
    assert set(Conversation.objects.values_list("title", flat=True)) == {"old", "new"}
    settings.RETENTION_DAYS = 365
    assert "chat_message: 1 rows deleted" in run("prune")
    assert Conversation.objects.get().title == "new"


@pytest.mark.django_db(transaction=True)
def test_prune_ends_while_users_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that come during a pass are no reason for another one."""
    user, passes = factories.user("alice"), []

    async def write() -> None:
        passes.append(len(passes))
        assert len(passes) < 5
        await database.run(Conversation.objects.create, user=user, title="new")

    monkeypatch.setitem(runtime().process.callbacks, "tickets", write)
    run("prune")
    assert passes == [0]
