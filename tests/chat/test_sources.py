"""Cited pages, details of usage and the time of reasoning: sent, stored, shown and screened everywhere alike."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from accounts.models import User
from chat.apps import chat
from chat.generations.pipeline import screened_sources
from chat.generations.request import GenerationRequest
from chat.models import Generation
from chat.screening.found import Found
from chat.screening.lexicon import Lexicon, automata
from chat.screening.tracking import term
from providers.wire.base import Delta, Event, Finished, Reasoning, Source, Sources, Usage, Withdrawn
from quotas.setup import ensure_defaults
from runtime import database
from tests import factories
from tests.chat.programs import ask, chunks
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser
from tests.scenarios import CITED

SHOWN = [{"url": CITED[0], "title": "First page"}, {"url": CITED[1], "title": ""}]


@pytest.mark.server
@pytest.mark.contract("event: sources")
def test_sources_before_the_end(api_user: ApiUser) -> None:
    """One event lists the pages before `done`; generation and message have the same."""
    events = api_user.answer("Is water wet?", "cited")

    assert [event.name for event in events[-2:]] == ["sources", "done"]
    assert events[-2].data == {"sources": SHOWN}
    generation = api_user.client.get(f"/api/generations/{events[0].data['generation']}/").json()
    assert generation["sources"] == SHOWN
    message = api_user.messages(events[0].data["conversation"])[-1]
    assert message["sources"] == SHOWN


@pytest.mark.server
def test_a_replay_has_the_same_sources(api_user: ApiUser) -> None:
    """Readers who come later get the same bytes."""
    live = api_user.answer("Is water wet?", "cited")
    replayed = api_user.follow(live[0].data["generation"])

    assert [(event.id, event.name, event.data) for event in replayed] == [
        (event.id, event.name, event.data) for event in live
    ]


@pytest.mark.server
def test_details_of_usage_and_reasoning(api_user: ApiUser, upstream: PausedUpstream) -> None:
    """`done`, the generation and the message say what was cached, what was reasoning, and for how long."""
    prompt, began = f"Is water wet? {PAUSE}", time.monotonic()
    with api_user.asking(prompt, "cited") as stream:
        events = [next(stream) for _ in range(2)]
        reasoned = time.monotonic()
        time.sleep(0.3)
        least = time.monotonic() - reasoned
        upstream.go_on(prompt)
        events += stream
    most = time.monotonic() - began
    usage = events[-1].data["usage"]
    seconds = usage.pop("reasoning_seconds")

    assert events[1].name == "reasoning"
    assert round(least, 1) <= seconds <= round(most, 1)
    assert usage == {
        "input_tokens": 9,
        "output_tokens": 7,
        "estimated": False,
        "cached_tokens": 4,
        "reasoning_tokens": 3,
    }
    generation = api_user.client.get(f"/api/generations/{events[0].data['generation']}/").json()
    assert generation["usage"] == {**usage, "reasoning_seconds": seconds}
    assert api_user.messages(events[0].data["conversation"])[-1]["reasoning_seconds"] == seconds


@pytest.mark.server
def test_what_is_not_known_is_left_out(api_user: ApiUser) -> None:
    """A plain completion has the contract's fields only."""
    events = api_user.answer("Hello", "plain")

    assert set(events[-1].data["usage"]) == {"input_tokens", "output_tokens", "estimated"}
    assert "sources" not in [event.name for event in events]
    generation = api_user.client.get(f"/api/generations/{events[0].data['generation']}/").json()
    message = api_user.messages(events[0].data["conversation"])[-1]
    assert not {"sources", "reasoning_seconds"} & {*generation, *message}


@pytest.mark.server
def test_programs_get_annotations(program: httpx.Client) -> None:
    """On `/v1` the pages are annotations, and usage has OpenAI's details, streamed and whole."""
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}
    whole = ask(program, "cited").json()
    cited = whole["choices"][0]["message"]["annotations"]
    assert [(each["type"], each["url_citation"]["url"], each["url_citation"]["title"]) for each in cited] == [
        ("url_citation", page["url"], page["title"]) for page in SHOWN
    ]
    assert {**whole["usage"], **details} == whole["usage"]

    streamed = chunks(ask(program, "cited", stream=True, stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed[:-1] if chunk["choices"]]
    assert [delta["annotations"] for delta in deltas if "annotations" in delta] == [cited]
    assert streamed[-2]["usage"] == whole["usage"]


@pytest.mark.server
def test_the_other_shapes_cite_too(program: httpx.Client) -> None:
    """Responses have the pages as annotations of their text, messages as citations, streamed and whole."""
    asked = {"model": "cited", "input": "Hello"}
    part = program.post("/v1/responses", json=asked).json()["output"][-1]["content"][0]
    assert [(each["url"], each["title"]) for each in part["annotations"]] == [
        (page["url"], page["title"]) for page in SHOWN
    ]
    sent = data_of(program.post("/v1/responses", json={**asked, "stream": True}))
    added = [each["annotation"] for each in sent if each["type"] == "response.output_text.annotation.added"]
    assert added == part["annotations"] == sent[-1]["response"]["output"][-1]["content"][0]["annotations"]

    message = {"model": "cited", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]}
    block = program.post("/v1/messages", json=message).json()["content"][-1]
    assert [(each["url"], each["title"]) for each in block["citations"]] == [
        (page["url"], page["title"] or None) for page in SHOWN
    ]
    deltas = [each.get("delta", {}) for each in data_of(program.post("/v1/messages", json={**message, "stream": True}))]
    assert [delta["citation"] for delta in deltas if "citation" in delta] == block["citations"]


def data_of(response: httpx.Response) -> list[Any]:
    """Return the data of a stream's events."""
    return [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]


