"""Sensitive words that begin in the earlier text of a message and end in its continuation."""

from typing import Any

import pytest

from chat.generations import continuation, finish
from chat.generations.pipeline import PARTING
from chat.models import Conversation, Message
from tests import factories
from tests.chat.screening import oracle
from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.product import ApiUser, Event, read_events, text_of


def continued(newcomer: ApiUser, message: int) -> list[Event]:
    with newcomer.client.stream(
        "POST", f"/api/messages/{message}/continue/", json={}, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.status_code == 200
        return list(read_events(response))


def cut_off(newcomer: ApiUser, speaker: Speaker, text: str) -> dict[str, Any]:
    """Return a completion of this text that ended with `length`."""
    speaker.say(text, end="length")
    events = newcomer.answer("Go", "plain")
    assert (text_of(events), events[-1].data["finish_reason"]) == (text, "length")
    return newcomer.generation(events[0].data["generation"])


def test_a_blocked_word_across_the_seam(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """The continuation ends before the word, whose beginning is taken away too."""
    word = listed("霹雳弦", "block")
    first = cut_off(newcomer, speaker, "弓如霹雳")
    speaker.say("弦", "惊")
    events = continued(newcomer, first["message"])
    assert events[0].data["continues"]["content_from"] == 2
    assert text_of(events) == ""
    assert (events[-1].data["finish_reason"], events[-1].data["charge"]["amount"]) == ("content_filter", 0)
    message = newcomer.messages(first["conversation"])[1]
    assert message["content"] == "弓如"
    assert hits(newcomer.name)[1] == [(word, "output", events[0].data["generation"])]


def test_a_masked_word_across_the_seam(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """The whole word is masked, in the earlier text too."""
    listed("cobalt", "mask")
    first = cut_off(newcomer, speaker, "The blue is cob")
    speaker.say("a", "lt", " paint")
    events = continued(newcomer, first["message"])
    assert events[0].data["continues"]["content_from"] == len("The blue is ")
    assert text_of(events) == "****** paint"
    assert newcomer.messages(first["conversation"])[1]["content"] == "The blue is ****** paint"
    assert newcomer.generation(first["id"])["content"] == "The blue is ***"


def test_what_is_no_word_stays(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """Characters that only might have begun a word come out once, and an empty continuation costs nothing."""
    listed("cobalt", "block")
    first = cut_off(newcomer, speaker, "corn on the cob")
    speaker.say()
    events = continued(newcomer, first["message"])
    assert (text_of(events), events[-1].data["charge"]["amount"]) == ("cob", 0)
    assert newcomer.messages(first["conversation"])[1]["content"] == "corn on the cob"


def test_a_text_that_only_begins_a_word(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A continuation that repeats the whole earlier text is one like any other."""
    listed("cobalt", "block")
    first = cut_off(newcomer, speaker, "cob")
    speaker.say()
    events = continued(newcomer, first["message"])
    assert events[0].data["continues"] == {"message": first["message"], "content_from": 0, "reasoning_from": 0}
    assert (text_of(events), events[-1].data["charge"]["amount"]) == ("cob", 0)


def test_a_word_that_ends_like_a_listed_one(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """The end of a longer word is not blocked where a continuation begins with it."""
    listed("ass", "block")
    first = cut_off(newcomer, speaker, "The wet gr")
    speaker.say("ass", " is green")
    events = continued(newcomer, first["message"])
    assert events[0].data["continues"]["content_from"] == len("The wet ")
    assert (text_of(events), events[-1].data["finish_reason"]) == ("grass is green", "stop")
    assert newcomer.messages(first["conversation"])[1]["content"] == "The wet grass is green"


@pytest.mark.parametrize(
    ("text", "seam"),
    [
        ("The wet gr", "gr"),
        ("The wet gr\u0301\u200b", "gr\u0301\u200b"),
        ("No. 12a", "12a"),
        ("The wet ", ""),
        ("雨后的草", ""),
        ("草gr", "gr"),
        ("x" * 3_000, "x" * 2_000),
        ("an ass", ""),
        ("at", "at"),
    ],
)
def test_a_seam_begins_where_a_word_may(text: str, seam: str) -> None:
    """A seam has the whole last word, but never one that is listed."""
    lexicon = oracle.Words((), ("ass", "attic")).lexicon()
    assert text[continuation.seam_start(lexicon, text) :] == seam


def test_a_word_in_the_reasoning_cuts_no_text(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A continuation that ends because of its reasoning leaves the earlier text whole."""
    listed("cobalt", "block")
    listed("forbidden", "block")
    first = cut_off(newcomer, speaker, "corn on the cob")
    speaker.say("alt", reasoning="forbidden ")
    events = continued(newcomer, first["message"])
    assert (text_of(events), events[-1].data["finish_reason"]) == ("cob", "content_filter")
    assert newcomer.messages(first["conversation"])[1]["content"] == "corn on the cob"


def test_blank_reasoning_costs_nothing(newcomer: ApiUser, speaker: Speaker) -> None:
    """What parts new reasoning from earlier reasoning is nothing to pay for."""
    speaker.say("text", reasoning="hm", end="length")
    first = newcomer.answer("Go", "plain")[-1].data
    speaker.say(reasoning=" \n")
    events = continued(newcomer, first["message"])
    assert events[0].data["continues"]["reasoning_from"] == 2
    assert "…" in "".join(event.data["content"] for event in events if event.name == "reasoning")
    assert (events[-1].data["charge"]["amount"], events[-1].data["charge"]["reason"]) == (0, "empty")


@pytest.mark.django_db
def test_the_earlier_text_survives_a_killed_process() -> None:
    """A process that dies before it released anything loses no earlier text, and costs nothing."""
    user, model = factories.user(), factories.chat_model(of=factories.quota())
    conversation = Conversation.objects.create(user=user, title="Go")
    message = Message.objects.create(conversation=conversation, role=Message.Role.ASSISTANT, content="cob")
    place = {"conversation": conversation, "message": message}
    factories.generation(user, model, **place)
    fields, seam = continuation.begin(message, oracle.Words(("cobalt",)).lexicon())
    assert (seam, fields["content_from"]) == ("cob", 0)
    row = factories.generation(user, model, conversation=conversation, content="cob", **fields)
    end = finish.of_stored(row, "completed", finish_reason="cancelled")
    assert not end.visible
    row.content, row.reasoning = "", PARTING
    assert not finish.of_stored(row, "completed").visible
    row.reasoning = ""
    finish.store(finish.of_stored(row, "interrupted", error={"code": "interrupted"}))
    message.refresh_from_db()
    assert message.content == "cob"
