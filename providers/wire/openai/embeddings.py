"""Embeddings as OpenAI defined them: https://platform.openai.com/docs/api-reference/embeddings."""

import re
from typing import Any

from providers.wire.base import EMBEDDINGS, JSON, ChatRequest, Embeddings, Event, Finished, as_objects, json_object
from providers.wire.errors import broken_stream
from providers.wire.openai.fields import read_usage

PATH = "/embeddings"
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
# Bytes of a response that are read: 2,048 embeddings of 3,072 numbers, as text of base64.
MAX_BYTES = 64 * 2**20


def body(request: ChatRequest) -> dict[str, JSON]:
    """Return the JSON body; the texts are the messages, unless the caller gave tokens."""
    given = request.extras[EMBEDDINGS]
    fields = given if isinstance(given, dict) else {}
    texts: list[JSON] = [message.content for message in request.messages]
    sent: dict[str, JSON] = {"input": texts, **fields, "model": request.model}
    return {name: value for name, value in sent.items() if name not in request.drop}


def events(response: bytes) -> list[Event]:
    """Return the events of a response; raise ProviderError for one without embeddings."""
    found = json_object(response)
    items = [_item(place, each) for place, each in enumerate(as_objects(found.get("data")))]
    if not items:
        raise broken_stream("no_embeddings")
    usage = found.get("usage")
    # There is no output, so the vendors leave its count out.
    counted = read_usage({"completion_tokens": 0, **usage}) if isinstance(usage, dict) else None
    return [Embeddings(tuple(items)), *([counted] if counted else []), Finished("stop")]


def _item(place: int, given: dict[str, Any]) -> dict[str, Any]:
    """Return an embedding with the fields of the standard alone.

    Raises for one that is no list of numbers and no base64, because texts of the upstream would not be screened here.
    """
    vector = given.get("embedding")
    if isinstance(vector, str):
        is_vector = _BASE64.fullmatch(vector) is not None
    else:
        is_vector = isinstance(vector, list) and bool(vector) and set(map(type, vector)) <= {int, float}
    if not is_vector:
        raise broken_stream("no_embeddings")
    number = given.get("index")
    return {"object": "embedding", "index": number if isinstance(number, int) else place, "embedding": vector}
