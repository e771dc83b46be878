"""The adapter for Anthropic's Messages API against a fake upstream that checks requests as the vendor does."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from providers.wire.anthropic.adapter import Anthropic
from providers.wire.base import Endpoint, Event, Finished, PromptMessage, Source, Sources, ToolCallDelta, Usage
from providers.wire.errors import BadParameter, ProviderError, Retry, UpstreamFailed
from tests.anthropic import CONTEXT_TOKENS, KEY, FakeAnthropic
from tests.anthropic_rules import sign
from tests.anthropic_scenarios import CITY, REDACTED, TOOL_ID
from tests.providers.streams import PATIENT, collect, reasoning, request, text
from tests.scenarios import PLAIN, REASONING

TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
THINKING: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeAnthropic]:
    """A fake upstream in this event loop."""
    async with FakeAnthropic() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeAnthropic) -> AsyncIterator[Anthropic]:
    """A provider of that upstream."""
    provider = Anthropic(Endpoint(upstream.base_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


def calls_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the tool calls, put together by their index as clients do."""
    calls: dict[int, dict[str, Any]] = {}
    for event in events:
        for piece in json.loads(event.json) if isinstance(event, ToolCallDelta) else ():
            call = calls.setdefault(piece.pop("index"), {"function": {"name": "", "arguments": ""}})
            function = piece.pop("function", {})
            for name in ("name", "arguments"):
                call["function"][name] += function.get(name, "")
            call.update(piece)
    return list(calls.values())


