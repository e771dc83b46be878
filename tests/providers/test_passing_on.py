"""Fields passed on to upstreams (tools, formats, images, …): which kinds take them, their form, and tool calls."""

import json
from typing import Any

import pytest

from providers import registry, requests
from providers.apps import providers_app
from providers.errors import Unsupported, shown
from providers.requests import wanted
from providers.snapshot import ModelConfig, RouteConfig, UpstreamConfig
from providers.wire.base import (
    EMBEDDINGS,
    IMAGES,
    PASSED_ON,
    Delta,
    Endpoint,
    Event,
    Finished,
    PromptMessage,
    ToolCallDelta,
    message_tokens,
)
from providers.wire.errors import BadParameter, Retry, UpstreamFailed
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.decoder import Decoder
from providers.wire.openai.errors import TOO_LONG, Complaint, resend
from providers.wire.spark.http import SparkHTTP
from providers.wire.zhipu.adapter import Zhipu
from providers.wire.zhipu.v3 import ZhipuV3
from tests.providers.streams import request
from tests.scenarios import delta_bytes

URL = "http://upstream.invalid/v1"
TOOLS: list[Any] = [{"type": "function", "function": {"name": "f"}}]
IMAGE: dict[str, Any] = {"type": "image_url", "image_url": {"url": "data:,"}}
DONE = b"data: [DONE]\n\n"


def decode(*reads: bytes, with_tools: bool = True) -> list[Event]:
    decoder = Decoder(OpenAICompatible(Endpoint(URL)), with_tools=with_tools)
    return [event for read in reads for event in decoder.feed(read)] + decoder.flush()


def model(*kinds: str) -> ModelConfig:
    upstreams = [UpstreamConfig(kind, kind, Endpoint(URL), ()) for kind in kinds]
    routes = tuple(RouteConfig(upstream, "m", 0, 1) for upstream in upstreams)
    return ModelConfig(1, "m", "m", "", 8_192, {}, "max_tokens", True, routes, providers_app().pool)


def kinds(config: ModelConfig) -> list[str]:
    return [route.upstream.kind for route in config.routes]


# --- which kinds take which fields -----------------------------------------------------------------------------------


def test_adapters_state_what_they_take() -> None:
    """The OpenAI-compatible adapter takes every field, Spark over WebSocket and the demo take none."""
    takes = {kind: adapter.takes for kind, adapter in registry.ADAPTERS.items()}
    assert takes["openai"] == {*PASSED_ON, IMAGES, EMBEDDINGS}
    assert all(taken <= takes["openai"] for taken in takes.values())
    assert takes["spark"] == takes["scripted"] == frozenset()


def test_routes_that_take_it_are_left() -> None:
    """A request goes only where all of it is taken."""
    mixed = model("spark", "openai", "zhipu")
    assert requests.able(mixed, []) is mixed
    assert kinds(requests.able(mixed, ["tools"])) == ["openai", "zhipu"]
    assert kinds(requests.able(mixed, ["tools", "frequency_penalty"])) == ["openai"]


def test_fields_that_no_route_takes_are_named() -> None:
    """When no route is left, every field that excluded one is named."""
    with pytest.raises(Unsupported) as refused:
        requests.able(model("spark", "zhipu"), ["tools", "seed", "presence_penalty"])
    assert set(refused.value.details or ()) == {"tools", "seed", "presence_penalty"}
    assert requests.able(model(), ["tools"]).routes == ()


def test_wanted_names_the_fields_that_matter() -> None:
    """Only fields with an effect count, with tools that earlier turns used and images."""
    nothing = {"top_p": 1.0, "presence_penalty": 0, "tool_choice": "auto", "response_format": {"type": "text"}}
    assert wanted([], nothing) == []
    assert wanted([], {"top_p": 0.5, "stop": "x"}) == ["top_p", "stop"]
    assert wanted([PromptMessage("tool", "x", fields={"tool_call_id": "1"})], {}) == ["tools"]
    assert wanted([PromptMessage("assistant", "", fields={"tool_calls": []})], {"tools": TOOLS}) == ["tools"]
    assert wanted([PromptMessage("user", "x", ({"type": "text", "text": "x"}, IMAGE))], {}) == [IMAGES]


# --- how it goes out -------------------------------------------------------------------------------------------------


def test_parameters_of_the_caller_win() -> None:
    """Fields of the request override configured ones, but not those that make a single stream."""
    extras: Any = {"top_p": 0.1, "stop": ["x"], "stream": False, "model": "other"}
    body = OpenAICompatible(Endpoint(URL)).body(request("m", parameters={"top_p": 0.9, "seed": 3}, extras=extras))
    assert (body["top_p"], body["seed"], body["stop"], body["stream"], body["model"]) == (0.1, 3, ["x"], True, "m")


def test_spark_over_http() -> None:
    """Tools go beside the vendor's own, and calls are asked for as a list; what is not taken stays here."""
    extras: Any = {"tools": TOOLS, "parallel_tool_calls": True}
    body: Any = SparkHTTP(Endpoint(URL)).body(request("m", parameters={"web_search": True}, extras=extras))
    assert body["tools"] == [*TOOLS, {"type": "web_search", "web_search": {"enable": True}}]
    assert body["tool_calls_switch"] is True
    assert "parallel_tool_calls" not in body


def test_zhipu() -> None:
    """v4 wants a list of stops; v3 takes `top_p` within its range and nothing else."""
    assert Zhipu(Endpoint(URL)).body(request("m", extras={"stop": "x", "seed": 1}))["stop"] == ["x"]
    body = ZhipuV3(Endpoint(URL)).body(request("m", extras={"top_p": 1, "presence_penalty": 0}))
    assert (body["top_p"], "presence_penalty" in body) == (0.99, False)


