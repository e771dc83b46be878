"""Google's own SDK as the judge: it talks to our fake, and our adapter reads from the fake what the SDK reads."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from providers.wire.base import Endpoint, Event, Finished, Sources, ToolCallDelta, Usage
from providers.wire.errors import ProviderError
from providers.wire.gemini.adapter import Gemini
from tests.gemini import KEY, MODELS, FakeGemini
from tests.gemini_scenarios import SIGNATURE
from tests.providers.streams import collect, reasoning, request, text
from tests.providers.test_sdks import asked

READ = (
    *("plain", "thoughts", "thinking", "tool", "tool_with_text", "grounded", "image", "empty", "finish_everywhere"),
    *("finish:SAFETY", "finish:RECITATION", "finish:MAX_TOKENS", "finish:PROHIBITED_CONTENT", "long:50"),
)
REFUSED = ("error:400:INVALID_ARGUMENT", "error_mid:500:INTERNAL", "error:503:UNAVAILABLE", "limited", "gone")
# The vendor's words in ours; `tool_calls` is what programs of OpenAI's protocol expect.
FINISH = {"STOP": "stop", "MAX_TOKENS": "length"}
FUNCTION = {"name": "weather", "description": "The weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def gemini_sdk(oracles: Path) -> Path:
    """A Python with the SDK of Gemini."""
    assert list(oracles.glob("lib/python3*/site-packages/google/genai")), "make oracles"
    return oracles


async def our_reading(base_url: str, model: str) -> list[Event] | ProviderError:
    """Return what the adapter reads, or its failure."""
    provider = Gemini(Endpoint(base_url))
    asking = request(model, extras={"tools": [{"type": "function", "function": FUNCTION}]})
    try:
        return await collect(provider.stream(asking, KEY))
    except ProviderError as failed:
        return failed
    finally:
        await provider.aclose()


def in_the_sdks_words(found: list[Event]) -> dict[str, Any]:
    """Return events as `oracle._read_gemini` has them, the finish reason ours."""
    usage = next((event for event in reversed(found) if isinstance(event, Usage)), None)
    sources = next((event.items for event in reversed(found) if isinstance(event, Sources)), ())
    calls = [piece for event in found if isinstance(event, ToolCallDelta) for piece in json.loads(event.json)]
    last = found[-1]
    assert isinstance(last, Finished)
    return {
        "text": text(found),
        "thoughts": reasoning(found),
        "calls": [
            [
                piece["function"]["name"],
                json.loads(piece["function"]["arguments"]),
                piece.get("extra_content", {}).get("google", {}).get("thought_signature"),
            ]
            for piece in calls
        ],
        "usage": usage and [usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens],
        "finish": last.reason,
        "sources": [[source.url, source.title or None] for source in sources],
        "blocked": None,
    }


async def test_the_adapter_says_what_the_sdk_says(gemini_sdk: Path) -> None:
    """Text, thoughts, calls, signatures, usage, sources and finish are the same; so are the requests."""
    with FakeGemini.in_thread() as upstream:
        theirs: Any = asked(gemini_sdk, "gemini_answers", upstream.base_url, KEY, *READ)
        ours = [await our_reading(upstream.base_url, model) for model in READ]
        by_sdk, by_us = upstream.requests[: len(READ)], upstream.requests[len(READ) :]

    for model, their, our in zip(READ, theirs, ours, strict=True):
        assert isinstance(our, list), model
        finish = FINISH.get(their["finish"], "content_filter")
        expected = {**their, "finish": "tool_calls" if their["calls"] and finish == "stop" else finish}
        assert in_the_sdks_words(our) == expected, model
    for sdk, us in zip(by_sdk, by_us, strict=True):
        assert unquote(us.path) == unquote(sdk.path)
        assert us.headers["x-goog-api-key"] == sdk.headers["x-goog-api-key"] == KEY
        assert us.body["contents"] == sdk.body["contents"]
        declared = sdk.body["tools"][0]["functionDeclarations"][0]
        # The SDK writes this one name in the other spelling of the vendor's JSON.
        declared["parametersJsonSchema"] = declared.pop("parameters_json_schema")
        assert us.body["tools"] == sdk.body["tools"]


async def test_the_adapter_is_refused_as_the_sdk_is(gemini_sdk: Path) -> None:
    """What the SDK raises for is a failure of ours with the vendor's word for it; a blocked prompt is one for both."""
    with FakeGemini.in_thread() as upstream:
        *theirs, blocked = asked(gemini_sdk, "gemini_answers", upstream.base_url, KEY, *REFUSED, "blocked")
        *ours, ours_blocked = [await our_reading(upstream.base_url, model) for model in (*REFUSED, "blocked")]

    for model, their, our in zip(REFUSED, theirs, ours, strict=True):
        assert isinstance(our, ProviderError), model
        assert our.vendor_code in their["error"], model  # type: ignore[index]
    assert isinstance(ours_blocked, ProviderError)
    assert ours_blocked.vendor_code == blocked["blocked"]  # type: ignore[index]


def test_the_sdk_gives_a_signature_back(gemini_sdk: Path) -> None:
    """The SDK returns a call with its signature, and the fake accepts that as it accepts ours."""
    with FakeGemini.in_thread() as upstream:
        found: Any = asked(gemini_sdk, "gemini_round", upstream.base_url, KEY, "tool_round")
        parts = [part for turn in upstream.requests[-1].body["contents"] for part in turn["parts"]]

    assert json.loads(found["text"]) == {"output": "sunny"}
    assert [part["thoughtSignature"] for part in parts if "functionCall" in part] == [SIGNATURE]


def test_the_sdk_lists_the_models(gemini_sdk: Path) -> None:
    """The SDK reads all pages of the fake's list."""
    with FakeGemini.in_thread() as upstream:
        listed = asked(gemini_sdk, "gemini_models", upstream.base_url, KEY)

    assert {name.removeprefix("models/") for name in listed} > set(MODELS)
