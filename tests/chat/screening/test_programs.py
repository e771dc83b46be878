"""Sensitive words at /v1: in what programs send, and in what they get, in one piece or streamed, calls of tools too."""

import json
import time
from typing import Any

import httpx
import pytest

from tests.chat.programs import WEATHER, ask, chunks, error, generation_of
from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.chat.test_ends import closed_after
from tests.product import Person


@pytest.fixture
def program(newcomer: Person) -> httpx.Client:
    token = newcomer.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    return newcomer.product.client(token)


def heard(program: httpx.Client, prompt: str, *, stream: bool, **body: Any) -> dict[str, Any]:
    """Ask, and return what was said: the message put together, the finish reason, the generation."""
    answer = ask(program, "plain", [{"role": "user", "content": prompt}], stream=stream, **body)
    assert answer.status_code == 200, answer.text
    if not stream:
        whole = answer.json()
        choice = whole["choices"][0]
        return {**choice["message"], "finish": choice["finish_reason"], "generation": generation_of(whole)}
    *events, done = chunks(answer)
    assert done == "[DONE]"
    said: dict[str, Any] = {"content": "", "tool_calls": [], "generation": generation_of(events[0])}
    for choice in (event["choices"][0] for event in events):
        said["finish"] = choice["finish_reason"]
        for name, value in choice["delta"].items():
            said[name] = said.get(name, type(value)()) + value if name != "role" else value
    return said


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
def test_it_works(
    program: httpx.Client, newcomer: Person, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """A masked word is stars in the answer and in its reasoning, however it was cut; a row for each is kept."""
    word, thought = listed("cobalt", "mask", "output"), listed("秘方", "mask", "output")
    speaker.say("Blue: ", "c", "o-b", "alt", " it is", reasoning="想想秘 方")
    said = heard(program, "Which blue?", stream=stream)
    assert (said["content"], said["reasoning_content"]) == ("Blue: ******* it is", "想想***")
    assert said["finish"] == "stop"
    assert hits(newcomer.name)[1] == [(id_, "output", said["generation"]) for id_ in sorted([word, thought])]


@both
def test_blocked(program: httpx.Client, speaker: Speaker, listed: Lister, stream: bool) -> None:
    """A blocked word ends the answer before it with `content_filter`, and closes the upstream."""
    listed("霹雳弦", "block", "output")
    speaker.say(*"弓如霹雳弦惊", end="hang")
    since = time.monotonic()
    said = heard(program, f"下一句？{stream}", stream=stream)
    assert (said["content"], said["finish"]) == ("弓如", "content_filter")
    assert closed_after(speaker, f"下一句？{stream}", since) < 5


def test_blocked_in_reasoning(program: httpx.Client, newcomer: Person, speaker: Speaker, listed: Lister) -> None:
    """A blocked word in the reasoning ends the answer likewise; nothing was said, so nothing is charged."""
    listed("毒方", "block", "output")
    speaker.say("方子是", reasoning="想想毒-方", end="hang")
    said = heard(program, "什么毒？", stream=True)
    assert (said["content"] or "", said["reasoning_content"], said["finish"]) == ("", "想想", "content_filter")
    assert newcomer.quota()["used_today"] == 0


@both
def test_a_blocked_prompt(
    program: httpx.Client, newcomer: Person, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """A blocked word in what is new is a 400 that clients do not repeat; nothing is sent, stored or charged."""
    word = listed("forbidden fruit", "block", "input")
    asked = len(speaker.requests)
    answer = ask(program, "plain", [{"role": "user", "content": "A ＦＯＲＢＩＤＤＥＮ-fruit"}], stream=stream)
    assert error(answer) == (400, "invalid_request_error", "content_policy_violation", None)
    assert answer.headers["x-should-retry"] == "false"
    assert "fruit" not in answer.text
    assert len(speaker.requests) == asked
    assert newcomer.quota()["used_today"] == 0
    assert hits(newcomer.name) == (1, [(word, "input", None)])


def test_all_turns(program: httpx.Client, speaker: Speaker, listed: Lister) -> None:
    """Whatever is not new is masked: earlier turns, names, calls and results, also of words that block."""
    listed("walnuts", "block", "input")
    arguments = {"q": "walnuts"}
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(arguments)}}
    turns = [
        {"role": "system", "content": "Like walnuts"},
        {"role": "user", "content": "On walnuts?", "name": "walnuts"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "walnuts?"},
        {"role": "tool", "tool_call_id": "c1", "content": "walnuts!"},
        {"role": "user", "content": "And the rest, please"},
    ]
    assert ask(program, "plain", turns, tools=[WEATHER]).status_code == 200
    sent = speaker.sent_for("And the rest, please")
    assert "walnuts" not in json.dumps(sent)
    assert sent[0]["content"] == "Like *******"
    assert (sent[1]["content"], sent[1]["name"]) == ("On *******?", "*******")
    assert sent[2]["tool_calls"][0]["function"]["arguments"] == '{"q": "*******"}'
    assert sent[2]["reasoning_content"] == "*******?"
    assert (sent[3]["content"], sent[3]["tool_call_id"]) == ("*******!", "c1")


