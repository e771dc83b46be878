"""Spark over HTTP: OpenAI's shape, Spark's codes."""

import json
from collections.abc import AsyncIterator

import pytest

from providers.wire.base import (
    JSON,
    ChatRequest,
    Endpoint,
    Event,
    Finished,
    PromptMessage,
    ToolCallDelta,
    Usage,
    Withdrawn,
)
from providers.wire.errors import BadParameter, ContentBlocked, PromptTooLong, ProviderError, Retry
from providers.wire.spark.http import SparkHTTP
from tests.providers.streams import collect, reasoning, request, text
from tests.scenarios import PLAIN, REASONING
from tests.spark_http import FakeSparkHTTP
from tests.spark_scenarios import SID

KEY = "api-password"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeSparkHTTP]:
    """A fake upstream in this event loop."""
    async with FakeSparkHTTP() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeSparkHTTP) -> AsyncIterator[SparkHTTP]:
    """A provider."""
    provider = SparkHTTP(Endpoint(upstream.base_url))
    yield provider
    await provider.aclose()


async def failure_of(provider: SparkHTTP, asking: ChatRequest, into: list[Event] | None = None) -> ProviderError:
    """Return the failure of a request."""
    with pytest.raises(ProviderError) as failure:
        await collect(provider.stream(asking, KEY), into)
    return failure.value


