"""Gemini and Azure OpenAI from the environment to the reader, on `/api/chat/` and on `/v1` with tools."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from openai import OpenAI

from tests import azure, gemini
from tests.azure import FakeAzure
from tests.gemini import FakeGemini
from tests.gemini_scenarios import SIGNATURE
from tests.product import ApiUser, Product, text_of
from tests.scenarios import PLAIN, REASONING

HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
GEMINI_MODELS = {"g-plain": "plain", "g-thoughts": "thoughts", "g-tools": "tool_round", "g-blocked": "blocked"}
GEMINI_MODELS |= {"g-safety": "finish:SAFETY", "g-array": "array", "g-echo": "echo", "g-sources": "grounded"}
AZURE_MODELS = {"a-plain": "plain", "a-tools": "tool_round", "a-filtered": "filtered"}


class Scene(NamedTuple):
    """A product connected to both vendors."""

    product: Product
    gemini: FakeGemini
    azure: FakeAzure


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with FakeGemini.in_thread() as google, FakeAzure.in_thread() as microsoft:
        variables = {
            "DAILY_LIMIT_STANDARD": "1000000",
            "GEMINI_API_KEYS": gemini.KEY,
            "GEMINI_BASE_URL": google.base_url,
            "GEMINI_MODELS": ",".join(f"{slug}={scenario}" for slug, scenario in GEMINI_MODELS.items()),
            "AZURE_OPENAI_API_KEYS": azure.KEY,
            "AZURE_OPENAI_ENDPOINT": microsoft.base_url,
            "AZURE_OPENAI_MODELS": ",".join(f"{slug}={scenario}" for slug, scenario in AZURE_MODELS.items()),
        }
        with Product(tmp_path_factory.mktemp("native"), **variables) as product:
            yield Scene(product, google, microsoft)


@pytest.fixture
def product(scene: Scene) -> Product:
    return scene.product


@pytest.fixture
def client(api_user: ApiUser) -> Iterator[OpenAI]:
    """OpenAI's client for a user of the product."""
    token = api_user.client.post("/api/tokens/", json={"name": "sdk"}).json()["token"]
    http = httpx.Client(trust_env=False, verify=False)
    with OpenAI(base_url=f"{api_user.product.url}/v1", api_key=token, http_client=http, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "usage"),
    [("g-plain", (9, 11)), ("g-thoughts", (9, 12)), ("g-array", (9, 7)), ("g-sources", (9, 7)), ("a-plain", (9, 11))],
)
def test_a_completion_reaches_the_reader(
    product: Product, api_user: ApiUser, model: str, usage: tuple[int, int]
) -> None:
    """Text, thoughts and the vendor's usage arrive, one unit is charged, and no key is logged."""
    events = api_user.answer("Hello", model)

    row = api_user.generation(events[0].data["generation"])
    assert text_of(events) == row["content"] == PLAIN
    assert row["reasoning"] == (REASONING if model == "g-thoughts" else "")
    assert (row["status"], row["finish_reason"], row["charge"]["amount"]) == ("completed", "stop", 1)
    assert (row["usage"]["input_tokens"], row["usage"]["output_tokens"], row["usage"]["estimated"]) == (*usage, False)
    assert not any(key in product.output for key in (gemini.KEY, azure.KEY))


@pytest.mark.parametrize("model", ["g-blocked", "a-filtered"])
def test_moderation_of_prompts(api_user: ApiUser, model: str) -> None:
    """A prompt that the vendor blocks costs nothing."""
    events = api_user.answer("Hello", model)

    assert (events[-1].name, events[-1].data["code"]) == ("error", "content_blocked")
    assert events[-1].data["charge"]["amount"] == 0


def test_a_filtered_completion_keeps_its_text(api_user: ApiUser) -> None:
    events = api_user.answer("Hello", "g-safety")

    assert (text_of(events), events[-1].data["finish_reason"]) == (PLAIN, "content_filter")


def test_a_conversation_alternates(scene: Scene, api_user: ApiUser) -> None:
    """Turns of a conversation go to Gemini in its roles."""
    first = api_user.answer("one", "g-echo")
    api_user.answer("two", "g-echo", conversation=first[0].data["conversation"])

    assert [turn["role"] for turn in scene.gemini.requests[-1].body["contents"]] == ["user", "model", "user"]


@pytest.mark.parametrize("model", ["g-tools", "a-tools"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_round_with_tools(scene: Scene, client: OpenAI, model: str, streamed: bool) -> None:
    """OpenAI's client calls a tool and sends its result; Gemini's signature comes and goes back with the call."""
    if streamed:
        with client.chat.completions.stream(model=model, messages=HELLO, tools=[WEATHER]) as stream:
            choice: Any = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER]).choices[0]
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "杭州", "days": 2})
    returned = {"role": "assistant", "content": None, "tool_calls": [call.model_dump(exclude_none=True)]}
    if streamed:
        # The client parses arguments for its caller; this copy of them is its own.
        returned["tool_calls"][0]["function"].pop("parsed_arguments", None)
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages: Any = [*HELLO, returned, result]

    after = client.chat.completions.create(model=model, messages=messages, tools=[WEATHER]).choices[0]

    assert "sunny" in (after.message.content or "")
    assert after.finish_reason == "stop"
    if model == "g-tools":
        assert call.extra_content == {"google": {"thought_signature": SIGNATURE}}
        parts = [part for turn in scene.gemini.requests[-1].body["contents"] for part in turn["parts"]]
        assert [part["thoughtSignature"] for part in parts if "functionCall" in part] == [SIGNATURE]


def test_a_client_that_loses_the_signature(scene: Scene, client: OpenAI) -> None:
    """The vendor refuses the call once; sent again with the documented stand-in, it is taken."""
    (call,) = (
        client.chat.completions.create(model="g-tools", messages=HELLO, tools=[WEATHER]).choices[0].message.tool_calls
        or ()
    )
    bare = {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [bare]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    before = len(scene.gemini.requests)

    after = client.chat.completions.create(model="g-tools", messages=messages, tools=[WEATHER])

    assert json.loads(after.choices[0].message.content or "") == {"output": "sunny"}
    assert len(scene.gemini.requests) == before + 2


def test_thoughts_on_v1(client: OpenAI) -> None:
    """Thoughts are `reasoning_content`."""
    message: Any = client.chat.completions.create(model="g-thoughts", messages=HELLO).choices[0].message

    assert (message.content, message.reasoning_content) == (PLAIN, REASONING)


def test_images_on_v1(scene: Scene, client: OpenAI) -> None:
    """An image of a request reaches Gemini as data."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Look"}, image]}]

    client.chat.completions.create(model="g-plain", messages=messages)

    parts = scene.gemini.requests[-1].body["contents"][0]["parts"]
    assert parts == [{"text": "Look"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}]
