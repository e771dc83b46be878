"""Generations without a conversation: their prompt, the lifetime of their text, and callers who leave."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from django.test import RequestFactory, override_settings
from django.utils import timezone

from accounts.models import ApiToken, User
from chat import housekeeping
from chat.apps import chat
from chat.generations.request import GenerationRequest
from chat.models import Conversation, Generation, Message
from chat.openai import classic
from chat.openai.relay import Whole
from providers.apps import providers_app
from providers.errors import ModelUnavailable, Unsupported
from providers.models import ChatModel, Upstream
from providers.wire.base import Delta, Event, Finished, PromptMessage, ToolCallDelta
from quotas.setup import ensure_defaults
from runtime import database
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
TURNS = (PromptMessage("system", "Be brief"), PromptMessage("user", "Hello"))


@pytest.fixture
def asker() -> User:
    """A user who may use the scripted model."""
    user: User = factories.user("alice")
    factories.route(factories.chat_model("demo"), factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return user


@pytest.fixture
async def database_threads() -> AsyncGenerator[None, None]:
    """Close the database threads of this test."""
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the upstream return "ab", and collect its requests."""
    asked: list[Any] = []

    async def answer(self: Any) -> AsyncGenerator[Event, None]:
        asked.append(self)
        yield Delta("ab")
        yield Finished("stop")

    monkeypatch.setattr("providers.routing.Attempts.run", answer)
    return asked


def ask(user: User, **changes: Any) -> GenerationRequest:
    return GenerationRequest(
        user.pk, **{"model": "demo", "prompt": "Hello", "kept": False, "messages": TURNS, **changes}
    )


async def answered(asked: GenerationRequest, relay: Whole | None = None) -> Generation:
    started = await chat().generations.start(asked, relay)
    await chat().generations.wait()
    return await database.run(Generation.objects.get, id=started.row.id)


async def test_no_conversation_is_made(asker: User, database_threads: None, sent: list[Any]) -> None:
    """The prompt is sent unchanged; the text stays with the generation, without a conversation."""
    row = await answered(ask(asker, parameters={"max_tokens": 9_999}, extras={}))
    assert (row.status, row.content, row.conversation_id, row.message_id) == ("completed", "ab", None, None)
    assert row.charge == {"amount": 1, "source": "daily", "reason": "stop"}
    assert (sent[0].messages, sent[0].parameters, sent[0].whole) == (TURNS, {"max_tokens": 9_999}, True)
    assert await database.run(Conversation.objects.count) == await database.run(Message.objects.count) == 0


async def test_the_text_expires(asker: User, database_threads: None, sent: list[Any]) -> None:
    """The text of an ended, unkept generation is deleted after CHANNEL_RETENTION_SECONDS."""
    row = await answered(ask(asker))
    kept = await answered(GenerationRequest(asker.pk, "demo", "Hello"))
    with override_settings(CHANNEL_RETENTION_SECONDS=60):
        await database.run(housekeeping.expire_texts)
        assert (await database.run(Generation.objects.get, id=row.id)).content == "ab"
        await database.run(Generation.objects.update, finished_at=timezone.now() - timedelta(seconds=61))
        await database.run(housekeeping.expire_texts)
    assert (await database.run(Generation.objects.get, id=row.id)).content == ""
    assert (await database.run(Message.objects.get, id=kept.message_id)).content == "ab"


async def test_the_classic_page_needs_no_events(asker: User, database_threads: None, sent: list[Any]) -> None:
    """Without its events a reader gets the stored text; without the text, 204."""
    _token, secret = await database.run(ApiToken.issue, asker, "page")
    row = await answered(ask(asker))
    chat().generations.logs._finished.clear()
    headers = {"Authorization": f"Bearer {secret}", "Last-Event-ID": f"{row.id}:1"}
    request = RequestFactory().get("/api/chatgpt/test", {"message": "Hello"}, headers=headers)
    found: Any = await classic.test(request)
    replayed = b"".join([data async for data in found.events])
    assert (f"id: {row.id}:2\n".encode() in replayed, b'"content":"b"' in replayed, b'"a' in replayed) == (
        True,
        True,
        False,
    )
    with override_settings(CHANNEL_RETENTION_SECONDS=-1):
        await database.run(housekeeping.expire_texts)
    assert (await classic.test(request)).status_code == 204


