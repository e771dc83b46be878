"""Sensitive words at /v1: in requests and completions, whole or streamed, and in tool calls."""

import json
from typing import Any

import httpx
import pytest

from tests.chat.programs import WEATHER, ask, chunks, error, generation_of
from tests.chat.screening.conftest import Hits, Lister, Speaker
from tests.product import ApiUser


@pytest.fixture
def program(newcomer: ApiUser) -> httpx.Client:
    token = newcomer.client.post("/api/tokens/", json={"name": "program"}).json()["token"]
    return newcomer.product.client(token)


def reply_to(program: httpx.Client, prompt: str, *, stream: bool, **body: Any) -> dict[str, Any]:
    """Send a prompt; return the joined message, the finish reason, and the generation."""
    answer = ask(program, "plain", [{"role": "user", "content": prompt}], stream=stream, **body)
    assert answer.status_code == 200, answer.text
    if not stream:
        whole = answer.json()
        choice = whole["choices"][0]
        return {**choice["message"], "finish": choice["finish_reason"], "generation": generation_of(whole)}
    *events, done = chunks(answer)
    assert done == "[DONE]"
    reply: dict[str, Any] = {"content": "", "tool_calls": [], "generation": generation_of(events[0])}
    for choice in (event["choices"][0] for event in events):
        reply["finish"] = choice["finish_reason"]
        for name, value in choice["delta"].items():
            reply[name] = reply.get(name, type(value)()) + value if name != "role" else value
    return reply


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both
def test_masked_words(
    program: httpx.Client, newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """A masked word shows as stars in content and reasoning, and stores one hit each."""
    word, thought = listed("cobalt", "mask", "output"), listed("秘方", "mask", "output")
    speaker.say("Blue: ", "c", "o-b", "alt", " it is", reasoning="想想秘 方")
    reply = reply_to(program, "Which blue?", stream=stream)
    assert (reply["content"], reply["reasoning_content"]) == ("Blue: ******* it is", "想想***")
    assert reply["finish"] == "stop"
    assert hits(newcomer.name)[1] == [(id_, "output", reply["generation"]) for id_ in sorted([word, thought])]


@both
def test_blocked(program: httpx.Client, speaker: Speaker, listed: Lister, stream: bool) -> None:
    """A blocked word ends the completion with `content_filter` and closes the upstream."""
    listed("霹雳弦", "block", "output")
    speaker.say(*"弓如霹雳弦惊", end="hang")
    reply = reply_to(program, f"下一句？{stream}", stream=stream)
    assert (reply["content"], reply["finish"]) == ("弓如", "content_filter")
    assert speaker.closed_at(f"下一句？{stream}")


def test_blocked_in_reasoning(program: httpx.Client, newcomer: ApiUser, speaker: Speaker, listed: Lister) -> None:
    """A blocked word in the reasoning ends the completion; reasoning that was sent before it is charged."""
    listed("毒方", "block", "output")
    speaker.say("方子是", reasoning="想想毒-方", end="hang")
    reply = reply_to(program, "什么毒？", stream=True)
    assert (reply["content"] or "", reply["reasoning_content"], reply["finish"]) == ("", "想想", "content_filter")
    assert newcomer.quota()["used_today"] == 1
    speaker.say("方子是", reasoning="毒-方", end="hang")
    assert reply_to(program, "还是毒？", stream=True)["finish"] == "content_filter"
    assert newcomer.quota()["used_today"] == 1


@both
def test_a_blocked_prompt(
    program: httpx.Client, newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """A blocked word in the new messages is a 400 without side effects."""
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
    """Earlier turns, names, calls and results are masked, blocking words too."""
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
    """The text parts of one turn are screened as one text."""
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
    """Descriptions of tools and of the response format are masked; names stay."""
    listed("walnuts", "block", "input")
    function = {"name": "walnuts", "description": "Counts walnuts", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    assert ask(program, "plain", tools=tools).status_code == 200
    sent = speaker.requests[-1].body["tools"][0]["function"]
    assert (sent["name"], sent["description"]) == ("walnuts", "Counts *******")


@both
def test_calls(
    program: httpx.Client, newcomer: ApiUser, speaker: Speaker, listed: Lister, hits: Hits, stream: bool
) -> None:
    """Arguments of tool calls are masked, wherever the upstream splits them."""
    word = listed("独立", "mask", "output")
    speaker.say()
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": piece}} for piece in '{"city": "独 \\u7acb", "days": 3}']
    speaker.deltas = [{"tool_calls": [piece]} for piece in (first, *pieces)]
    reply = reply_to(program, "Weather?", stream=stream, tools=[WEATHER])
    assert "".join(call["function"]["arguments"] for call in reply["tool_calls"]) == '{"city": "***", "days": 3}'
    assert reply["tool_calls"][0]["function"]["name"] == "weather"
    assert reply["finish"] == "tool_calls"
    assert newcomer.quota()["used_today"] == 1
    assert hits(newcomer.name)[1] == [(word, "output", reply["generation"])]


@both
def test_a_blocked_call(
    program: httpx.Client, newcomer: ApiUser, speaker: Speaker, listed: Lister, stream: bool
) -> None:
    """A call with a blocked word is dropped; the completion ends with `content_filter`, free."""
    listed("毒方", "block", "output")
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"q": "毒方"}'}}
    speaker.say()
    speaker.deltas = [{"tool_calls": [call]}]
    reply = reply_to(program, "Weather?", stream=stream, tools=[WEATHER])
    assert (reply["content"] or "", reply.get("tool_calls", []), reply["finish"]) == ("", [], "content_filter")
    assert newcomer.quota()["used_today"] == 0


def test_calls_without_hits(program: httpx.Client, speaker: Speaker, listed: Lister) -> None:
    """A call without hits arrives unchanged, after the text before it."""
    listed("独立", "mask", "output")
    arguments = '{"city": "\\u5317京"}'
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    speaker.say("I ask 独")
    speaker.deltas.append({"tool_calls": [call]})
    reply = reply_to(program, "Weather?", stream=True, tools=[WEATHER])
    assert reply["content"] == "I ask 独"
    assert reply["tool_calls"][0]["function"]["arguments"] == arguments
