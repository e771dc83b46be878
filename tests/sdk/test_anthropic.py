"""/v1/messages with Anthropic's own client, as its users meet it."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chat.outcomes import PROBE
from tests.chat.test_reasoning_details import CIPHER, TEXT
from tests.product import MODELS, ApiUser, Product, connected
from tests.readers import wait_until
from tests.scenarios import PLAIN, REASONING
from tests.sdk.conftest import Program
from tests.upstreams import FakeOpenAI

GIVEN = {"city": "杭州", "days": 2}


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product without the sensitive words and broken models of other tests."""
    with Product(tmp_path_factory.mktemp("anthropic"), **connected(upstream)) as running:
        yield running


def test_text_and_streams(anthropic: Program) -> None:
    """A message comes back whole, and the client puts a stream together, thinking included."""
    assert anthropic("text") == ["Hello", "end_turn", 9, 2, True]
    assert anthropic("stream") == [REASONING, PLAIN, PLAIN, 7, "end_turn"]


def test_a_round_with_tools(anthropic: Program, api_user: ApiUser) -> None:
    """The model calls a tool, gets its result, and answers; the content goes back as it came."""
    assert anthropic("tools") == [GIVEN, GIVEN, "tool_use", "sunny, 24 °C"]
    assert api_user.quota()["used_today"] == 3


def test_signed_thinking_goes_back(anthropic: Program, upstream: FakeOpenAI) -> None:
    """What a vendor wants back with its calls comes as signatures, and reaches it with the result of the tool."""
    before = len(upstream.requests)
    assert anthropic("signatures") == [["thinking", "tool_use", "sunny"]] * 2
    turns = [request.body["messages"][1:] for request in upstream.requests[before:]]
    assert [turn[0]["reasoning_details"] for turn in turns if turn] == [[TEXT, CIPHER]] * 2


def test_images_and_counts(anthropic: Program, upstream: FakeOpenAI) -> None:
    """An image reaches the upstream; tokens are counted."""
    assert anthropic("image") == "end_turn"
    content = upstream.requests[-1].body["messages"][0]["content"]
    assert content[1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert 0 < anthropic("count") < 20


def test_error_classes(anthropic: Program, upstream: FakeOpenAI) -> None:
    """Refusals and failures raise the client's own classes; an exhausted quota is asked once."""
    assert anthropic("errors") == [
        ["AuthenticationError", 401, "authentication_error", True],
        ["NotFoundError", 404, "not_found_error", True],
        ["BadRequestError", 400, "invalid_request_error", True],
        ["InternalServerError", 502, "api_error", True],
        ["APIStatusError", 200, "api_error", True],
        ["RateLimitError", 429, "rate_limit_error", True],
    ]


def test_leaving(anthropic: Program, upstream: FakeOpenAI) -> None:
    """A program that leaves has the upstream closed, in the middle and before the first event."""
    before = len(upstream.requests)
    assert anthropic("leaving")
    # Not the probes of a key that other tests made suspect, which hang like every call of that model.
    left = [request for request in upstream.requests[before:] if PROBE not in json.dumps(request.body)]
    wait_until(lambda: all(request.closed_by_peer_at for request in left))
    calls = Counter(request.body["model"] for request in left)
    # Who waits for its time-out may leave before a slow machine has asked the upstream.
    assert (calls[MODELS["paced"]], calls[MODELS["hang"]] <= 1, len(calls) <= 2) == (1, True, True)
