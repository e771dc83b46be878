"""The moderation service: what it finds, what holds while it fails, and that no prompt goes around it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from django.utils import timezone, translation

from accounts.models import User
from chat.errors import NotModerated, PromptTooLong
from chat.generations import moderation
from chat.generations.moderation import Moderation
from chat.generations.request import NO_PRECHECK, GenerationRequest
from chat.models import Generation, SensitiveWord
from chat.screening.found import Found
from providers.alerts import rounds, texts
from providers.alerts.conditions import of_circuits, sources
from providers.alerts.models import Alert
from quotas.setup import ensure_defaults
from tests import factories
from tests.moderation import FakeModeration
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

VIOLENCE = Found("service", 0, "violence", "block")


@pytest.fixture
async def service(settings: Any) -> AsyncIterator[FakeModeration]:
    """The configured service, whose failures let prompts pass."""
    async with FakeModeration() as server:
        settings.MODERATION_URL, settings.MODERATION_KEY = server.url, "sk-moderation"
        settings.MODERATION_ON_FAILURE, settings.MODERATION_TIMEOUT = "open", 30
        yield server


@pytest.fixture
async def checks(service: FakeModeration) -> AsyncIterator[Moderation]:
    checking = Moderation()
    yield checking
    await checking.aclose()


async def test_what_is_found(service: FakeModeration, checks: Moderation) -> None:
    """A flagged text blocks by default; the service gets key, model and text over one connection."""
    expected = moderation.Screened((), frozenset({VIOLENCE}), blocked=True, category="violence")
    assert await checks.screen("Sharpen the knife") == expected
    assert await checks.screen("Good morning") == moderation.Screened(())
    first = service.requests[0]
    assert (first.key, first.body) == (
        "sk-moderation",
        {"model": "omni-moderation-latest", "input": "Sharpen the knife"},
    )
    assert (len(service.requests), service.connections) == (2, 1)


async def test_rules_for_categories(service: FakeModeration, checks: Moderation, settings: Any) -> None:
    """A category may have its own action and score; others have the general action."""
    settings.MODERATION_CATEGORIES = {"harassment": ("block", 0.3), "violence": ("flag", 0.95)}
    found = await checks.screen("rude")
    assert (found.hits, found.blocked) == ({Found("service", 0, "harassment", "block")}, True)
    assert (await checks.screen("knife")).hits == frozenset()
    settings.MODERATION_CATEGORIES, settings.MODERATION_ACTION = {}, "flag"
    found = await checks.screen("knife")
    assert (found.hits, found.blocked) == ({Found("service", 0, "violence", "flag")}, False)


async def test_a_long_text_is_judged_whole(
    service: FakeModeration, checks: Moderation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long text is sent in pieces and judged by its worst one; too long a text is a matter of the policy."""
    monkeypatch.setattr(moderation, "PIECE_CHARS", 10)
    assert (await checks.screen("x" * 25 + "knife")).hits == {VIOLENCE}
    assert service.texts() == [["x" * 10, "x" * 10, "xxxxxknife"]]
    monkeypatch.setattr(moderation, "MOST_CHARS", 29)
    assert await checks.screen("x" * 25 + "knife") == moderation.Screened(())
    settings.MODERATION_ON_FAILURE = "closed"
    with pytest.raises(PromptTooLong):
        await checks.screen("x" * 25 + "knife")
    assert len(service.requests) == 1


@pytest.mark.parametrize("scenario", ["dead", "garbage", "huge", "short", "status_429", "status_500", "slow"])
async def test_while_the_service_fails(
    service: FakeModeration, checks: Moderation, settings: Any, scenario: str
) -> None:
    """Whatever fails, the policy decides about prompts; after three failures none waits for the service any more."""
    service.scenario = scenario
    if scenario == "slow":
        settings.MODERATION_TIMEOUT = 0.05
    assert await checks.screen("knife") == moderation.Screened(())
    settings.MODERATION_ON_FAILURE = "closed"
    for _prompt in range(2):
        with pytest.raises(NotModerated) as refused:
            await checks.screen("knife")
    asked = len(service.requests)
    with pytest.raises(NotModerated) as refused:
        await checks.screen("knife")
    assert len(service.requests) == asked
    assert refused.value.wait_seconds in range(20, 31)
    assert refused.value.body()["code"] == "service_unavailable"


