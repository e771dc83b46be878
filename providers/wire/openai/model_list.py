"""The models that an OpenAI-compatible server lists at `GET {base}/models`.

Standard: https://platform.openai.com/docs/api-reference/models/list. Others add the size of the context under names of
their own. The adapter sends the request.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from providers.wire.base import ModelList, OfferedModel
from providers.wire.base import gettext_noop as _
from providers.wire.errors import Row

MAX_BYTES = 2**20
# More than the largest markets offer, and few enough for one form to hold.
MAX_MODELS = 800
SECONDS = 10.0

NO_LIST = Row(_("The upstream has no list of models at its address."), "ops")
NOT_A_LIST = Row(_("The upstream's response is not a list of models."), "ops")
TOO_LARGE = Row(_("The upstream's list of models is too large."), "ops")

_MAX_NAME_CHARS = 200
_MAX_CONTEXT_TOKENS = 2**31 - 1
# OpenRouter's word for it, vLLM's, Groq's, Mistral's and Anthropic's.
_CONTEXT_FIELDS = ("context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens")


def read_models(body: bytes) -> ModelList | None:
    """Read a response, None when it is no list. Nameless entries are skipped."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    rows = parsed.get("data", parsed.get("models")) if isinstance(parsed, dict) else parsed
    if not isinstance(rows, list):
        return None
    found = {model.name: model for model in offered(rows)}
    names = sorted(found, key=lambda name: (name.casefold(), name))
    more = isinstance(parsed, dict) and parsed.get("has_more") is True
    return ModelList(tuple(found[name] for name in names[:MAX_MODELS]), len(names) <= MAX_MODELS and not more)


def offered(rows: Iterable[Any]) -> Iterator[OfferedModel]:
    """Yield the models that entries of a list stand for."""
    for row in rows:
        fields = row if isinstance(row, dict) else {"id": row}
        name = fields.get("id") or fields.get("name")
        if isinstance(name, str) and name.isprintable() and 0 < len(name.strip()) <= _MAX_NAME_CHARS:
            yield OfferedModel(name.strip(), _context_tokens(fields))


def _context_tokens(fields: dict[str, Any]) -> int | None:
    sizes = (fields.get(name) for name in _CONTEXT_FIELDS)
    return next((size for size in sizes if type(size) is int and 0 < size <= _MAX_CONTEXT_TOKENS), None)