@pytest.mark.server
def test_the_classic_route_sends_text_only(api_user: ApiUser) -> None:
    """Pages of the classic kind know content only."""
    ticket = api_user.client.post("/api/tickets/", json={"path": "/api/chatgpt/test"}).json()["ticket"]
    text = api_user.client.get(f"/api/chatgpt/test?message=hi&model=cited&ticket={ticket}").text

    assert "Water is wet" in text
    assert CITED[0] not in text


# --- in one process --------------------------------------------------------------------------------------------------


@pytest.fixture
def user(transactional_db: None) -> User:
    """A user who may use the scripted model."""
    user: User = factories.user("alice")
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    return user


@pytest.fixture
async def closed_database() -> AsyncGenerator[None, None]:
    """Close the database threads after the test."""
    yield
    await asyncio.to_thread(database.close)


A, B = Source("https://a.example/", "A"), Source("https://b.example/", "B")


async def generated(user: User, *events: Event, patch: pytest.MonkeyPatch, **request: Any) -> Generation:
    async def run(_attempts: object) -> AsyncGenerator[Event, None]:
        for event in events:
            yield event

    patch.setattr("providers.routing.Attempts.run", run)
    started = await chat().generations.start(GenerationRequest(user.pk, "demo", "Hello", **request))
    await chat().generations.wait()
    return await database.run(Generation.objects.select_related("message").get, id=started.row.id)


async def test_the_last_list_holds(user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of growing lists the last one is stored, with the message only."""
    events = (Sources((A,)), Delta("x"), Sources((A, B)), Usage(1, 2, 1), Finished("stop"))
    row = await generated(user, *events, patch=monkeypatch)
    assert row.message
    assert (row.message.sources, row.sources) == (
        '[{"url":"https://a.example/","title":"A"},{"url":"https://b.example/","title":"B"}]',
        "",
    )
    assert (row.cached_tokens, row.reasoning_tokens, row.reasoning_seconds) == (1, None, None)


async def test_withdrawn_text_withdraws_its_sources(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withdrawn text cites nothing, and its reasoning took no time."""
    events = (Reasoning("hm"), Delta("bad"), Sources((A,)), Withdrawn(), Delta("good"), Finished("stop"))
    row = await generated(user, *events, patch=monkeypatch)
    assert (row.stored_sources(), row.reasoning_seconds) == ("", None)


async def test_a_completion_without_text_cites_nothing(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages without a text have no use."""
    row = await generated(user, Sources((A,)), Finished("stop"), patch=monkeypatch)
    assert row.stored_sources() == ""


async def test_unkept_sources_are_kept_with_the_generation(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a conversation the generation has them, like its text."""
    events = (Delta("x"), Sources((B,)), Finished("stop"))
    row = await generated(user, *events, patch=monkeypatch, kept=False)
    assert row.sources == '[{"url":"https://b.example/","title":"B"}]'


async def test_reasoning_is_timed_until_the_content(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space before the reasoning and reasoning after the content do not count."""
    clock = iter(range(1_000))
    monkeypatch.setattr("chat.generations.times.time.monotonic", lambda: float(next(clock)))
    events = (Delta("\n"), Reasoning("a"), Reasoning("b"), Delta("x"), Reasoning("c"), Delta("y"), Finished("stop"))
    row = await generated(user, *events, patch=monkeypatch)
    assert row.reasoning_seconds == 1.0
    assert row.message
    assert row.message.reasoning_seconds == 1.0


async def test_reasoning_only_is_timed_until_the_end(
    user: User, closed_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reasoning that no content follows lasts until the end."""
    row = await generated(user, Reasoning("a"), Finished("length"), patch=monkeypatch)
    assert row.reasoning_seconds is not None


# --- screening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lexicon() -> Lexicon:
    """Words that mask and block."""
    terms = [term("badword", 1), term("禁词", 2, "block")]
    return Lexicon(automata(terms), terms)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (Source("https://a.example/", "Fine"), Source("https://a.example/", "Fine")),
        (Source("https://a.example/", "A badword here"), Source("https://a.example/", "A ******* here")),
        (Source("https://a.example/", "一个禁 词"), Source("https://a.example/", "")),
        (Source("https://badword.example/", "Fine"), None),
        (Source("https://a.example/", " two\nlines "), Source("https://a.example/", "two lines")),
        (Source("https://a.example/?q=badword", "Fine"), None),
        (Source("https://a.example/%E7%A6%81%E8%AF%8D", "Fine"), None),
        (Source("https://a.example/禁词", "Fine"), None),
    ],
)
def test_words_in_sources(lexicon: Lexicon, source: Source, shown: Source | None) -> None:
    """No part of a word reaches a client: titles are masked or emptied, pages with one in their address left out."""
    hits: set[Found] = set()
    assert screened_sources([source], lexicon, hits) == ([shown] if shown else [])
    assert bool(hits) == ("lines" not in source.title and shown != source)


def test_a_flagged_word_hides_no_other_in_an_address() -> None:
    """A word that is only flagged does not end the search for percent-encoded ones."""
    terms = [term("shop", 1, "flag"), term("badword", 2, "mask")]
    hits: set[Found] = set()
    lexicon = Lexicon(automata(terms), terms)
    sources = [Source("https://shop.example/b%61dword", ""), Source("https://shop.example/", "")]
    assert screened_sources(sources, lexicon, hits) == sources[1:]
    assert {found.id for found in hits} == {1, 2}


def test_whatever_an_adapter_lets_pass(lexicon: Lexicon) -> None:
    """Scripts are no sources, and there is a limit, for every adapter."""
    many = [Source("javascript:alert(1)", "x"), *(Source(f"https://a.example/{n}", "") for n in range(200))]
    shown = screened_sources(many, lexicon, set())
    assert (len(shown), shown[0].url) == (100, "https://a.example/0")
