"""Anthropic's own SDK as a judge: it works against our fake, and our adapter makes of each stream what the SDK does."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from providers.wire.anthropic.adapter import Anthropic
from providers.wire.base import ChatRequest, Endpoint, Event, Finished, PromptMessage, Source, Sources, Usage
from providers.wire.errors import ProviderError
from tests.anthropic import KEY, FakeAnthropic
from tests.anthropic_rules import NEW_VERSION
from tests.anthropic_scenarios import SCENARIOS
from tests.providers.streams import PATIENT, collect, reasoning, request, text
from tests.providers.test_anthropic import THINKING, TOOLS, calls_of
from tests.providers.test_sdks import asked
from tests.scenarios import PLAIN

# Our reason for each of the vendor's.
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
SAID = (
    *("plain", "paced:20:1", "thinking", "omitted", "redacted", "tool", "tools", "tool_round", "search", "cached"),
    *("no_stop", "echo", *(f"stop:{reason}" for reason in REASONS)),
)
REFUSED = {
    "error:invalid_request_error": "BadRequestError",
    "error:authentication_error": "AuthenticationError",
    "error:billing_error": "PaymentRequiredError",
    "error:permission_error": "PermissionDeniedError",
    "error:not_found_error": "NotFoundError",
    "error:request_too_large": "ContentTooLargeError",
    "error:rate_limit_error": "RateLimitError",
    "error:api_error": "InternalServerError",
    "error:timeout_error": "GatewayTimeoutError",
    "error:overloaded_error": "OverloadedError",
    "error_first:overloaded_error": "APIStatusError",
    "error_mid:overloaded_error": "APIStatusError",
}
VENDORS_TOOLS = [{"name": "weather", "input_schema": {"type": "object"}}]

USER = {"role": "user", "content": "hello"}
HELLO: dict[str, Any] = {"model": "plain", "max_tokens": 32_000, "messages": [USER]}
CALL = {"type": "tool_use", "id": "a", "name": "weather", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "rain"}]}
CALLED = [USER, {"role": "assistant", "content": [CALL]}]
FORGED = {"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "sig"}, CALL]}
# Requests that the vendor refuses, by words of its refusal.
BAD: dict[str, dict[str, Any]] = {
    "temperature: Extra inputs are not permitted": {"extra_body": {"temperature": 0.5}},
    "roles must alternate": {"messages": [USER, USER]},
    "without `tool_result` blocks": {"messages": [*CALLED, USER], "tools": VENDORS_TOOLS},
    "Expected `thinking`": {"messages": [*CALLED, RESULT], "tools": VENDORS_TOOLS, **THINKING},
    "Invalid `signature`": {"messages": [USER, FORGED, RESULT]},
    "greater than `thinking.budget_tokens`": {"max_tokens": 2_000, **THINKING},
}
# A prompt of ours, which our adapter converts.
ROUND = request(
    "tool_round",
    PromptMessage("system", "Be kind."),
    PromptMessage("user", "hello"),
    PromptMessage("assistant", "Hi.", fields={"tool_calls": [{"id": "a", "function": {"name": "weather"}}]}),
    PromptMessage("tool", "rain", fields={"tool_call_id": "a"}),
    extras={"tools": TOOLS, "tool_choice": "auto", "stop": "END"},
)


@dataclass(frozen=True)
class Judged:
    """What the SDK made of each request, by its model or its refusal, and what our adapter made of each model's."""

    theirs: Mapping[str, dict[str, Any]]
    ours: Mapping[str, list[Event] | ProviderError]
    their_models: list[str]
    our_models: list[str]
    versions: set[str]


@pytest.fixture(scope="module")
def judged(oracles: Path) -> Judged:
    """Ask the same of the SDK and of our adapter."""
    models = [*SAID, *REFUSED, "cut"]
    bodies = {model: {**HELLO, "model": model, "tools": VENDORS_TOOLS} for model in models}
    bodies |= {words: {**HELLO, **fields} for words, fields in BAD.items()}
    with FakeAnthropic.in_thread() as upstream:
        provider = Anthropic(Endpoint(upstream.base_url, clocks=PATIENT))
        bodies["round"] = {name: value for name, value in provider.body(ROUND).items() if name != "stream"}
        theirs: Any = asked(oracles, "anthropic_answers", upstream.base_url, KEY, json.dumps([*bodies.values()]))
        versions = {sent.headers["anthropic-version"] for sent in upstream.requests}
        requests = {model: request(model, extras={"tools": TOOLS}) for model in models} | {"round": ROUND}
        ours, our_models = asyncio.run(answers(provider, requests))
    return Judged(dict(zip(bodies, theirs[0], strict=True)), ours, theirs[1], our_models, versions)


