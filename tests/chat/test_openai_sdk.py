"""/v1 with OpenAI's own client, as its users meet it."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionToolParam

from tests.chat.openai_client import LEAVES_AFTER_SECONDS, WITHIN_SECONDS, Counted, closed_after, counting
from tests.product import ApiUser
from tests.readers import until_below
from tests.scenarios import PLAIN, REASONING
from tests.upstreams import FakeOpenAI

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def counted(api_user: ApiUser) -> Iterator[Counted]:
    with counting(api_user) as counted:
        yield counted


@pytest.fixture
def client(counted: Counted) -> OpenAI:
    return counted.client


def test_a_completion_comes_back_whole(client: OpenAI) -> None:
    """A completion comes back whole, with its usage and the number of the request."""
    answer = client.chat.completions.create(model="echo", messages=HELLO)
    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (9, 2, 11)
    assert answer._request_id


def test_models(client: OpenAI) -> None:
    """Models can be listed, and looked up one by one."""
    ids = [model.id for model in client.models.list()]
    assert {"echo", "demo"} <= set(ids)
    for slug in ("echo", "org/m:free"):
        assert client.models.retrieve(slug).id == slug
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("org/m:paid")
    assert refused.value.code == "model_not_found"


def test_streaming(client: OpenAI) -> None:
    """A stream is read to its end, reasoning and usage included."""
    text = thought = ""
    usage = None
    options: Any = {"include_usage": True}
    for chunk in client.chat.completions.create(model="reasoning", messages=HELLO, stream=True, stream_options=options):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", "")
    assert (text, thought) == (PLAIN, REASONING)
    assert usage
    assert usage.total_tokens == 16


def test_a_bad_token(api_user: ApiUser, client: OpenAI) -> None:
    """A bad token is an authentication error."""
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-wrong").chat.completions.create(model="echo", messages=HELLO)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


def test_an_exhausted_quota(counted: Counted) -> None:
    """An exhausted quota is one call: the response forbids the client to retry."""
    for _ in range(10):
        counted.client.chat.completions.create(model="gpt-4-echo", messages=HELLO)
    before = counted.calls
    with pytest.raises(openai.RateLimitError) as refused:
        counted.client.chat.completions.create(model="gpt-4-echo", messages=HELLO)
    assert refused.value.code == "insufficient_quota"
    assert counted.calls == before + 1


def test_a_failure_in_the_middle(client: OpenAI) -> None:
    """A failure in the middle raises, after the text so far."""
    stream = client.chat.completions.create(model="error", messages=HELLO, stream=True)
    texts: list[str] = []
    with pytest.raises(openai.APIError) as failed:
        texts.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(texts) == "one two three "
    assert failed.value.code == "server_error"


def test_a_failure_before_anything(counted: Counted) -> None:
    """A failure before any text has a status, so the client retries by itself; nothing is charged."""
    with pytest.raises(openai.InternalServerError) as failed:
        counted.client.chat.completions.create(model="http-400", messages=HELLO, stream=True)
    assert failed.value.status_code == 502
    assert counted.calls == 3


def test_a_field_that_is_wrong(client: OpenAI) -> None:
    """A wrong field is a bad request that names it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=HELLO, n=2)
    assert refused.value.param == "n"


def test_a_round_with_tools(client: OpenAI, api_user: ApiUser) -> None:
    """The model calls a tool, gets its result, and answers: streamed and whole, the client puts the calls together."""
    tool: ChatCompletionToolParam = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    with client.chat.completions.stream(model="tools", messages=HELLO, tools=[tool]) as stream:
        streamed = stream.get_final_completion().choices[0]
    whole = client.chat.completions.create(model="tools", messages=HELLO, tools=[tool]).choices[0]
    for choice in (streamed, whole):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        call: Any = choice.message.tool_calls[0]
        assert (call.id, call.function.name) == ("call_1", "weather")
        assert call.function.arguments == '{"city": "杭州", "days": 2}'
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 24 °C"}
    messages: Any = [*HELLO, whole.message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="tools", messages=messages, tools=[tool]).choices[0].message
    assert (answer.content, answer.tool_calls) == ("sunny, 24 °C", None)
    assert api_user.quota()["used_today"] == 3


def test_leaving_after_the_first_event(client: OpenAI, upstream: FakeOpenAI) -> None:
    """Closing the stream closes the upstream within 50 ms."""
    delays: list[float] = []
    for _ in until_below(WITHIN_SECONDS, delays):
        prompt = secrets.token_hex(8)
        messages: Any = [{"role": "user", "content": prompt}]
        stream = client.chat.completions.create(model="endless", messages=messages, stream=True)
        next(iter(stream))
        left_at = time.monotonic()
        stream.close()
        delays.append(upstream.closed_at(prompt) - left_at)
    assert min(delays) < WITHIN_SECONDS


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_before_the_first_event(client: OpenAI, upstream: FakeOpenAI, *, stream: bool) -> None:
    """Giving up closes the upstream within 50 ms, before it has said anything too."""
    hasty = client.with_options(timeout=LEAVES_AFTER_SECONDS, max_retries=0)
    delays: list[float] = []
    for _ in until_below(WITHIN_SECONDS, delays):
        prompt = secrets.token_hex(8)
        messages: Any = [{"role": "user", "content": prompt}]
        with pytest.raises(openai.APITimeoutError):
            hasty.chat.completions.create(model="hang", messages=messages, stream=stream)
        delays.append(closed_after(upstream, prompt, time.monotonic()))
    assert min(delays) < WITHIN_SECONDS
