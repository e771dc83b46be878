"""chat/storage.py: the bytes that a user keeps are counted exactly, through every way of storing and deleting."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import housekeeping, sources, storage
from chat.conversations import deletions, transfer
from chat.errors import StorageFull
from chat.generations import finish
from chat.generations.request import GenerationRequest
from chat.models import Conversation, Generation, StorageUse
from tests import factories, servers

EXAMPLES = 500 if os.environ.get("SOAK") else 12
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
NAMES = (
    "ask",
    "ask",
    "ask_unkept",
    "bring_in",
    "regenerate",
    "go_on",
    "cut",
    "instruct",
    "delete",
    "delete_many",
    "expire",
)
STEPS = st.tuples(st.sampled_from(NAMES), TEXTS, TEXTS, st.integers(0, 5))


def counted(user: Any) -> tuple[int, int]:
    row = StorageUse.objects.filter(user=user).first()
    return (row.conversations, row.unkept) if row else (0, 0)


def recounted(user: Any) -> tuple[int, int]:
    StorageUse.recount(user.pk)
    return counted(user)


def imported(texts: list[str]) -> transfer.Imported:
    now = timezone.now().isoformat()
    messages = [
        {
            "id": n,
            "parent": n - 1 if n else None,
            "role": "user",
            "content": text,
            "created_at": now,
            "sources": [{"url": "https://例子.example/", "title": text[:40]}] if len(text) < 100 else [],
        }
        for n, text in enumerate(texts)
    ]
    rows = [{"id": 1, "title": "Taken along", "created_at": now, "updated_at": now, "messages": messages}]
    return transfer.read({"format": "rivulet", "version": 1, "conversations": rows})


class History:
    """The ways in which one user stores and deletes texts."""

    def __init__(self, user: Any, model: str) -> None:
        self.user, self.model, self.admission = user, model, factories.admission()

    def step(self, name: str, first: str, second: str, number: int) -> None:
        getattr(self, name)(first, second, number)

    def ask(self, prompt: str, completion: str, number: int) -> None:
        """Ask in a new conversation or an old one; a third of the completions fail."""
        conversation = self._one(number)
        row = self._started(
            prompt=f"> {prompt}",
            conversation=conversation.pk if conversation and number % 2 else None,
            system_prompt=completion if number % 3 == 0 else None,
        )
        self._end(row, completion, number)

    def ask_unkept(self, prompt: str, completion: str, number: int) -> None:
        self._end(self._started(prompt=f"> {prompt}", kept=False), completion, number)

    def bring_in(self, first: str, second: str, number: int) -> None:
        transfer.store(self.user.pk, imported([first, second] * number))

    def regenerate(self, completion: str, _second: str, number: int) -> None:
        conversation = self._one(number)
        answer = conversation and conversation.messages.filter(role="assistant", parent__isnull=False).first()
        if answer:
            row = self._started(regenerate=answer.pk)
            if number % 2:
                answer.conversation.delete()  # while it runs
            self._end(row, completion, number)

    def go_on(self, completion: str, _second: str, number: int) -> None:
        """Continue a completion that ended early."""
        conversation = self._one(number)
        row = conversation and conversation.generations.filter(message__isnull=False, status="completed").first()
        if row:
            Generation.objects.filter(pk=row.pk).update(finish_reason="length")
            self._end(self._started(continues=row.message_id), completion, number)

    def cut(self, _first: str, _second: str, number: int) -> None:
        """Delete a message and what follows it."""
        conversation = self._one(number)
        messages = list(conversation.messages.order_by("pk")) if conversation else []
        if messages:
            deletions.delete_subtree(self.user.pk, messages[number % len(messages)].pk)

    def instruct(self, text: str, _second: str, number: int) -> None:
        conversation = self._one(number)
        if conversation and conversation.messages.exists():
            self._end(self._started(prompt="x", conversation=conversation.pk, system_prompt=text), "", 1)

    def _started(self, **request: Any) -> Generation:
        return self.admission.start(GenerationRequest(self.user.pk, self.model, **request)).row

    def _end(self, row: Generation, completion: str, number: int) -> None:
        status = Generation.Status.FAILED if number == 5 else Generation.Status.COMPLETED
        error = {"code": "upstream_error"} if number == 5 else None
        cited = (
            sources.encode([{"url": "https://example.org/", "title": completion}]) if number % 2 and completion else ""
        )
        finish.store(finish.End(row, status, completion, completion[:3], 1, "stop", error, bool(completion), cited))

    def _one(self, number: int) -> Conversation | None:
        rows = list(Conversation.objects.owned_by(self.user.pk).order_by("pk"))
        return rows[number % len(rows)] if rows else None

    def delete(self, _first: str, _second: str, number: int) -> None:
        if conversation := self._one(number):
            conversation.delete()

    def delete_many(self, _first: str, _second: str, number: int) -> None:
        Conversation.objects.owned_by(self.user.pk).filter(pk__gt=number * 3).delete()

    def expire(self, _first: str, _second: str, _number: int) -> None:
        Generation.objects.update(finished_at=timezone.now() - timedelta(days=1))
        housekeeping.expire_texts()


@pytest.fixture
def model(database_url: str, django_db_blocker: Any) -> Iterator[str]:
    """A model for prompts, on each database."""
    with django_db_blocker.unblock(), servers.connected(database_url):
        factories.chat_model("plain", of=factories.quota(daily_limit=None), to=factories.upstream())
        yield "plain"


@pytest.mark.soak
def test_random_histories_count_what_is_stored(model: str) -> None:
    """After any history of prompts, completions, imports and deletions the counter equals the recount."""

    @settings(max_examples=EXAMPLES)
    @given(st.lists(STEPS, max_size=12))
    def check(steps: list[tuple[str, str, str, int]]) -> None:
        with transaction.atomic():
            history = History(factories.user(), model)
            for step in steps:
                history.step(*step)
            assert counted(history.user) == recounted(history.user)
            Conversation.objects.owned_by(history.user.pk).delete()
            history.expire("", "", 0)
            assert counted(history.user) == (0, 0)
            transaction.set_rollback(True)

    check()


def bring_in_many(user_id: int, times: int) -> int:
    """Import 100 KiB again and again; return how often that was possible."""
    done = 0
    for _time in range(times):
        try:
            transfer.store(user_id, imported(["x" * (100 * 1024 - 3 * storage.ROW_BYTES)]))
        except StorageFull:
            continue
        done += 1
    return done


def test_concurrent_writers_never_exceed_the_limit(model: str, database_url: str, tmp_path: Any) -> None:
    """Four processes import at the same time: 1 MiB takes ten files of 100 KiB, and the counter stays exact."""
    user = factories.user()
    variables = servers.environment(database_url, tmp_path, STORAGE_MIB_PER_USER="1")
    assert sum(servers.in_processes(bring_in_many, [[user.pk, 8]] * 4, variables)) == 10
    assert Conversation.objects.owned_by(user.pk).count() == 10
    assert counted(user) == recounted(user)


def test_no_limit(model: str, settings: Any) -> None:
    """STORAGE_MIB_PER_USER=0 is no limit."""
    settings.STORAGE_MIB_PER_USER = 0
    assert storage.has_room(factories.user().pk, 2**50)