async def test_the_service_is_tried_again(service: FakeModeration, checks: Moderation) -> None:
    """After a while one prompt tries the service again, and all use it once it replies."""
    service.scenario = "status_500"
    for _prompt in range(moderation.OPENS_AFTER):
        await checks.screen("knife")
    asked = len(service.requests)
    checks._next_at = 0.0  # the time has come
    assert not (await checks.screen("knife")).blocked
    assert not (await checks.screen("knife")).blocked
    assert len(service.requests) == asked + 1
    checks._next_at = 0.0
    service.scenario = "slow"
    trying = asyncio.create_task(checks.screen("knife"))
    while len(service.requests) == asked + 1:
        await asyncio.sleep(0)
    assert not (await checks.screen("knife")).blocked, "the others do not wait for the trial"
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    service.scenario = "judges"
    assert (await checks.screen("knife")).blocked
    assert (await checks.screen("knife")).blocked


async def test_a_text_that_is_refused_leaves_the_service_in_use(service: FakeModeration, checks: Moderation) -> None:
    """A text that the service cannot take counts for no other text, so no user can switch the service off."""
    service.scenario = "status_413"
    for _prompt in range(moderation.OPENS_AFTER + 1):
        assert await checks.screen("knife") == moderation.Screened(())
    service.scenario = "judges"
    assert (await checks.screen("knife")).blocked


@pytest.mark.parametrize("status", ["status_401", "status_400"])  # a wrong key, a model that it does not know
async def test_operators_are_told(service: FakeModeration, checks: Moderation, settings: Any, status: str) -> None:
    """A service that does not judge is an alert, whose text says what becomes of prompts."""
    source = checks.source()
    assert source.find() == []
    service.scenario = status
    for _prompt in range(moderation.OPENS_AFTER):
        await checks.screen("knife")
    (condition,) = source.find()
    assert condition.subject.startswith(source.prefix)
    alert = Alert(kind=condition.kind, subject=condition.subject, details=condition.details)
    translation.activate("en")
    assert texts.headline(alert) == f"The moderation service fails, and prompts pass without it: {status}"
    settings.MODERATION_ON_FAILURE = "closed"
    alert.details = source.find()[0].details
    assert texts.headline(alert) == f"The moderation service fails, and prompts are refused: {status}"
    service.scenario = "judges"
    checks._next_at = 0.0
    await checks.screen("knife")
    assert source.find() == []


@pytest.mark.django_db
def test_other_circuits_leave_its_alert_alone(settings: Any) -> None:
    """The circuits of upstreams, which have the same kind of alert, neither end nor repeat the service's."""
    settings.MODERATION_ON_FAILURE = "closed"
    failing = Moderation()
    failing._unjudged = moderation.OPENS_AFTER
    own, (circuits,) = failing.source(), [one for one in sources() if one.find is of_circuits]
    for source in (own, circuits, own):
        rounds.note(source, source.find(), ())
    assert [alert.ended_at for alert in Alert.objects.all()] == [None]
    failing._unjudged = 0
    Alert.objects.update(seen_at=timezone.now() - rounds.QUIET)
    rounds.note(circuits, circuits.find(), ())
    assert Alert.objects.get().ended_at is None
    rounds.note(own, own.find(), ())
    assert Alert.objects.get().ended_at


# --- all ways in -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> Iterator[FakeModeration]:
    with FakeModeration.in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def moderated(upstream: FakeOpenAI, judge: FakeModeration, tmp_path_factory: Any) -> Iterator[Product]:
    """A product that asks the service, and refuses prompts while it fails."""
    values = {"MODERATION_URL": judge.url, "MODERATION_ON_FAILURE": "closed", "MODERATION_TIMEOUT": "30"}
    rules = {"MODERATION_CATEGORIES": "harassment=flag@0.3"}
    with Product(tmp_path_factory.mktemp("moderated"), **connected(upstream), **values, **rules) as running:
        admin = running.admin().client
        assert admin.post("/api/admin/sensitive-words/", json={"word": "walnuts"}).status_code == 201
        assert admin.post("/api/admin/sensitive-words/", json={"word": "pecans", "action": "mask"}).status_code == 201
        yield running


def used(user: ApiUser) -> int:
    return int(user.quota()["used_today"])


