"""Embeddings as OpenAI defined them: https://platform.openai.com/docs/api-reference/embeddings."""

import asyncio
import re
from typing import Any

import orjson

from providers.wire.base import EMBEDDINGS, JSON, ChatRequest, Embeddings, Event, Finished, as_objects, json_object
from providers.wire.errors import broken_stream
from providers.wire.openai.fields import read_usage

PATH = "/embeddings"
# A vector within a response: a list of numbers, or base64.
_VECTOR = re.compile(rb'"embedding"\s*+:\s*+(\[\s*+[-0-9][0-9eE+\-.,\s]*+\]|"[A-Za-z0-9+/]++={0,2}")')
# Bytes of a response from which it is read in a thread.
_LARGE_BYTES = 256 * 1024
# Bytes of a response that are read: 2,048 embeddings of 3,072 numbers, as text of base64.
MAX_BYTES = 64 * 2**20


def body(request: ChatRequest) -> dict[str, JSON]:
    """Return the JSON body; the texts are the messages, unless the caller gave tokens."""
    given = request.extras[EMBEDDINGS]
    fields = given if isinstance(given, dict) else {}
    texts: list[JSON] = [message.content for message in request.messages]
    sent: dict[str, JSON] = {"input": texts, **fields, "model": request.model}
    return {name: value for name, value in sent.items() if name not in request.drop}


async def read(response: bytes) -> list[Event]:
    """Do the same as `events`, in a thread for a large response."""
    if len(response) < _LARGE_BYTES:
        return events(response)
    return await asyncio.to_thread(events, response)


def events(response: bytes) -> list[Event]:
    """Return the events of a response; raise ProviderError for one without embeddings.

    Vectors stay JSON, and are checked one by one: parsing all at once would hold the interpreter's lock for a second,
    in a thread too, and take several times their memory.
    """
    vectors: list[bytes] = []

    def keep(match: re.Match[bytes]) -> bytes:
        vectors.append(match[1])
        return b'"embedding":[%d]' % (len(vectors) - 1)

    found = json_object(_VECTOR.sub(keep, response))
    items = [_item(place, each, vectors) for place, each in enumerate(as_objects(found.get("data")))]
    if not items:
        raise broken_stream("no_embeddings")
    usage = found.get("usage")
    # There is no output, so the vendors leave its count out.
    counted = read_usage({"completion_tokens": 0, **usage}) if isinstance(usage, dict) else None
    return [Embeddings(tuple(items)), *([counted] if counted else []), Finished("stop")]


def _item(place: int, given: dict[str, Any], vectors: list[bytes]) -> dict[str, Any]:
    """Return an embedding with the fields of the standard alone.

    `given` names the place of its vector in `vectors`. Raises for one that is no list of numbers and no base64, because
    texts of the upstream would not be screened here.
    """
    match given.get("embedding"):
        case [kept] if type(kept) is int and 0 <= kept < len(vectors) and _is_json(vectors[kept]):
            number = given.get("index")
            index = number if isinstance(number, int) else place
            return {"object": "embedding", "index": index, "embedding": orjson.Fragment(vectors[kept])}
    raise broken_stream("no_embeddings")


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
