"""Sensitive words in completions, as users and operators see them through the API."""

import time
from collections.abc import Callable

import pytest

from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.product import ApiUser, Event, text_of
from tests.readers import until_below


def reasoning_of(events: list[Event]) -> str:
    return "".join(event.data["content"] for event in events if event.name == "reasoning")


@pytest.mark.contract("sensitive words in answers")
def test_a_blocked_word_ends_the_completion(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A blocked word ends the completion before it, closes the upstream, and stores one hit."""
    word = listed("霹雳弦", "block")
    speaker.say(*"弓如", *"霹雳弦惊，马作的卢飞快", end="hang")
    events = newcomer.answer("辛弃疾的下一句？", "plain")
    assert not any(character in text_of(events) for character in "霹雳弦")
    assert text_of(events) == "弓如"
    assert (events[-1].name, events[-1].data["finish_reason"]) == ("done", "content_filter")
    assert events[-1].data["charge"] == {"amount": 1, "source": "daily", "reason": "content_filter"}
    assert speaker.closed_at("辛弃疾的下一句？")
    row = newcomer.generation(events[0].data["generation"])
    assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "content_filter", "弓如")
    assert newcomer.messages(row["conversation"])[1]["content"] == "弓如"
    assert hits(newcomer.name) == (0, [(word, "output", row["id"])])


def test_the_text_of_a_category(newcomer: ApiUser, speaker: Speaker, staff: ApiUser, listed: Lister) -> None:
    """A refusal text explains refused prompts and ended completions, to their user and on the page."""
    listed("walnuts", "block", category="nuts")
    made = staff.client.post("/api/admin/refusal-texts/", json={"category": "nuts", "text_en": "No <nuts>."})
    assert made.status_code == 201, made.text
    try:
        english = {"Accept-Language": "en"}
        body = {"model": "plain", "prompt": "walnuts"}
        refused = newcomer.client.post("/api/chat/", json=body, headers=english).json()["error"]
        assert (refused["code"], refused["message"]) == ("content_blocked", "No <nuts>.")
        chinese = newcomer.client.post("/api/chat/", json=body, headers={"Accept-Language": "zh-hans"}).json()["error"]
        assert chinese["message"] not in {"", "No <nuts>."}
        speaker.say("Take wal", "nuts!", end="hang")
        newcomer.client.headers["Accept-Language"] = "en"
        events = newcomer.answer("What?", "plain")
    finally:
        staff.client.delete(f"/api/admin/refusal-texts/{made.json()['id']}/")
    assert text_of(events) == "Take "
    assert (events[-1].data["finish_reason"], events[-1].data["finish_text"]) == ("content_filter", "No <nuts>.")
    assert newcomer.generation(events[0].data["generation"])["finish_text"] == "No <nuts>."
    assert newcomer.follow(events[0].data["generation"])[-1].data == events[-1].data


@pytest.mark.contract("sensitive words in answers")
def test_masked(newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits) -> None:
    """A masked word shows as one star per character everywhere; the completion continues."""
    word = listed("cobalt", "mask", "output")
    speaker.say("Blue: ", "C", "o", "-", "b", "alt", "! Not cobalts. ", "COBALT", " again")
    events = newcomer.answer("Which blue?", "plain")
    wanted = "Blue: *******! Not cobalts. ****** again"
    assert text_of(events) == wanted
    start = events[0].data
    assert events[-1].data["finish_reason"] == "stop"
    assert events[-1].data["charge"]["amount"] == 1
    assert newcomer.generation(start["generation"])["content"] == wanted
    assert newcomer.messages(start["conversation"])[1]["content"] == wanted
    assert text_of(newcomer.follow(start["generation"])) == wanted
    assert hits(newcomer.name) == (0, [(word, "output", start["generation"])])


def test_nothing_visible_costs_nothing(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A completion that begins with a blocked word is empty and free."""
    listed("first", "block", "output")
    speaker.say("\n", "fir", "st", " come", end="hang")
    events = newcomer.answer("Who?", "plain")
    assert text_of(events).strip() == ""
    assert events[-1].data["finish_reason"] == "content_filter"
    assert events[-1].data["charge"]["amount"] == 0
    assert newcomer.quota()["used_today"] == 0


@pytest.mark.contract("sensitive words in answers")
def test_reasoning(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """Reasoning is screened separately; a blocked word in it ends the completion without content."""
    listed("秘方", "mask", "output")
    listed("毒方", "block", "output")
    speaker.say("方子是：", "秘", "方。", reasoning="想想秘 方，秘")
    events = newcomer.answer("什么方子？", "plain")
    assert (reasoning_of(events), text_of(events)) == ("想想***，秘", "方子是：**。")
    names = [event.name for event in events]
    assert names.index("message") > len(names) - 1 - names[::-1].index(
        "reasoning"
    )  # all reasoning comes before all content
    speaker.say("方子是", reasoning="想想毒-方", end="hang")
    events = newcomer.answer("什么毒？", "plain")
    assert (reasoning_of(events), text_of(events)) == ("想想", "")
    assert events[-1].data["finish_reason"] == "content_filter"
    assert events[-1].data["charge"]["amount"] == 1
    assert newcomer.generation(events[0].data["generation"])["reasoning"] == "想想"
    speaker.say("方子是", reasoning="毒-方", end="hang")  # held back, so nothing was sent
    events = newcomer.answer("还是毒？", "plain")
    assert (reasoning_of(events), events[-1].data["finish_reason"]) == ("", "content_filter")
    assert events[-1].data["charge"]["amount"] == 0


def test_held_back_text_is_kept_when_the_upstream_fails(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """Text held back when the upstream fails is kept, unless it is a word."""
    listed("unfinished business", "mask", "output")
    listed("over", "mask", "output")
    speaker.say("Here: ", "unfin", "ished", end="cut")
    events = newcomer.answer("Go on", "plain")
    assert text_of(events) == "Here: unfinished"
    assert (events[-1].name, events[-1].data["code"]) == ("error", "upstream_error")
    assert events[-1].data["charge"]["amount"] == 0
    assert newcomer.generation(events[0].data["generation"])["content"] == "Here: unfinished"
    speaker.say("It is ", "ov", "er", end="cut")
    assert text_of(newcomer.answer("And?", "plain")) == "It is ****"


def test_stopped_while_text_is_held_back(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A stop keeps the text that was shown, not the text held back."""
    listed("pauseword", "mask", "output")
    speaker.say("Seen. ", "pause", end="hang")
    with newcomer.asking("Stop there", "plain") as stream:
        events = [next(stream), next(stream)]
        time.sleep(0.3)
        row = newcomer.stop(events[0].data["generation"])
        events += list(stream)
    assert text_of(events) == row["content"] == "Seen. "
    assert row["charge"]["amount"] == 1


@pytest.mark.contract("allowed phrases")
def test_allowed_phrases(newcomer: ApiUser, speaker: Speaker, listed: Lister, allowed: Callable[[str], None]) -> None:
    """A word inside an allowed phrase passes, however it is split; elsewhere it does not."""
    listed("台独", "block", "output")
    allowed("站台独立")
    speaker.say(*"每个站台独立编号。台独")
    events = newcomer.answer("站台？", "plain")
    assert text_of(events) == "每个站台独立编号。"
    assert events[-1].data["finish_reason"] == "content_filter"


def test_a_new_word_applies_to_running_completions(newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A new word applies to running completions at once, even if the list was empty."""
    delays: list[float] = []
    for number in until_below(2, delays, most=5):
        word = f"latecomer{'abcde'[number]}"
        speaker.say(*[f"{word}, "] * 2_000, pause=0.02)
        with newcomer.asking("Go", "plain") as stream:
            arrived = [next(stream), next(stream)]
            listed(word, "mask")
            since = time.monotonic()
            for event in stream:
                arrived.append(event)
                if "*" in text_of(arrived):
                    break
            delays.append(time.monotonic() - since)
            newcomer.stop(arrived[0].data["generation"])
            arrived += list(stream)
        text = text_of(arrived)
        assert text.startswith(word)
        assert word not in text[text.index("*") :]
    assert min(delays) < 2


@pytest.mark.parametrize("scope", ["input", "both"])
def test_scope(newcomer: ApiUser, speaker: Speaker, listed: Lister, scope: str) -> None:
    """A word for prompts only does not change completions."""
    listed("scopeword", "mask", scope)
    speaker.say("a scope", "word here")
    wanted = "a scopeword here" if scope == "input" else "a ********* here"
    assert text_of(newcomer.answer("x", "plain")) == wanted
