"""RETENTION_DAYS: what is deleted, and what stays."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts.models import ApiToken, TokenDay
from chat import retention
from chat.generations import finish
from chat.generations.finish import End
from chat.models import Conversation, DailyAnswers, Generation, Hit, Message, StorageUse
from providers.models import ChatModel
from quotas.models import CreditBalance, DailyUsage, InviterDay, LedgerEntry, Reservation
from runtime.apps import runtime
from tests import factories

DAYS = 30
NOW = datetime(2026, 11, 22, 15, tzinfo=ZoneInfo("Asia/Shanghai"))
RECENT, OLD = NOW - timedelta(days=DAYS - 1), NOW - timedelta(days=DAYS + 1)


@pytest.fixture
def model(db: None) -> ChatModel:
    """A model with two completions a day."""
    return factories.chat_model("demo", of=factories.quota(daily_limit=2))


def run_a_pass() -> None:
    """Make one pass over all tables."""
    for step in retention.steps(NOW, DAYS):
        last = step(None)
        while last is not None:
            last = step(last)


def conversation(user: Any, title: str, *written: datetime, **values: Any) -> Conversation:
    """Return a conversation with messages of these times."""
    row = Conversation.objects.create(user=user, title=title, **{"created_at": OLD, **values})
    for at in written:
        Message.objects.create(conversation=row, role="user", content="text", created_at=at)
    return row


def test_conversations_go_by_their_last_message(alice: Any) -> None:
    """Without a message for so long they go, with their bytes and shares; pinned ones stay."""
    conversation(alice, "old", OLD, OLD)
    conversation(alice, "old and archived, looked at since", OLD, archived=True, updated_at=NOW)
    conversation(alice, "empty")
    conversation(alice, "new and empty", created_at=RECENT)
    conversation(alice, "in use", OLD, RECENT)
    conversation(alice, "pinned", OLD, pinned=True)
    StorageUse.recount(alice.pk)
    run_a_pass()
    assert set(Conversation.objects.values_list("title", flat=True)) == {"new and empty", "in use", "pinned"}
    counted = StorageUse.objects.get(user=alice).conversations
    StorageUse.recount(alice.pk)
    assert StorageUse.objects.get(user=alice).conversations == counted


def answered(user: Any, model: ChatModel, at: datetime, **values: Any) -> Generation:
    """Return an ended generation whose rows have this time."""
    row = factories.generation(user, model, at, **values)
    texts = {"content": "text", "reasoning": "", "last_event": 1, "upstream": "fake"}
    finish.store(End(row, status="completed", finish_reason="stop", visible=True, **texts))
    Generation.objects.filter(pk=row.pk).update(content="")
    Reservation.objects.filter(pk=row.reservation_id).update(created_at=at)
    Hit.objects.create(user=user, word_id=1, direction="input", generation=row, created_at=at)
    return row


def test_generations_go_with_their_rows_and_balances_stay(alice: Any, model: ChatModel) -> None:
    """Generations, reservations, hits and daily rows go; credits, the ledger and what a message says stay."""
    factories.credits_for(alice, model.quota_link.quota, 5)
    pinned = conversation(alice, "pinned", OLD, pinned=True)
    message = Message.objects.create(conversation=pinned, role="assistant", content="", created_at=OLD)
    token, _secret = ApiToken.issue(alice, "laptop")
    for at in (OLD, OLD, RECENT, RECENT):
        answered(alice, model, at, token_id=token.pk)
    answered(alice, model, OLD, conversation=pinned, message=message)
    for at in (OLD, RECENT):
        InviterDay.objects.create(inviter=alice, day=at.date(), rewarded=1)
    entries, balance = list(LedgerEntry.objects.order_by("id").values()), CreditBalance.objects.get().credits
    assert (len(entries), balance) == (6, 4)
    run_a_pass()
    for rows in (Generation, Reservation, Hit):
        assert {row.created_at for row in rows.objects.all()} == {RECENT}
        assert rows.objects.count() == 2
    for days in (DailyUsage, DailyAnswers, TokenDay, InviterDay):
        assert [row.day for row in days.objects.all()] == [RECENT.date()]
    assert list(LedgerEntry.objects.order_by("id").values()) == entries
    assert CreditBalance.objects.get().credits == balance
    assert Message.objects.get(pk=message.pk).content == "text"


def test_a_day_goes_as_a_whole(alice: Any, model: ChatModel) -> None:
    """A day's units stay the number of its reservations."""
    for hour in (1, 23):
        answered(alice, model, (NOW - timedelta(days=DAYS)).replace(hour=hour))
        answered(alice, model, (NOW - timedelta(days=DAYS + 1)).replace(hour=hour))
    run_a_pass()
    (day,) = DailyUsage.objects.all()
    assert (day.day, day.used) == ((NOW - timedelta(days=DAYS)).date(), 2)
    assert Reservation.objects.count() == 2


def test_an_unexpired_text_keeps_its_generation(alice: Any, model: ChatModel) -> None:
    """A text that counts towards the storage is first expired, so that its bytes are given back."""
    row = answered(alice, model, OLD)
    Generation.objects.filter(pk=row.pk).update(content="text")
    run_a_pass()
    assert Generation.objects.count() == Reservation.objects.count() == 1


def test_a_conversation_that_is_being_answered_stays(alice: Any, model: ChatModel) -> None:
    """A running generation keeps its conversation, itself and its reservation, however old."""
    row = conversation(alice, "answered", OLD)
    running = factories.generation(alice, model, OLD, conversation=row)
    Reservation.objects.update(created_at=OLD)
    run_a_pass()
    assert Conversation.objects.get() == row
    assert Generation.objects.get() == running
    assert Reservation.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.contract("setting: RETENTION_DAYS")
async def test_the_setting_decides(settings: Any) -> None:
    """The serving process deletes by the setting, and nothing where it is unset."""
    assert "retention" in runtime().process.timers
    user = await sync_to_async(factories.user)()
    await sync_to_async(conversation)(user, "old", timezone.now() - timedelta(days=3))
    for days, left in ((0, 1), (4, 1), (2, 0)):
        settings.RETENTION_DAYS = days
        await retention.delete_old()
        assert await Conversation.objects.acount() == left


def test_more_than_one_slice(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is old goes, however many rows lie between."""
    monkeypatch.setattr(retention, "SLICE", 3)
    monkeypatch.setattr(retention, "CONVERSATIONS_AT_ONCE", 2)
    for number in range(20):
        conversation(alice, str(number), OLD if number % 7 else RECENT)
    run_a_pass()
    assert set(Conversation.objects.values_list("title", flat=True)) == {"0", "7", "14"}
