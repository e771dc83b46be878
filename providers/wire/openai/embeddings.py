"""Embeddings as OpenAI defined them: https://platform.openai.com/docs/api-reference/embeddings."""

from typing import Any

from providers.wire.base import EMBEDDINGS, JSON, ChatRequest, Embeddings, Event, Finished, json_object
from providers.wire.errors import broken_stream
from providers.wire.openai.fields import read_usage

PATH = "/embeddings"
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
    data: Any = found.get("data")
    if (
        not isinstance(data, list)
        or not data
        or not all(isinstance(each, dict) and "embedding" in each for each in data)
    ):
        raise broken_stream("no_embeddings")
    usage = found.get("usage")
    # There is no output, so the vendors leave its count out.
    counted = read_usage({"completion_tokens": 0, **usage}) if isinstance(usage, dict) else None
    return [Embeddings(tuple(data)), *([counted] if counted else []), Finished("stop")]
