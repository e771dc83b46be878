"""Anthropic from the environment to the reader: /api/chat/ and /v1, with tools and the signatures of thinking."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.anthropic import KEY, FakeAnthropic
from tests.anthropic_rules import sign
from tests.anthropic_scenarios import CITY, REDACTED, TOOL_ID
from tests.chat.programs import ask, chunks, error
from tests.product import ApiUser, Product, text_of
from tests.scenarios import PLAIN, REASONING

MODELS = {
    "claude": "plain",
    "thinker": "thinking",
    "tooled": "tool_round",
    "reader": "search",
    "whole": "whole",
    "small": "small",
    "adaptive": "adaptive",
    "overloaded": "once:error:overloaded_error",
    "broke": "error:invalid_request_error:Your credit balance is too low",
    "cutter": "cut",
    "long": "error:invalid_request_error:prompt is too long: 210000 tokens > 200000 maximum",
}
THINKING = {"type": "enabled", "budget_tokens": 2000}
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "now")]
HELLO: Any = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Scene:
    """A product that the environment connects to a fake Anthropic."""

    product: Product
    upstream: FakeAnthropic


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with FakeAnthropic.in_thread() as upstream:
        variables = {
            "ANTHROPIC_API_KEYS": KEY,
            "ANTHROPIC_BASE_URL": upstream.base_url,
            "ANTHROPIC_MODELS": ",".join(f"{slug}={scenario}" for slug, scenario in MODELS.items()),
            "DAILY_LIMIT_STANDARD": "1000000",
        }
        with Product(tmp_path_factory.mktemp("anthropic"), **variables) as product:
            staff = product.admin().client
            rows = {row["slug"]: row["id"] for row in staff.get("/api/admin/models/").json()}
            for slug in ("thinker", "tooled", "adaptive"):
                changed = staff.patch(f"/api/admin/models/{rows[slug]}/", json={"parameters": {"thinking": THINKING}})
                assert changed.status_code == 200, changed.text
            yield Scene(product, upstream)


@pytest.fixture
def product(scene: Scene) -> Product:
    return scene.product


@pytest.fixture
def caller(api_user: ApiUser) -> httpx.Client:
    """A program with a token of the user's."""
    token = api_user.client.post("/api/tokens/", json={"name": "t"}).json()["token"]
    return api_user.product.client(token)


def last(upstream: FakeAnthropic) -> dict[str, Any]:
    """Return the body of the last request."""
    return upstream.requests[-1].body


# --- /api/chat/ ------------------------------------------------------------------------------------------------------


@pytest.mark.contract("setting: ANTHROPIC_MODELS")
def test_a_conversation(scene: Scene, api_user: ApiUser) -> None:
    """A model of the environment answers with exact usage, and the next prompt carries the turns before it."""
    events = api_user.answer("Hello", "claude")
    row = api_user.generation(events[0].data["generation"])
    assert (row["status"], row["content"], row["charge"]["amount"]) == ("completed", PLAIN, 1)
    assert text_of(events) == PLAIN
    usage = {"input_tokens": 9, "output_tokens": 7, "estimated": False}
    assert {name: row["usage"][name] for name in usage} == usage

    api_user.answer("And now?", "claude", conversation=events[0].data["conversation"])
    turns = last(scene.upstream)["messages"]
    assert [(turn["role"], turn["content"][0]["text"].strip()) for turn in turns] == [
        ("user", "Hello"),
        ("assistant", PLAIN.strip()),
        ("user", "And now?"),
    ]
    assert KEY not in scene.product.output


def test_thinking_is_shown_apart(scene: Scene, api_user: ApiUser) -> None:
    """Thinking that the model's row asks for is reasoning."""
    events = api_user.answer("Hello", "thinker")
    row = api_user.generation(events[0].data["generation"])
    assert (row["reasoning"], row["content"]) == (REASONING, PLAIN)
    assert last(scene.upstream)["thinking"] == THINKING


@pytest.mark.parametrize("model", ["small", "adaptive"])
def test_a_lesson_is_kept(scene: Scene, api_user: ApiUser, model: str) -> None:
    """A cap or a way of thinking that the model refused is not sent again."""
    for prompt, calls in (("Lesson one", 2), ("Lesson two", 1)):
        assert text_of(api_user.answer(prompt, model)) == PLAIN
        assert len([sent for sent in scene.upstream.requests if f"{prompt}" in json.dumps(sent.body)]) == calls
        scene.upstream.requests.clear()


@pytest.mark.parametrize("model", ["whole", "reader"])
def test_other_shapes(api_user: ApiUser, model: str) -> None:
    """A whole message, and one with the vendor's own tools, are completions with their text."""
    events = api_user.answer("Hello", model)
    assert (events[-1].name, text_of(events)) == ("done", PLAIN if model == "whole" else "It is so.")


def test_an_overloaded_vendor_is_asked_again(scene: Scene, api_user: ApiUser) -> None:
    """An overloaded vendor is asked again; the reader waits and pays once."""
    events = api_user.answer("Are you there?", "overloaded")
    assert (events[-1].name, text_of(events)) == ("done", PLAIN)
    assert events[-1].data["charge"]["amount"] == 1
    asked = [sent for sent in scene.upstream.requests if "Are you there?" in json.dumps(sent.body)]
    assert len(asked) == 2