async def test_done_completes_a_stream_without_finish_reason(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """A completion without finish reasons and without spaces is complete with [DONE]."""
    events = await collect(provider.stream(request("plain"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 11), Finished("stop")]
    assert upstream.requests[0].path == "/v1/chat/completions"


async def test_done_is_needed(provider: SparkHTTP) -> None:
    """Without [DONE] nothing says that the completion is whole."""
    assert (await failure_of(provider, request("no_done"))).vendor_code == "truncated"


@pytest.mark.parametrize(
    ("key", "sent"), [("password", "password"), ("api:secret", "api:secret"), ("appid:api:secret", "api:secret")]
)
async def test_keys(provider: SparkHTTP, upstream: FakeSparkHTTP, key: str, sent: str) -> None:
    """A password or a pair goes out as it is, of the WebSocket's three parts the last two."""
    await collect(provider.stream(request("lite"), key))

    assert upstream.requests[0].key == sent


@pytest.mark.parametrize("parameters", [{}, {"web_search": False}])
async def test_request(provider: SparkHTTP, upstream: FakeSparkHTTP, parameters: dict[str, JSON]) -> None:
    """Usage comes unasked; the web is searched only where `web_search` says so."""
    await collect(provider.stream(request("4.0Ultra", parameters={"temperature": 0.5, **parameters}), KEY))

    assert upstream.requests[0].body == {
        "model": "4.0Ultra",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "stream": True,
        "tools": [{"type": "web_search", "web_search": {"enable": False}}],
    }


async def test_fine_tuned_model(upstream: FakeSparkHTTP) -> None:
    """A fine-tuned model is asked for its usage; its resource is a header of the upstream."""
    provider = SparkHTTP(Endpoint(upstream.base_url, headers=(("lora_id", "resource-1"),)))
    await collect(provider.stream(request("plain", parameters={"search_disable": True}), KEY))
    await provider.aclose()

    sent = upstream.requests[0]
    assert sent.headers["lora_id"] == "resource-1"
    assert sent.body == {
        "model": "plain",
        "messages": [{"role": "user", "content": "hello"}],
        "search_disable": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_reasoning_model(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """X1.5 gets its thinking switch, the caller's tools beside the search, and a cap that it takes."""
    tool: JSON = {"type": "function", "function": {"name": "f"}}
    parameters: dict[str, JSON] = {
        "thinking": {"type": "auto"},
        "max_tokens": 100_000,
        "web_search": {"search_mode": "deep"},
        "search_disable": False,
    }
    prompt = (PromptMessage("system", "be brief"), PromptMessage("user", "hi"))
    await collect(provider.stream(request("spark-x", *prompt, parameters=parameters, extras={"tools": [tool]}), KEY))

    body = upstream.requests[0].body
    assert body["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert body["tools"] == [
        tool,
        {"type": "web_search", "web_search": {"enable": True, "search_mode": "deep"}},
    ]
    assert (body["thinking"], body["max_tokens"]) == ({"type": "auto"}, 65_535)
    assert (body["tool_calls_switch"], body["search_disable"]) == (True, False)


@pytest.mark.parametrize(("effort", "kind"), [("none", "disabled"), ("low", "enabled")])
def test_reasoning_effort(effort: str, kind: str) -> None:
    """The caller's effort becomes the switch of X1.5; models without one refuse it by name."""
    provider = SparkHTTP(Endpoint("http://127.0.0.1:1/v1"))
    asking = request("spark-x", parameters={"thinking": {"type": "auto"}}, extras={"reasoning_effort": effort})

    body = provider.body(asking)

    assert (body["thinking"], "reasoning_effort" in body) == ({"type": kind}, False)
    for model in ("lite", "spark-x2.5"):
        with pytest.raises(BadParameter) as failure:
            provider.body(request(model, extras={"reasoning_effort": effort}))
        assert failure.value.param == "reasoning_effort"
    assert provider.body(request("tuned", extras={"reasoning_effort": effort}))["reasoning_effort"] == effort


@pytest.mark.parametrize("model", ["spark-x2.5", "spark-x2.5-4b", "spark-x2.5-next"])
def test_x25_gets_no_fixed_value(model: str) -> None:
    """X2.5 gets the newer name of the token cap, and nothing that has no effect there."""
    configured: dict[str, JSON] = {"temperature": 0.5, "top_p": 0.7, "presence_penalty": 1, "max_tokens": 500}
    tool: JSON = {"type": "function", "function": {"name": "f"}}
    extras: dict[str, JSON] = {"top_p": 0.95, "frequency_penalty": 0, "tools": [tool]}

    body = SparkHTTP(Endpoint("http://127.0.0.1:1/v1")).body(request(model, parameters=configured, extras=extras))

    assert body == {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "max_completion_tokens": 500,
        "tools": [tool],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("name", ["temperature", "top_p", "presence_penalty", "frequency_penalty"])
async def test_x25_refuses_a_caller_s_value(provider: SparkHTTP, upstream: FakeSparkHTTP, name: str) -> None:
    """What a caller sets and X2.5 does not heed is refused by name, before anything is sent."""
    if name == "temperature":
        asking = request("spark-x2.5", parameters={name: 0.5}, given=frozenset({name}))
    else:
        asking = request("spark-x2.5", extras={name: 0.5})

    failure = await failure_of(provider, asking)

    assert isinstance(failure, BadParameter)
    assert (failure.param, failure.blame) == (name, "request")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("model", "temperature", "good"),
    [
        ("4.0Ultra", 0, True),
        ("4.0Ultra", 2, True),
        ("4.0Ultra", 2.1, False),
        ("spark-x2.5", 1, True),
        ("spark-x2.5-4b", 0.9, False),
    ],
)
def test_temperatures(model: str, temperature: float, good: bool) -> None:
    """A temperature out of the model's range is known before a request."""
    assert SparkHTTP.takes_temperature(model, temperature) == good


async def test_turns(provider: SparkHTTP, upstream: FakeSparkHTTP) -> None:
    """Two user turns in a row become one; a model without system messages gets them with the first user turn."""
    prompt = [PromptMessage("system", "be brief"), PromptMessage("user", "one"), PromptMessage("user", "two")]
    for model in ("lite", "4.0Ultra"):
        await collect(provider.stream(request(model, *prompt, whole=True), KEY))

    assert [recorded.body["messages"] for recorded in upstream.requests] == [
        [{"role": "user", "content": "be brief\n\none\n\ntwo"}],
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one\n\ntwo"}],
    ]


def test_the_caller_s_web_search_is_the_only_one() -> None:
    """A caller whose tools include a web search gets that one, without ours that is off."""
    own: JSON = {"type": "web_search", "web_search": {"enable": True}}
    body = SparkHTTP(Endpoint("http://127.0.0.1:1/v1")).body(request("4.0Ultra", extras={"tools": [own]}))

    assert body["tools"] == [own]


@pytest.mark.parametrize("shape", ["object", "list"])
async def test_search_results(provider: SparkHTTP, shape: str) -> None:
    """The pages of a web search are no call of the caller's tools."""
    events = await collect(provider.stream(request(f"search:{shape}", extras={"tools": []}), KEY))

    assert (text(events), events[-1]) == (PLAIN, Finished("stop"))
    assert not [event for event in events if isinstance(event, ToolCallDelta)]


async def test_numbers_may_be_strings(provider: SparkHTTP) -> None:
    """Codes, indexes and counts mean the same as strings."""
    events = await collect(provider.stream(request("text_numbers"), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]


async def test_a_call_as_an_object(provider: SparkHTTP) -> None:
    """A call that is no list is passed on as a list with a number and an id."""
    events = await collect(provider.stream(request("one_call", extras={"tools": []}), KEY))

    calls = [json.loads(event.json) for event in events if isinstance(event, ToolCallDelta)]
    assert [(call["index"], call["function"]) for [call] in calls] == [(0, {"name": "f", "arguments": '{"x": 1}'})]
    assert calls[0][0]["id"]
    assert events[-1] == Finished("tool_calls")


async def test_a_refused_field_of_the_caller(provider: SparkHTTP) -> None:
    """A field that Spark's message names is the caller's if the caller set it."""
    model = "words:10163:ParameterSchemaError: '$.presence_penalty' value must be less or equal than 2"

    failure = await failure_of(provider, request(model, extras={"presence_penalty": 3}))
    assert isinstance(failure, BadParameter)
    assert failure.param == "presence_penalty"
    configured = await failure_of(provider, request(model, parameters={"presence_penalty": 3}))
    assert (configured.action, configured.vendor_code, configured.vendor_request_id) == ("ops", "10163", SID)


@pytest.mark.parametrize("model", ["tool_object", "code_first:10017"])
async def test_leniency(provider: SparkHTTP, model: str) -> None:
    """A tool call in the vendor's own form beside text, and a history that was not cleared, change nothing."""
    assert text(await collect(provider.stream(request(model), KEY))) == PLAIN


@pytest.mark.parametrize(
    ("code", "action", "cooldown_s"),
    [
        (10012, "wait", 0),
        (10163, "ops", 0),
        (10015, "disable", 0),
        (11200, "disable", 0),
        (11202, "switch", 2),
        (11203, "switch", 5),
        (12345, "wait", 0),
    ],
)
@pytest.mark.parametrize("shape", ["code:{}", "code_body:{}", "code_body:{}:400"])
async def test_codes(provider: SparkHTTP, shape: str, code: int, action: str, cooldown_s: float) -> None:
    """Spark's codes mean the same here, within a stream and instead of one; the sid is the id of the request."""
    if code == 12345 and shape.endswith("400"):
        action = "ops"  # an unknown code leaves the status to decide

    failure = await failure_of(provider, request(shape.format(code)))

    assert (failure.action, failure.cooldown_s, failure.vendor_code) == (action, cooldown_s, str(code))
    assert failure.vendor_request_id == (SID if action != "ops" or code == 10163 else "req-1")
    assert "sk-leak" not in f"{failure} {vars(failure)}"


async def test_mid_stream(provider: SparkHTTP) -> None:
    """A code after some text is a failure after it."""
    events: list[Event] = []

    failure = await failure_of(provider, request("code_mid:10012"), events)

    assert (text(events), failure.vendor_code) == ("one two three ", "10012")
    assert failure.vendor_request_id == SID


async def test_moderation(provider: SparkHTTP) -> None:
    """Moderation before text is a refusal; after it, 10014 withdraws the text and 10019 leaves it."""
    for code in (10013, 10014, 10019):
        assert isinstance(await failure_of(provider, request(f"code:{code}")), ContentBlocked)

    events = await collect(provider.stream(request("code_mid:10014"), KEY))
    assert events[-2:] == [Withdrawn(), Finished("content_filter")]
    events = await collect(provider.stream(request("code_last:10019"), KEY))
    assert (text(events), events[-1]) == (PLAIN, Finished("content_filter", ends_conversation=True))


async def test_prompt_too_long(provider: SparkHTTP) -> None:
    """10907 leads to a shorter prompt where there is one."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(5)]

    with pytest.raises(Retry) as retry:
        await collect(provider.stream(request("code_body:10907", *turns), KEY))

    assert len(retry.value.request.messages) < 5
    assert isinstance(await failure_of(provider, request("code_body:10907")), PromptTooLong)


async def test_http_errors(provider: SparkHTTP) -> None:
    """Statuses and envelopes are OpenAI's."""
    for status, action in ((401, "disable"), (403, "switch"), (429, "switch"), (500, "wait"), (503, "wait")):
        failure = await failure_of(provider, request(f"http_{status}"))
        assert (failure.action, failure.status) == (action, status)


async def test_is_openai_compatible(provider: SparkHTTP) -> None:
    """Refusals in the form of other compatible servers are understood as well."""
    events = await collect(provider.stream(request("reasoning"), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
