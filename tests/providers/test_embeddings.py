"""Embeddings as upstreams send them, without a network."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from providers.wire.base import Embeddings, Finished, Usage
from providers.wire.errors import UpstreamFailed
from providers.wire.openai import embeddings
from tests.readers import until_below


def response(*items: Any) -> bytes:
    return orjson.dumps({"object": "list", "data": items, "usage": {"prompt_tokens": 9, "total_tokens": 9}})


def test_only_vectors_and_their_places_pass() -> None:
    """Other fields of the upstream are dropped, because they would reach the caller unscreened."""
    numbers = {"object": "a text", "index": 1, "embedding": [0.5, 1, -2.5], "note": "a text"}
    text = {"index": "a text", "embedding": "AACAPw=="}
    found, *rest = embeddings.events(response(numbers, text))
    assert isinstance(found, Embeddings)
    assert orjson.loads(orjson.dumps(found.items)) == [
        {"object": "embedding", "index": 1, "embedding": [0.5, 1, -2.5]},
        {"object": "embedding", "index": 1, "embedding": "AACAPw=="},
    ]
    assert rest == [Usage(9, 0), Finished("stop")]


async def test_a_large_response_leaves_the_loop_free() -> None:
    """While megabytes of vectors are read, other work of the process waits for milliseconds."""
    vector = [number / 7 for number in range(3_072)]
    body = response(*({"index": index, "embedding": vector} for index in range(300)))
    assert len(body) > 14 * 2**20

    async def longest_wait() -> float:
        """Return the longest wait of other work, as a part of the time that reading takes."""
        longest, last, is_done = 0.0, time.monotonic(), False

        async def watch() -> None:
            nonlocal longest, last
            while not is_done:
                await asyncio.sleep(0)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()

        watching = asyncio.create_task(watch())
        began = time.monotonic()
        found = (await embeddings.read(body))[0]
        took, is_done = time.monotonic() - began, True
        await watching
        assert isinstance(found, Embeddings)
        assert orjson.loads(orjson.dumps(found.items[-1])) == {"object": "embedding", "index": 299, "embedding": vector}
        return longest / took

    parts: list[float] = []
    for _ in until_below(1 / 3, parts):
        parts.append(await longest_wait())
    # One call of the parser would take as long as all of it.
    assert min(parts) < 1 / 3


@pytest.mark.parametrize(
    "vector", ["any text", "独立", "", [0.5, "text"], [True], [], {"a": 1}, None, 7, [[1]], '"embedding":[1]']
)
def test_anything_else_is_no_embedding(vector: Any) -> None:
    with pytest.raises(UpstreamFailed) as failed:
        embeddings.events(response({"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": vector}))
    assert failed.value.vendor_code == "no_embeddings"