@pytest.mark.parametrize(("model", "code"), [("cutter", "upstream_error"), ("long", "prompt_too_long")])
def test_failures(api_user: ApiUser, model: str, code: str) -> None:
    """A cut stream and a prompt that is too long end with their code, and cost nothing."""
    events = api_user.answer("Hello", model)
    assert (events[-1].name, events[-1].data["code"]) == ("error", code)
    assert events[-1].data["charge"]["amount"] == 0


# --- /v1 -------------------------------------------------------------------------------------------------------------


def test_a_streamed_completion(caller: httpx.Client) -> None:
    """On /v1 text and thinking come in OpenAI's shape, with the usage."""
    data = chunks(ask(caller, "thinker", stream=True, stream_options={"include_usage": True}))
    deltas = [choice["delta"] for chunk in data[:-1] for choice in chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == PLAIN
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == REASONING
    assert data[-2]["usage"]["completion_tokens"] == 20


def test_tool_calls_with_openais_client(scene: Scene, api_user: ApiUser) -> None:
    """OpenAI's client returns calls and results as it got them, and the vendor gets its signed thinking back."""
    token = api_user.client.post("/api/tokens/", json={"name": "sdk"}).json()["token"]
    http = httpx.Client(trust_env=False, verify=False)
    with OpenAI(base_url=f"{scene.product.url}/v1", api_key=token, http_client=http) as client:
        first = client.chat.completions.create(model="tooled", messages=HELLO, tools=TOOLS).choices[0]
        assert first.finish_reason == "tool_calls"
        calls = first.message.tool_calls or []
        assert [json.loads(call.function.arguments) for call in calls] == [CITY, {}]  # type: ignore[union-attr]
        results = [{"role": "tool", "tool_call_id": call.id, "content": f"result of {call.id}"} for call in calls]
        turns: Any = [*HELLO, first.message.model_dump(exclude_none=True), *results]
        second = client.chat.completions.create(model="tooled", messages=turns, tools=TOOLS).choices[0]

    assert second.message.content == f"result of {TOOL_ID} and result of {TOOL_ID}2"
    sent = last(scene.upstream)
    assert sent["thinking"] == THINKING
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": REASONING, "signature": sign(REASONING)},
        {"type": "redacted_thinking", "data": REDACTED},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": TOOL_ID, "name": "weather", "input": CITY},
        {"type": "thinking", "thinking": "And now?", "signature": sign("And now?")},
        {"type": "tool_use", "id": f"{TOOL_ID}2", "name": "now", "input": {}},
    ]


def test_streamed_tool_calls(scene: Scene, caller: httpx.Client) -> None:
    """A client that streams gets the signatures in the first piece of each call, and may return them too."""
    data = chunks(ask(caller, "tooled", stream=True, tools=TOOLS))
    deltas = [choice["delta"] for chunk in data[:-1] for choice in chunk["choices"]]
    calls: dict[int, dict[str, Any]] = {}
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", ())):
        call = calls.setdefault(piece["index"], {**piece, "function": {**piece["function"], "arguments": ""}})
        call["function"]["arguments"] += piece["function"].get("arguments", "")
    assert [len(call["extra_content"]["anthropic"]["thinking"]) for call in calls.values()] == [2, 1]

    results = [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in calls.values()]
    turn = {"role": "assistant", "content": None, "tool_calls": [*calls.values()]}
    back = ask(caller, "tooled", [*HELLO, turn, *results], tools=TOOLS)
    assert back.json()["choices"][0]["message"]["content"] == "rain and rain"
    assert last(scene.upstream)["messages"][1]["content"][0]["signature"] == sign(REASONING)


def test_a_client_that_drops_the_signatures(scene: Scene, caller: httpx.Client) -> None:
    """A client that returns the calls only gets its completion too, without thinking in that turn."""
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turn = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "a", "content": "rain"}
    back = ask(caller, "tooled", [*HELLO, turn, result], tools=TOOLS)
    assert back.json()["choices"][0]["message"]["content"] == "rain"
    assert "thinking" not in last(scene.upstream)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 7}, "seed"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": "\n"}, "stop"),
        ({"temperature": 1.5}, "temperature"),
    ],
)
def test_fields_that_the_vendor_does_not_take(caller: httpx.Client, fields: dict[str, Any], param: str) -> None:
    """A field that the vendor does not have, or refuses, is 400 with its name."""
    status, kind, _code, named = error(ask(caller, "claude", **fields))
    assert (status, kind, named) == (400, "invalid_request_error", param)


def test_images(scene: Scene, caller: httpx.Client) -> None:
    """An image of a caller reaches the vendor as one."""
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert ask(caller, "claude", [{"role": "user", "content": parts}]).status_code == 200
    image = last(scene.upstream)["messages"][0]["content"][1]
    assert image["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


# It comes last, because it ends the only key.
def test_an_empty_account(scene: Scene, api_user: ApiUser, caller: httpx.Client) -> None:
    """A key without credit is taken out of use, and the reader is not shown the vendor's words."""
    events = api_user.answer("Hello", "broke")
    assert (events[-1].name, events[-1].data["code"]) == ("error", "upstream_error")
    assert "credit" not in json.dumps(events[-1].data)
    assert ask(caller, "broke").status_code in (502, 503)