async def test_plain_completion_arrives(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """A plain completion arrives as text, the usage and one end; the key goes out in the vendor's own header."""
    events = await collect(provider.stream(request(), KEY))

    assert text(events) == PLAIN
    assert events[-2:] == [Usage(9, 7), Finished("stop")]
    (sent,) = upstream.requests
    assert (sent.path, sent.headers["x-api-key"], sent.headers["anthropic-version"]) == (
        "/v1/messages",
        KEY,
        "2023-06-01",
    )
    assert "authorization" not in sent.headers
    assert sent.body == {
        "model": "plain",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "max_tokens": 32_000,
        "stream": True,
    }


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/messages"])
async def test_base_urls(upstream: FakeAnthropic, ending: str) -> None:
    """The base URL may have the version or the whole path."""
    provider = Anthropic(Endpoint(upstream.base_url + ending, clocks=PATIENT))
    assert text(await collect(provider.stream(request(), KEY))) == PLAIN
    assert (await provider.list_models(KEY)).models
    await provider.aclose()


async def test_an_endpoint_without_a_key(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """Without a key none is sent, and the vendor's refusal is one of the key."""
    with pytest.raises(UpstreamFailed) as failed:
        await collect(provider.stream(request(), None))
    assert (failed.value.action, failed.value.blame) == ("disable", "key")
    assert "x-api-key" not in upstream.requests[0].headers


async def test_the_models_are_listed(provider: Anthropic) -> None:
    """All models of the vendor's list come, more than its usual page has, with the sizes of their contexts."""
    listed = await provider.list_models(KEY)
    found = {model.name: model.context_tokens for model in listed.models}
    assert listed.complete
    assert found["claude-029"] == CONTEXT_TOKENS


# --- thoughts and tools ----------------------------------------------------------------------------------------------


async def test_thoughts_are_reasoning(provider: Anthropic) -> None:
    """Thoughts come apart from the text, and their tokens are part of the usage."""
    events = await collect(provider.stream(request("thinking"), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
    assert events[-2:] == [Usage(9, 20, None, 12), Finished("stop")]


@pytest.mark.parametrize("model", ["omitted", "redacted"])
async def test_hidden_thoughts(provider: Anthropic, model: str) -> None:
    """Thoughts without text, or in secret writing, do not disturb the text."""
    events = await collect(provider.stream(request(model), KEY))
    assert (reasoning(events), text(events)) == (REASONING if model == "redacted" else "", PLAIN)


async def test_tool_calls(provider: Anthropic) -> None:
    """Two calls come with their index, id, name and arguments as JSON text; no arguments are an empty object."""
    events = await collect(provider.stream(request("tools", extras={"tools": TOOLS}), KEY))

    first, second = calls_of(events)
    assert (first["id"], first["type"], first["function"]["name"]) == (TOOL_ID, "function", "weather")
    assert json.loads(first["function"]["arguments"]) == CITY
    assert second["function"] == {"name": "now", "arguments": "{}"}
    assert events[-1] == Finished("tool_calls")


async def test_signed_thoughts_go_back_with_their_calls(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """A call carries the signed thoughts that led to it; sent back, the vendor finds them where they were."""
    asked = request("tool_round", parameters=THINKING, extras={"tools": TOOLS})
    events = await collect(provider.stream(asked, KEY))
    calls = calls_of(events)
    assert [call["extra_content"]["anthropic"]["thinking"] for call in calls] == [
        [
            {"type": "thinking", "thinking": REASONING, "signature": sign(REASONING)},
            {"type": "redacted_thinking", "data": REDACTED},
        ],
        [{"type": "thinking", "thinking": "And now?", "signature": sign("And now?")}],
    ]

    turns = [
        PromptMessage("user", "hello"),
        PromptMessage("assistant", text(events), fields={"tool_calls": calls}),
        *(PromptMessage("tool", f"r{n}", fields={"tool_call_id": call["id"]}) for n, call in enumerate(calls)),
    ]
    back = await collect(
        provider.stream(request("tool_round", *turns, parameters=THINKING, extras={"tools": TOOLS}), KEY)
    )

    assert text(back) == "r0 and r1"
    sent = upstream.requests[1].body
    kinds = [block["type"] for block in sent["messages"][1]["content"]]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "thinking", "tool_use"]
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result"] * 2
    assert sent["thinking"] == THINKING["thinking"]


async def test_clients_that_lose_the_thoughts(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """When a client returns calls without their thoughts, the vendor is asked for none in this turn."""
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [
        PromptMessage("user", "hello"),
        PromptMessage("assistant", "", fields={"tool_calls": [call]}),
        PromptMessage("tool", "rain", fields={"tool_call_id": "a"}),
    ]
    asked = request("tool_round", *turns, parameters=THINKING, extras={"tools": TOOLS})
    assert text(await collect(provider.stream(asked, KEY))) == "rain"
    assert "thinking" not in upstream.requests[0].body


async def test_pages_are_sources(provider: Anthropic) -> None:
    """What a search found are sources, until the text cites some of it."""
    events = await collect(provider.stream(request("search"), KEY))

    one, two = Source("https://one.example/", "one"), Source("https://two.example/", "two")
    assert [event.items for event in events if isinstance(event, Sources)] == [(one, two), (two,)]
    assert text(events) == "It is so."


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("a_new_one", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
    ],
)
async def test_stop_reasons(provider: Anthropic, reason: str, ours: str) -> None:
    """Each of the vendor's stop reasons becomes one of ours, after the text."""
    events = await collect(provider.stream(request(f"stop:{reason}"), KEY))
    assert (text(events), events[-1]) == (PLAIN, Finished(ours))  # type: ignore[arg-type]


async def test_a_cached_prompt_counts_whole(provider: Anthropic) -> None:
    """Tokens read from the cache and written to it are part of the input."""
    events = await collect(provider.stream(request("cached"), KEY))
    assert events[-2] == Usage(2109, 7, 2000)


@pytest.mark.parametrize("model", ["odd", "no_stop"])
async def test_careless_streams(provider: Anthropic, model: str) -> None:
    """Unknown parts, a missing end, and errors behind the end do not disturb the completion."""
    events = await collect(provider.stream(request(model), KEY))
    assert (text(events), events[-2:]) == (PLAIN, [Usage(9, 7), Finished("stop")])


async def test_a_whole_message_is_a_completion(provider: Anthropic) -> None:
    """A message in one piece is read although a stream was asked for."""
    events = await collect(provider.stream(request("whole", extras={"tools": TOOLS}), KEY))

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
    (call,) = calls_of(events)
    assert json.loads(call["function"]["arguments"]) == CITY
    assert call["extra_content"]["anthropic"]["thinking"][0]["signature"] == sign(REASONING)
    assert events[-2:] == [Usage(9, 7), Finished("tool_calls")]


async def test_a_cut_stream_fails(provider: Anthropic) -> None:
    """A stream that ends without a stop reason is no completion."""
    events: list[Event] = []
    with pytest.raises(UpstreamFailed, match="broken"):
        await collect(provider.stream(request("cut"), KEY), events)
    assert PLAIN.startswith(text(events))
    assert text(events)


async def test_nothing_to_say(provider: Anthropic) -> None:
    """A message without content is an empty completion."""
    events = await collect(provider.stream(request("stop:end_turn:"), KEY))
    assert events == [Usage(9, 7), Finished("stop")]


# --- refusals --------------------------------------------------------------------------------------------------------


async def followed(provider: Anthropic, asked: Any) -> tuple[list[Event], int]:
    """Return the events of a request that is resent as the adapter asks, and how often."""
    for resends in range(4):
        try:
            return await collect(provider.stream(asked, KEY)), resends
        except Retry as retry:
            asked = retry.request
    raise AssertionError("resent for ever")


async def test_thinking_of_another_model(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """When the vendor refuses the thinking blocks of earlier turns, the request is sent without them."""
    block = {"type": "thinking", "thinking": "x", "signature": sign("x")}
    call = {"id": "a", "function": {"name": "weather", "arguments": "{}"}}
    signed = {**call, "extra_content": {"anthropic": {"thinking": [block]}}}
    turns = [
        PromptMessage("user", "hello"),
        PromptMessage("assistant", "", fields={"tool_calls": [signed]}),
        PromptMessage("tool", "rain", fields={"tool_call_id": "a"}),
    ]
    asked = request("bound", *turns, parameters=THINKING, extras={"tools": TOOLS})
    events, resends = await followed(provider, asked)
    assert (text(events), resends) == (PLAIN, 1)
    kinds = [[block["type"] for block in sent.body["messages"][1]["content"]] for sent in upstream.requests]
    assert kinds == [["thinking", "tool_use"], ["tool_use"]]
    assert ["thinking" in sent.body for sent in upstream.requests] == [True, False]


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (
            {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
            {"type": "adaptive", "display": "summarized"},
        ),
        ({"type": "disabled"}, None),
    ],
)
async def test_a_way_of_thinking_that_a_model_does_not_know(
    provider: Anthropic, upstream: FakeAnthropic, thinking: Any, sent: Any
) -> None:
    """A model that knows only its own way of thinking is asked for that."""
    events, resends = await followed(provider, request("adaptive", parameters={"thinking": thinking}))
    assert (text(events), resends) == (PLAIN, 1)
    assert upstream.requests[1].body.get("thinking") == sent


async def test_a_large_cap_is_lowered(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """A token cap beyond the model's own is lowered to that."""
    events, resends = await followed(provider, request("small", parameters={"max_tokens": 9_000}))
    assert (text(events), resends) == (PLAIN, 1)
    assert [sent.body["max_tokens"] for sent in upstream.requests] == [9_000, 4_096]


async def test_a_cap_fits_into_the_context(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """Prompt and token cap together must fit into the context, so the cap gives way."""
    events, resends = await followed(provider, request("window:190000:200000"))
    assert (text(events), resends) == (PLAIN, 1)
    assert upstream.requests[1].body["max_tokens"] == 10_000


async def test_a_prompt_that_leaves_no_room(provider: Anthropic) -> None:
    """A prompt that fills the context alone is too long."""
    with pytest.raises(ProviderError) as failed:
        await followed(provider, request("window:200000:200000", whole=True))
    assert failed.value.code == "prompt_too_long"


async def test_a_long_conversation_is_cut(provider: Anthropic, upstream: FakeAnthropic) -> None:
    """A conversation that is too long is sent once more without its oldest turns."""
    turns = [PromptMessage(("user", "assistant")[n % 2], f"turn {n} " * 50) for n in range(9)]  # type: ignore[arg-type]
    events, resends = await followed(provider, request("turns:7", *turns))
    assert (text(events), resends) == (PLAIN, 1)
    assert upstream.requests[1].body["messages"][0]["role"] == "user"


@pytest.mark.parametrize(
    ("extras", "param"),
    [
        ({"stop": "\n"}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"top_p": 0.5}, "top_p"),
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_fields_that_the_vendor_does_not_take(provider: Anthropic, extras: dict[str, Any], param: str) -> None:
    """The caller learns the name of the field, as it was written, that the vendor does not take."""
    with pytest.raises(BadParameter) as failed:
        await collect(provider.stream(request("unforced", extras=extras, parameters=THINKING), KEY))
    assert (failed.value.param, failed.value.blame) == (param, "request")


async def test_a_prompt_that_the_vendor_does_not_take(provider: Anthropic) -> None:
    """A program learns that the vendor does not take its messages."""
    asked = request("plain", PromptMessage("tool", "x", fields={"tool_call_id": "a"}), whole=True)
    with pytest.raises(BadParameter) as failed:
        await collect(provider.stream(asked, KEY))
    assert (failed.value.param, failed.value.status) == ("messages", 400)