async def test_configured_caps_fit_the_context(asker: User, database_threads: None, sent: list[Any]) -> None:
    """The model's token limit is lowered to what the prompt leaves."""

    def configure() -> None:
        ChatModel.objects.update(context_tokens=100, parameters={"max_tokens": 500})
        providers_app().configuration.forget()

    await database.run(configure)
    await answered(ask(asker))
    assert 16 < sent[0].parameters["max_tokens"] < 100


async def test_without_a_model(asker: User, database_threads: None, sent: list[Any]) -> None:
    """Without a model the first available one is used; there may be none."""
    assert (await answered(ask(asker, model=""))).model == "demo"
    await database.run(Upstream.objects.update, enabled=False)
    providers_app().configuration.forget()
    with pytest.raises(ModelUnavailable):
        await chat().generations.start(ask(asker, model=""))


async def test_what_no_upstream_takes_is_refused(asker: User, database_threads: None, sent: list[Any]) -> None:
    """Parameters that no upstream of the model supports are refused; nothing is stored."""
    with pytest.raises(Unsupported) as refused:
        await chat().generations.start(ask(asker, extras={"seed": 1, "top_p": 1}))
    assert set(refused.value.details or ()) == {"seed"}
    assert await database.run(Generation.objects.count) == 0


async def test_a_caller_who_has_left_already(asker: User, database_threads: None, sent: list[Any]) -> None:
    """A caller who leaves before the start causes no upstream call and no charge."""
    relay = Whole()
    relay.leave()
    row = await answered(ask(asker, is_api_call=True), relay)
    assert not sent
    assert row.charge is not None
    assert (row.status, row.finish_reason, row.charge["amount"], row.counted) == ("completed", "cancelled", 0, False)


@pytest.mark.contract("a /v1 caller gone")
@pytest.mark.parametrize(("left", "charged"), [("before", 0), ("white", 0), ("text", 1), ("tool", 1)])
async def test_what_leaving_costs(
    left: str, charged: int, asker: User, database_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who leaves pays after the first visible character or tool call."""
    first: dict[str, list[Event]] = {
        "before": [],
        "white": [Delta(" \n")],
        "text": [Delta("a")],
        "tool": [ToolCallDelta('[{"index": 0}]')],
    }
    has_begun = asyncio.Event()

    async def hanging(self: Any) -> AsyncGenerator[Event, None]:
        for event in first[left]:
            yield event
        has_begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("providers.routing.Attempts.run", hanging)
    relay = Whole()
    starting = asyncio.create_task(answered(ask(asker), relay))
    await has_begun.wait()
    relay.leave()
    row = await starting
    assert row.charge is not None
    assert (row.finish_reason, row.charge["amount"]) == ("cancelled", charged)


async def test_calls_of_tools_that_were_not_offered(
    asker: User, database_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the page a tool call shows nothing; a completion of calls alone ends normally and costs nothing."""

    async def calling(self: Any) -> AsyncGenerator[Event, None]:
        yield ToolCallDelta('[{"index": 0}]')
        yield Finished("tool_calls")

    monkeypatch.setattr("providers.routing.Attempts.run", calling)
    started = await chat().generations.start(GenerationRequest(asker.pk, "demo", "Hello"))
    await chat().generations.wait()
    log = chat().generations.readable(started.row)
    assert log
    events = b"".join(iter(log.follow(0, lambda: None).take, b""))
    assert (events.count(b"event: "), b'"finish_reason":"stop"' in events) == (2, True)
    assert b'"amount":0' in events


@pytest.mark.parametrize(("called", "reason", "amount"), [(True, "tool_calls", 1), (False, "stop", 0)])
async def test_an_end_with_tool_calls_needs_some(
    asker: User,
    database_threads: None,
    monkeypatch: pytest.MonkeyPatch,
    called: bool,
    reason: str,
    amount: int,
) -> None:
    """Programs read `tool_calls` as the reason, and pay, only when they got calls."""

    async def calling(self: Any) -> AsyncGenerator[Event, None]:
        if called:
            yield ToolCallDelta('[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]')
        yield Finished("tool_calls")

    monkeypatch.setattr("providers.routing.Attempts.run", calling)
    relay = Whole()
    row = await answered(ask(asker), relay)
    assert row.charge is not None
    assert (relay.body["choices"][0]["finish_reason"], row.charge["amount"]) == (reason, amount)