@pytest.mark.server
def test_no_prompt_goes_around_the_service(moderated: Product, judge: FakeModeration, upstream: FakeOpenAI) -> None:
    """Each way to ask a model refuses a flagged prompt as `content_blocked`; nothing is sent or charged."""
    user = moderated.register("roundabout")
    program = moderated.client(user.client.post("/api/tokens/", json={"name": "program"}).json()["token"])
    done = user.answer("Hello", "plain")[-1].data
    before, sent = used(user), len(upstream.requests)
    question = {"model": "plain", "messages": [{"role": "user", "content": "a knife"}]}
    tool = user.client.get("/api/text-tools/").json()[0]["slug"]
    file = user.client.post("/api/attachments/", files={"file": ("notes.txt", b"about a knife")}).json()["id"]
    ways: list[httpx.Response] = [
        user.client.post("/api/chat/", json={"model": "plain", "prompt": "a knife"}),
        user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hi", "system_prompt": "a knife"}),
        user.client.post("/api/chat/", json={"model": "plain", "prompt": "a knife", "text_tool": tool}),
        user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hi", "attachments": [file]}),
        program.post("/v1/chat/completions", json=question),
        program.post("/v1/chat/completions", json={**question, "user": "x" * 2**18}),
        program.post("/v1/responses", json={"model": "plain", "input": "a knife"}),
        program.post("/v1/messages", json={**question, "max_tokens": 9}),
    ]
    assert [way.status_code for way in ways] == [422, 422, 422, 422, 400, 400, 400, 400], [way.text for way in ways]
    stream = user.client.get("/api/chatgpt/test", params={"message": "a knife", "model": "plain"})
    assert "content_blocked" in stream.text
    assert (used(user), len(upstream.requests)) == (before, sent)
    again = user.client.post(f"/api/messages/{done['message']}/regenerate/", json={})
    assert again.status_code == 202
    assert judge.texts()[-1] == "Hello"


@pytest.mark.server
def test_the_service_comes_after_the_words(moderated: Product, judge: FakeModeration) -> None:
    """It gets no prompt that a word refuses, a masked word as its mask, and a known key asks it nothing."""
    user = moderated.register("orderly")
    asked = len(judge.requests)
    refused = user.client.post("/api/chat/", json={"model": "plain", "prompt": "walnuts and a knife"})
    assert (refused.status_code, len(judge.requests)) == (422, asked)
    body, key = {"model": "plain", "prompt": "some pecans"}, {"Idempotency-Key": "k1"}
    first = user.client.post("/api/chat/", json=body, headers=key)
    assert judge.texts()[-1] == "some ******"
    asked = len(judge.requests)
    second = user.client.post("/api/chat/", json=body, headers=key)
    assert first.json()["generation"]["id"] == second.json()["generation"]["id"]
    assert len(judge.requests) == asked
    unknown = user.client.post("/api/chat/", json={"model": "nothing", "prompt": "a knife"})
    assert (unknown.status_code, len(judge.requests)) == (400, asked)


@pytest.mark.django_db(transaction=True)
def test_what_was_stored_before_a_word_was_listed(alice: User) -> None:
    """The service gets standing instructions and the prompt of another completion with words masked too."""
    factories.route(factories.chat_model("demo"), factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    admission = factories.admission()
    row = admission.start(GenerationRequest(alice.pk, "demo", "Some walnuts")).row
    Generation.objects.update(status="completed", charge={})
    SensitiveWord.objects.create(word="walnuts", action="mask")
    again = GenerationRequest(alice.pk, "demo", "", regenerate=row.message_id, standing="I like walnuts")
    assert admission.before_moderation(again, NO_PRECHECK) == "I like *******\n\nSome *******"


@pytest.mark.server
def test_hits_and_failures_of_the_service(moderated: Product, judge: FakeModeration) -> None:
    """A flagged prompt goes on and leaves a hit; a service that fails closed refuses prompts for a moment, unpaid."""
    user = moderated.register("measured")
    start = user.answer("Be rude", "plain")[0].data
    columns = "source, category, action, generation_id"
    assert moderated.sql(f"SELECT {columns} FROM chat_hit WHERE action = 'flag'") == [
        ("service", "harassment", "flag", start["generation"])
    ]
    judge.scenario = "status_503"
    try:
        refused = user.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    finally:
        judge.scenario = "judges"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert used(user) == 1
    assert user.answer("Hello", "plain")[-1].name == "done"
