"""/v1: a caller who leaves stops the upstream, whenever that is and whatever they wait for."""

import json
import secrets
import time

import pytest

from tests.chat.openai_client import WITHIN_SECONDS, leave
from tests.chat.programs import URL, generation_of
from tests.product import ApiUser
from tests.readers import until_below, wait_until
from tests.upstreams import FakeOpenAI


@pytest.mark.contract("leaving /v1 stops the upstream")
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["hang", "hang-after-headers"])
def test_leaving_before_the_first_words(api_user: ApiUser, upstream: FakeOpenAI, model: str, *, stream: bool) -> None:
    """A client that leaves before the first text has the upstream closed within 50 ms, and pays nothing."""
    delays: list[float] = []
    for _ in until_below(WITHIN_SECONDS, delays):
        prompt = secrets.token_hex(8)
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
        left_at = leave(api_user, upstream, body, seconds=0.05)
        delays.append(upstream.closed_at(prompt) - left_at)
    assert min(delays) < WITHIN_SECONDS
    wait_until(lambda: not api_user.quota()["used_today"])


def test_leaving_in_the_middle(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A client that leaves after the first text has the upstream closed within 50 ms, and pays for the text it read."""
    delays: list[float] = []
    generations = []
    for _ in until_below(WITHIN_SECONDS, delays):
        prompt = secrets.token_hex(8)
        body = {"model": "endless", "messages": [{"role": "user", "content": prompt}], "stream": True}
        with api_user.client.stream("POST", URL, json=body) as response:
            texts, text = response.iter_text(), ""
            while '"content":"0 ' not in text:
                text += next(texts)
            generations.append(generation_of(json.loads(text.split("\n\n")[0].removeprefix("data: "))))
            left_at = time.monotonic()
        delays.append(upstream.closed_at(prompt) - left_at)
    assert min(delays) < WITHIN_SECONDS
    for generation in generations:
        row = api_user.ended(generation)
        assert (row["status"], row["finish_reason"], row["charge"]["amount"]) == ("completed", "cancelled", 1)


def test_leaving_a_whole_answer_in_the_middle(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A client that waits for a whole completion and leaves has the upstream closed within 50 ms."""
    delays: list[float] = []
    for _ in until_below(WITHIN_SECONDS, delays):
        prompt = secrets.token_hex(8)
        body = {"model": "endless", "messages": [{"role": "user", "content": prompt}]}
        left_at = leave(api_user, upstream, body, seconds=0.2)
        delays.append(upstream.closed_at(prompt) - left_at)
    assert min(delays) < WITHIN_SECONDS


def test_leaving_without_ever_reading(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A caller who does not read holds the upstream up, whose answer is not collected here; leaving closes it too."""
    prompt = secrets.token_hex(8)
    body = {"model": "flood", "messages": [{"role": "user", "content": prompt}], "stream": True}
    with api_user.client.stream("POST", URL, json=body) as response:
        assert response.status_code == 200
        wait_until(lambda: bool(upstream.asked(prompt)))
        time.sleep(1.5)  # the fake upstream would send it all in less
        (request,) = upstream.asked(prompt)
        assert request.ended_at is None
    assert upstream.closed_at(prompt)