def test_turns_of_programs() -> None:
    """Parts go out as they are; their images count as tokens."""
    turn = PromptMessage("user", "what?", ({"type": "text", "text": "what?"}, IMAGE), {"name": "al"})
    (sent,) = OpenAICompatible(Endpoint(URL)).body(request("m", turn))["messages"]  # type: ignore[misc]
    assert sent == {"role": "user", "content": [{"type": "text", "text": "what?"}, IMAGE], "name": "al"}
    assert message_tokens(turn) > message_tokens(PromptMessage("user", "what?")) + 500


# --- how calls come back ---------------------------------------------------------------------------------------------


def test_calls_are_passed_on_unchanged() -> None:
    """Pieces of calls come as they were written, in their place among the text."""
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}, "odd": [1]}
    reads = delta_bytes(content="x", tool_calls=[first]), delta_bytes(tool_calls=[{"index": 0}], content=None)
    events = decode(*reads, delta_bytes("tool_calls"), DONE)
    calls = [json.loads(event.json) for event in events if isinstance(event, ToolCallDelta)]
    assert calls == [[first], [{"index": 0}]]
    assert [type(event) for event in events] == [Delta, ToolCallDelta, ToolCallDelta, Finished]
    assert events[-1] == Finished("tool_calls")


def test_calls_without_tools_are_dropped() -> None:
    """Tool calls are not passed on to a client that offered no tools."""
    events = decode(delta_bytes(tool_calls=[{"index": 0}]), delta_bytes("tool_calls"), with_tools=False)
    assert events == [Finished("tool_calls")]


def test_calls_as_an_object() -> None:
    """An object where others write a list is a list of one."""
    call, *_rest = decode(delta_bytes(tool_calls={"id": "a"}), DONE)
    assert call == ToolCallDelta('[{"index":0,"id":"a","type":"function"}]')


def test_half_a_character_in_a_call() -> None:
    """A character cut in two by the vendor stays cut: the next piece has the other half."""
    read = b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"\\ud83d"}}]}}]}\n\n'
    call, *_rest = decode(read, DONE)
    assert isinstance(call, ToolCallDelta)
    assert "\\ud83d" in call.json


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "tool_calls"), ("length", "length"), ("tool_calls", "tool_calls")]
)
def test_the_finish_reason_of_tool_calls(reason: str, expected: str) -> None:
    """A completion of calls is not empty; cut arguments end it with `length`."""
    assert decode(delta_bytes(tool_calls=[{"index": 0}]), delta_bytes(reason))[-1] == Finished(expected)  # type: ignore[arg-type]


# --- complaints of upstreams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("complaint", "param"),
    [
        ({"code": "unsupported_parameter", "param": "tools"}, "tools"),
        ({"param": "tools[0].function.parameters"}, "tools[0].function.parameters"),
        ({"param": "stop<script>"}, "stop"),
        ({"message": '"auto" tool choice requires --enable-auto-tool-choice'}, "tools"),
        ({"message": "this model does not support image input"}, "messages"),
        ({"param": "messages[0].content[1].image_url"}, "messages[0].content[1].image_url"),
        ({"status": 422, "message": "Stop sequence too long"}, "stop"),
    ],
)
def test_a_complaint_names_the_field_of_the_request(complaint: dict[str, Any], param: str) -> None:
    """A complaint about a field of the request names that field and is not retried."""
    turn = PromptMessage("user", "x", ({"type": "text", "text": "x"}, IMAGE))
    asked = request("m", turn, parameters={"stop": ["configured"]}, extras={"tools": TOOLS, "stop": ["x"]})
    refused = OpenAICompatible(Endpoint(URL)).refusal(
        asked, Complaint(**{"status": 400, "enveloped": True, **complaint})
    )
    assert isinstance(refused, BadParameter)
    assert (refused.param, refused.action) == (param, "user")
    assert shown(refused)["details"]["param"] == param


@pytest.mark.parametrize(
    "complaint",
    [{"param": "temperature"}, {"message": "bad request"}, {"param": "messages"}, {"status": 500, "message": "tools"}],
)
def test_other_complaints_are_not_the_clients_fault(complaint: dict[str, Any]) -> None:
    """Other complaints are failures of the upstream, not of the request."""
    asked = request("m", extras={"tools": TOOLS})
    refused = OpenAICompatible(Endpoint(URL)).refusal(
        asked, Complaint(**{"status": 400, "enveloped": True, **complaint})
    )
    assert isinstance(refused, UpstreamFailed)


def test_configured_field_is_left_out() -> None:
    """A configured parameter that the upstream does not know is dropped and learned, as before."""
    asked = request("m", parameters={"seed": 1}, extras={"tools": TOOLS})
    complaint = Complaint(400, code="unsupported_parameter", param="seed", enveloped=True)
    retry = OpenAICompatible(Endpoint(URL)).refusal(asked, complaint)
    assert isinstance(retry, Retry)
    assert (retry.request.parameters, retry.request.extras) == ({}, {"tools": TOOLS})


def test_a_whole_prompt_is_not_shortened() -> None:
    """A program's prompt that is too long is refused, with all its turns."""
    turns = [PromptMessage("assistant" if n % 2 else "user", "word " * 50) for n in range(7)]
    complaint = Complaint(400, code="context_length_exceeded")
    assert resend(request("m", *turns), complaint, TOO_LONG)
    assert resend(request("m", *turns, whole=True), complaint, TOO_LONG) is None