async def answers(
    provider: Anthropic, requests: Mapping[str, ChatRequest]
) -> tuple[dict[str, list[Event] | ProviderError], list[str]]:
    """Return what our adapter makes of each request, and the models that it lists."""

    async def completion(one: ChatRequest) -> list[Event] | ProviderError:
        try:
            return await collect(provider.stream(one, KEY))
        except ProviderError as error:
            return error

    found = {name: await completion(one) for name, one in requests.items()}
    listed = await provider.list_models(KEY)
    await provider.aclose()
    return found, [model.name for model in listed.models]


def blocks(message: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in message["content"] if block["type"] == kind]


@pytest.mark.parametrize("model", SAID)
def test_we_read_what_the_sdk_reads(judged: Judged, model: str) -> None:
    """Text, thinking, tool input, usage, sources and the stop reason are those of the SDK."""
    theirs, ours = judged.theirs[model], judged.ours[model]
    assert "error" not in theirs, theirs
    assert isinstance(ours, list), ours
    assert text(ours) == "".join(block["text"] for block in blocks(theirs, "text"))
    assert reasoning(ours) == "".join(block["thinking"] for block in blocks(theirs, "thinking"))

    calls = calls_of(ours)
    assert [(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls] == [
        (block["id"], block["name"], block["input"]) for block in blocks(theirs, "tool_use")
    ]
    kept = [block for call in calls for block in call.get("extra_content", {}).get("anthropic", {}).get("thinking", ())]
    if calls:
        assert kept == [block for block in theirs["content"] if block["type"] in ("thinking", "redacted_thinking")]

    usage = theirs["usage"]
    cached, details = usage["cache_read_input_tokens"], usage["output_tokens_details"] or {}
    given = usage["input_tokens"] + (usage["cache_creation_input_tokens"] or 0) + (cached or 0)
    assert ours[-2:] == [
        Usage(given, usage["output_tokens"], cached, details.get("thinking_tokens")),
        Finished(REASONS[theirs["stop_reason"]]),  # type: ignore[arg-type]
    ]
    citations = [one for block in blocks(theirs, "text") for one in block["citations"] or () if one.get("url")]
    sources = [event.items for event in ours if isinstance(event, Sources)]
    assert sources[-1:] == ([tuple(Source(one["url"], one["title"]) for one in citations)] if citations else [])


@pytest.mark.parametrize(("model", "kind"), REFUSED.items())
def test_we_fail_where_the_sdk_fails(judged: Judged, model: str, kind: str) -> None:
    """A refusal that the SDK raises is a failure of ours, with the vendor's type as its code."""
    theirs, ours = judged.theirs[model], judged.ours[model]
    assert (theirs["error"], theirs["type"]) == (kind, model.partition(":")[2])
    assert isinstance(ours, ProviderError)
    assert ours.vendor_code == theirs["type"]


def test_the_sdk_takes_a_cut_stream_for_whole(judged: Judged) -> None:
    """A stream without a stop reason is a failure of ours, while the SDK returns what there was."""
    theirs = judged.theirs["cut"]
    assert PLAIN.startswith(theirs["content"][0]["text"])
    assert theirs["stop_reason"] is None
    assert isinstance(judged.ours["cut"], ProviderError)


@pytest.mark.parametrize("words", BAD)
def test_the_sdk_gets_the_fakes_refusals(judged: Judged, words: str) -> None:
    """The fake refuses what the vendor refuses."""
    theirs = judged.theirs[words]
    assert theirs["error"] == "BadRequestError"
    assert words in theirs["message"]


def test_the_sdk_lists_the_models(judged: Judged) -> None:
    """The SDK lists the models that our adapter lists, with the newer version of the API."""
    assert set(judged.their_models) == set(judged.our_models) >= set(SCENARIOS)
    assert judged.versions == {NEW_VERSION}


def test_a_prompt_of_ours_is_one_of_the_sdks(judged: Judged) -> None:
    """The SDK takes the body that our adapter sends, and receives the same completion."""
    ours = judged.ours["round"]
    assert isinstance(ours, list)
    assert text(ours) == judged.theirs["round"]["content"][0]["text"] == "rain"