def test_texts_around_an_image(program: httpx.Client, speaker: Speaker, listed: Lister) -> None:
    """The texts of one turn are one text, whatever stands between them."""
    masked, blocked = listed("hazelnuts", "mask", "input"), listed("walnuts", "block", "input")
    assert masked != blocked
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGF6ZWxudXRz"}}

    def turn(*texts: str) -> list[dict[str, Any]]:
        parts = [{"type": "text", "text": text} for text in texts]
        return [{"role": "user", "content": [parts[0], image, *parts[1:]]}]

    assert error(ask(program, "plain", turn("wal", "nuts")))[0] == 400
    assert ask(program, "plain", turn("On hazel", "nuts, and", " more")).status_code == 200
    sent = speaker.requests[-1].body["messages"][-1]["content"]
    assert [part.get("text") for part in sent] == ["On *****", None, "****, and", " more"]
    assert sent[1] == image


def test_descriptions(program: httpx.Client, speaker: Speaker, listed: Lister) -> None:
    """Words in descriptions of tools and of the form of an answer are masked on their way; names stay."""
    listed("walnuts", "block", "input")
    function = {"name": "walnuts", "description": "Counts walnuts", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    assert ask(program, "plain", tools=tools).status_code == 200
    sent = speaker.requests[-1].body["tools"][0]["function"]
    assert (sent["name"], sent["description"]) == ("walnuts", "Counts *******")


@both
def test_calls(
    program: httpx.Client, newcomer: Person, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """Arguments of calls are masked as their reader reads them, wherever the vendor cuts them; the call stays whole."""
    word = listed("独立", "mask", "output")
    speaker.say()
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in '{"city": "独 \\u7acb", "days": 3}']
    speaker.deltas = [{"tool_calls": [piece]} for piece in (first, *pieces)]
    said = heard(program, "Weather?", stream=stream, tools=[WEATHER])
    assert "".join(call["function"]["arguments"] for call in said["tool_calls"]) == '{"city": "***", "days": 3}'
    assert said["tool_calls"][0]["function"]["name"] == "weather"
    assert said["finish"] == "tool_calls"
    assert newcomer.quota()["used_today"] == 1
    assert hits(newcomer.name)[1] == [(word, "output", said["generation"])]


@both
def test_a_blocked_call(
    program: httpx.Client, newcomer: Person, speaker: Speaker, listed: Lister, stream: bool
) -> None:
    """A call with a blocked word in it is not made; the answer ends with `content_filter`, and costs nothing."""
    listed("毒方", "block", "output")
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"q": "毒方"}'}}
    speaker.say()
    speaker.deltas = [{"tool_calls": [call]}]
    said = heard(program, "Weather?", stream=stream, tools=[WEATHER])
    assert (said["content"] or "", said.get("tool_calls", []), said["finish"]) == ("", [], "content_filter")
    assert newcomer.quota()["used_today"] == 0


def test_calls_without_hits(program: httpx.Client, speaker: Speaker, listed: Lister) -> None:
    """A call in which nothing is found comes as the vendor made it, after the text that came before it."""
    listed("独立", "mask", "output")
    arguments = '{"city": "\\u5317京"}'
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    speaker.say("I ask 独")
    speaker.deltas.append({"tool_calls": [call]})
    said = heard(program, "Weather?", stream=True, tools=[WEATHER])
    assert said["content"] == "I ask 独"
    assert said["tool_calls"][0]["function"]["arguments"] == arguments
