"""Attachments are read for the prompts that nothing else refuses, and one prompt of a user at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chat.apps import chat
from chat.attachments import prompts, store
from chat.attachments.decoder.results import Decoded
from chat.generations.request import GenerationRequest, Started
from chat.models import Generation
from chat.screening.models import SensitiveWord
from providers.wire.base import Delta, Event, Finished
from runtime import database
from tests import factories
from web.refusals import TooManyRequests

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[list[int]]:
    """The users whose attachments are read; one completion may run, and it waits for its stop."""
    settings.MAX_ACTIVE_GENERATIONS = 1
    found: list[int] = []
    read = prompts.texts_of

    def noted(user_id: int, ids: tuple[int, ...]) -> list[str]:
        found.append(user_id)
        return read(user_id, ids)

    async def waiting(_self: object) -> AsyncIterator[Event]:
        yield Delta("Hi")
        await asyncio.sleep(60)
        yield Finished("stop")

    monkeypatch.setattr(prompts, "texts_of", noted)
    monkeypatch.setattr("providers.routing.Attempts.run", waiting)
    yield found
    database.close()


async def start_all(requests: list[GenerationRequest]) -> list[Started | BaseException]:
    """Start them at once, and stop those that run."""
    generations = chat().generations
    found = await asyncio.gather(*map(generations.start, requests), return_exceptions=True)
    for each in found:
        if isinstance(each, Started):
            await generations.stop(each.row)
    await generations.wait()
    return found


@pytest.mark.parametrize("listed", [True, False], ids=["with words", "without words"])
def test_limits_hold_before_texts_are_read(reads: list[int], alice: Any, listed: bool) -> None:
    """Of many at once, the limit refuses all but one unread; a known key and an empty list read nothing."""
    factories.chat_model("demo", of=factories.quota("standard", daily_limit=10), to=factories.upstream())
    if listed:
        SensitiveWord.objects.create(word="attachmentforbidden", action="block", scope="both")
    attached = store.save(alice.pk, "a.txt", Decoded("text", "text/plain", b"Some notes"))
    first, *others = (
        GenerationRequest(alice.pk, "demo", "Read", attachments=(attached.pk,), idempotency_key=key)
        for key in ("same", "same", "b", "c", "d")
    )
    found = asyncio.run(start_all([first, *others]))
    started = [each.row.id for each in found if isinstance(each, Started)]
    assert started == [Generation.objects.get().id] * 2
    assert [type(each) for each in found[2:]] == [TooManyRequests] * 3
    assert reads == [alice.pk] * listed
