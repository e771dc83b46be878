"""Sensitive words that begin in the earlier text of a message and end in its continuation."""

from typing import Any

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
