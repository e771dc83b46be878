"""TITLE_MODEL: a model writes the title after the first completion, for which no user is charged."""

import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from chat.generations.titles import Titles, cleaned
from chat.models import Conversation, Message
from chat.screening.live import Words
from tests import factories
from tests.chat.screening import oracle
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI


@pytest.fixture(scope="module")
def titled(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    variables = {**connected(upstream, titler="titler"), "TITLE_MODEL": "titler"}
    with Product(tmp_path_factory.mktemp("titled"), **variables) as product:
        yield product


@pytest.fixture
def user(titled: Product) -> ApiUser:
    return titled.register(f"p{secrets.token_hex(5)}")


def results(product: Product, result: str) -> float:
    """Return how many titles have ended so."""
    metrics = product.client().get("/metrics").text
    found = re.search(rf'^rivulet_titles_total{{result="{result}"}} (\S+)', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def begun(user: ApiUser, prompt: str, **body: object) -> int:
    """Ask, wait for the completion, and return the new conversation."""
    start = user.answer(prompt, "echo", **body)[0]
    return int(start.data["conversation"])


def title(user: ApiUser, conversation: int) -> str:
    return str(user.client.get(f"/api/conversations/{conversation}/").json()["title"])


@pytest.mark.contract("setting: TITLE_MODEL")
def test_a_model_writes_the_title(titled: Product, user: ApiUser, upstream: FakeOpenAI) -> None:
    """The model gets prompt and completion once; nothing is charged, and later completions change no title."""
    name = secrets.token_hex(4)
    conversation = begun(user, f'cats = Title: "**Cats {name}**"。')
    wait_until(lambda: title(user, conversation) == f"Cats {name}")
    (asked,) = (
        request for request in upstream.requests if request.body.get("model") == "titler" and name in str(request.body)
    )
    assert asked.body["messages"][-1]["content"].count(name) == 2
    assert asked.body["max_tokens"] <= 2_000
    used = {quota["used_today"] for quota in user.client.get("/api/quotas/").json()}
    assert used == {0, 1}
    assert len(user.client.get("/api/quotas/ledger/").json()["results"]) == 1
    user.answer("dogs = Dogs", "echo", conversation=conversation)
    other = begun(user, "cats = last")
    wait_until(lambda: title(user, other) == "last")
    assert title(user, conversation) == f"Cats {name}"


def test_whatever_fails_the_prompt_stays(titled: Product, user: ApiUser, upstream: PausedUpstream) -> None:
    """A failure, an empty title and a word that blocks keep the first prompt; a renamed title stays."""
    word = f"w{secrets.token_hex(6)}"
    failed, kept = results(titled, "failed"), results(titled, "kept")
    added = titled.admin().client.post(
        "/api/admin/sensitive-words/", json={"word": word, "action": "block", "scope": "output"}
    )
    assert added.status_code == 201
    late = f"late = too late {word[::-1]}{PAUSE}"
    prompts = (late, f"back = {word[::-1]}", "fail = never", "no = ")
    renamed, blocked, refused, empty = (begun(user, prompt) for prompt in prompts)
    # The model is writing: a conversation that was renamed earlier would have no title written, and count nowhere.
    wait_until(lambda: any(each.body.get("model") == "titler" and late in str(each.body) for each in upstream.requests))
    assert user.client.patch(f"/api/conversations/{renamed}/", json={"title": "my own"}).status_code == 200
    upstream.go_on(f"{late}\n</completion>")
    wait_until(lambda: results(titled, "failed") == failed + 1 and results(titled, "kept") == kept + 3)
    assert [title(user, each) for each in (renamed, blocked, refused, empty)] == ["my own", *prompts[1:]]


def test_a_temporary_conversation_gets_no_title(titled: Product, user: ApiUser, upstream: FakeOpenAI) -> None:
    """A temporary conversation is not sent to the model for titles."""
    name = secrets.token_hex(4)
    begun(user, f"hidden = {name}", temporary=True)
    last = begun(user, "last = the last")
    wait_until(lambda: title(user, last) == "the last")
    assert not [
        request for request in upstream.requests if request.body.get("model") == "titler" and name in str(request.body)
    ]


@pytest.mark.django_db
def test_words_listed_later_do_not_reach_the_model(settings: Any) -> None:
    """Prompt and first completion are masked with the words of today, before they are cut."""
    settings.TITLE_MODEL = "titler"
    user, model = factories.user(), factories.chat_model(of=factories.quota())
    conversation = Conversation.objects.create(user=user, title="Say cobalt")
    place = {"conversation": conversation}
    prompt = Message.objects.create(**place, role=Message.Role.USER, content="Say cobalt")
    completion = Message.objects.create(
        **place, role=Message.Role.ASSISTANT, content="A cobalt", parent=prompt, model=model.slug
    )
    end = {"finish_reason": "stop", "charge": {"amount": 0}}
    first, second = (
        factories.generation(user, model, **place, message=message, status="completed", finished_at=ended, **end)
        for message, ended in ((completion, timezone.now()), (None, timezone.now() + timedelta(seconds=1)))
    )
    lexicon = oracle.Words((), ("cobalt",)).lexicon()
    routing: Any = SimpleNamespace(configuration=SimpleNamespace(models=lambda: {"titler": model}))
    words: Any = SimpleNamespace(for_user=lambda _user: SimpleNamespace(current=Words(1, lexicon, lexicon)))
    titles = Titles(routing, words)
    assert titles._untitled(conversation.pk, second.id) is None
    found = titles._untitled(conversation.pk, first.id)
    assert found is not None
    assert (found[0].title, found[0].prompt, found[0].completion) == ("Say cobalt", "Say ******", "A ******")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Cats and dogs", "Cats and dogs"),
        ("\n## “猫和狗”。\n\nMore text", "猫和狗"),
        ("标题：《养猫》", "养猫"),
        ("**Title:** Cats\0", "Cats"),
        ("What is C#?", "What is C#?"),
        ("", ""),
        ("word " * 30, "word word word word word word word word word word word…"),
        ("字" * 80, "字" * 59 + "…"),
    ],
)
def test_what_stands_around_a_title_is_dropped(written: str, expected: str) -> None:
    """Labels, quotation marks and Markdown around a title are dropped; a long one is cut to 60 characters."""
    assert cleaned(written) == expected
    assert len(cleaned(written)) <= 60
