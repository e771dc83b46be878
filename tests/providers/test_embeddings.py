"""Embeddings as upstreams send them, without a network."""

from typing import Any

import orjson
import pytest

from providers.wire.base import Embeddings, Finished, Usage
from providers.wire.errors import UpstreamFailed
from providers.wire.openai import embeddings


def response(*items: Any) -> bytes:
    return orjson.dumps({"object": "list", "data": items, "usage": {"prompt_tokens": 9, "total_tokens": 9}})


def test_only_vectors_and_their_places_pass() -> None:
    """Other fields of the upstream are dropped, because they would reach the caller unscreened."""
    numbers = {"object": "a text", "index": 1, "embedding": [0.5, 1, -2.5], "note": "a text"}
    text = {"index": "a text", "embedding": "AACAPw=="}
    assert embeddings.events(response(numbers, text)) == [
        Embeddings(
            (
                {"object": "embedding", "index": 1, "embedding": [0.5, 1, -2.5]},
                {"object": "embedding", "index": 1, "embedding": "AACAPw=="},
            )
        ),
        Usage(9, 0),
        Finished("stop"),
    ]


@pytest.mark.parametrize("vector", ["any text", "独立", "", [0.5, "text"], [True], [], {"a": 1}, None, 7])
def test_anything_else_is_no_embedding(vector: Any) -> None:
    with pytest.raises(UpstreamFailed) as failed:
        embeddings.events(response({"index": 0, "embedding": vector}))
    assert failed.value.vendor_code == "no_embeddings"
