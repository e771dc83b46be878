"""/v1/responses with OpenAI's own client."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import FunctionToolParam

from tests.chat.openai_client import LEAVES_AFTER_SECONDS, WITHIN_SECONDS, Counted, closed_after, counting
from tests.chat.test_reasoning_details import CIPHER, TEXT
from tests.product import ApiUser
from tests.readers import until_below
from tests.scenarios import PLAIN, REASONING
from tests.upstreams import FakeOpenAI

WEATHER: FunctionToolParam = {"type": "function", "name": "weather", "parameters": {}, "strict": False}


@pytest.fixture
def counted(api_user: ApiUser) -> Iterator[Counted]:
    with counting(api_user) as counted:
        yield counted


@pytest.fixture
def client(counted: Counted) -> OpenAI:
    return counted.client


def test_text(client: OpenAI) -> None:
    """A response comes back whole, with its text, its usage and the number of the request."""
    answer = client.responses.create(model="echo", input="Hello")
    assert (answer.output_text, answer.status) == ("Hello", "completed")
    assert answer.usage
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 2)
    assert answer._request_id


def test_a_stream(client: OpenAI) -> None:
    """The client puts a stream together, reasoning included."""
    thought = ""
    with client.responses.stream(model="reasoning", input="Hello") as stream:
        for event in stream:
            if event.type == "response.reasoning_summary_text.delta":
                thought += event.delta
        final = stream.get_final_response()
    assert (final.output_text, thought) == (PLAIN, REASONING)
    assert [item.type for item in final.output] == ["reasoning", "message"]


def test_a_round_with_tools(client: OpenAI, api_user: ApiUser) -> None:
    """The model calls a tool, gets its result, and answers; the output goes back as it came."""
    with client.responses.stream(model="tools", input="Hello", tools=[WEATHER]) as stream:
        for _event in stream:
            pass
        streamed = stream.get_final_response()
    whole = client.responses.create(model="tools", input="Hello", tools=[WEATHER])
    for answer in (streamed, whole):
        call: Any = answer.output[0]
        assert (call.type, call.call_id, call.name) == ("function_call", "call_1", "weather")
        assert call.arguments == '{"city": "杭州", "days": 2}'
    result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny, 24 °C"}
    history: Any = [{"role": "user", "content": "Hello"}, *whole.output, result]
    answer = client.responses.create(model="tools", input=history, tools=[WEATHER])
    assert answer.output_text == "sunny, 24 °C"
    assert api_user.quota()["used_today"] == 3


def test_signed_reasoning_goes_back(client: OpenAI, upstream: FakeOpenAI) -> None:
    """Encrypted content that a program asked for reaches the vendor with the result of the tool."""
    asked: Any = {"model": "detailed", "tools": [WEATHER], "include": ["reasoning.encrypted_content"]}
    with client.responses.stream(input="Hello", **asked) as stream:
        for _event in stream:
            pass
        streamed = stream.get_final_response()
    whole = client.responses.create(input="Hello", **asked)
    before = len(upstream.requests)
    for answer in (streamed, whole):
        result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
        history: Any = [{"role": "user", "content": "Hello"}, *answer.output, result]
        assert client.responses.create(input=history, **asked).output_text == "sunny"
    turns = [request.body["messages"][1] for request in upstream.requests[before:]]
    assert [turn["reasoning_details"] for turn in turns] == [[TEXT, CIPHER]] * 2
    unasked = client.responses.create(model="detailed", input="Hello", tools=[WEATHER])
    assert [item.type for item in unasked.output] == ["reasoning", "function_call"]
    assert unasked.output[0].encrypted_content is None  # type: ignore[union-attr]


def test_an_image(client: OpenAI, upstream: FakeOpenAI) -> None:
    """An image reaches the upstream."""
    url = "data:image/png;base64,AAAA"
    parts: Any = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    client.responses.create(model="plain", input=[{"role": "user", "content": parts}])
    content = upstream.requests[-1].body["messages"][0]["content"]
    assert content[1] == {"type": "image_url", "image_url": {"url": url}}


def test_error_classes(counted: Counted) -> None:
    """Refusals raise the client's own classes; what forbids a retry is one call."""
    client = counted.client
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").responses.create(model="echo", input="Hello")
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nope", input="Hello")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="echo", input="Hello", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"
    for _ in range(10):
        client.responses.create(model="gpt-4-echo", input="Hello")
    before = counted.calls
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="gpt-4-echo", input="Hello")
    assert counted.calls == before + 1
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="http-400", input="Hello", stream=True)
    assert counted.calls == before + 4, "it tries again by itself"


def test_a_failure_in_the_middle(client: OpenAI) -> None:
    """A failure in the middle ends the stream with an error and a failed response, after the text so far."""
    found = list(client.responses.create(model="error", input="Hello", stream=True))
    assert "".join(event.delta for event in found if event.type == "response.output_text.delta") == "one two three "
    assert [event.type for event in found[-2:]] == ["error", "response.failed"]


def test_leaving(client: OpenAI, upstream: FakeOpenAI) -> None:
    """Closing a stream, or giving up before its first event, closes the upstream within 50 ms."""
    middle: list[float] = []
    for _ in until_below(WITHIN_SECONDS, middle):
        prompt = secrets.token_hex(8)
        stream = client.responses.create(model="endless", input=prompt, stream=True)
        next(iter(stream))
        left_at = time.monotonic()
        stream.close()
        middle.append(upstream.closed_at(prompt) - left_at)
    before: list[float] = []
    hasty = client.with_options(timeout=LEAVES_AFTER_SECONDS, max_retries=0)
    for _ in until_below(WITHIN_SECONDS, before):
        prompt = secrets.token_hex(8)
        with pytest.raises(openai.APITimeoutError):
            hasty.responses.create(model="hang", input=prompt)
        before.append(closed_after(upstream, prompt, time.monotonic()))
    assert max(min(middle), min(before)) < WITHIN_SECONDS
