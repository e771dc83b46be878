"""The models that Gemini lists at `GET {base}/models`, page by page.

Source: https://ai.google.dev/api/models#method:-models.list. Models that do not generate text are left out.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from providers.wire.base import ModelList, OfferedModel, json_object
from providers.wire.openai.model_list import MAX_MODELS, offered

# Most models that the vendor puts on a page, and pages that are read.
PAGE_SIZE, MAX_PAGES = 1000, 5


class Page(NamedTuple):
    """One page; `token` asks for the next one and is empty on the last."""

    models: tuple[OfferedModel, ...]
    token: str


def read_page(body: bytes) -> Page | None:
    """Read a response, None when it is no list."""
    parsed = json_object(body)
    rows, token = parsed.get("models"), parsed.get("nextPageToken")
    if not isinstance(rows, list):
        # A page without any model has no list at all.
        return None if parsed else Page((), "")
    models = [model for row in rows if isinstance(row, dict) for model in _model(row)]
    return Page(tuple(models), token if isinstance(token, str) else "")


def listed(models: Iterable[OfferedModel], *, complete: bool) -> ModelList:
    """Return the models in the order of their names."""
    found = {model.name: model for model in models}
    names = sorted(found, key=lambda name: (name.casefold(), name))
    return ModelList(tuple(found[name] for name in names[:MAX_MODELS]), complete and len(names) <= MAX_MODELS)


def _model(row: dict[str, Any]) -> Iterable[OfferedModel]:
    methods, name, title = row.get("supportedGenerationMethods"), row.get("name"), row.get("displayName")
    if (isinstance(methods, list) and "generateContent" not in methods) or not isinstance(name, str):
        return
    entry = {"id": name.removeprefix("models/"), "context_length": row.get("inputTokenLimit")}
    for model in offered([entry]):
        yield model._replace(title=title[:200] if isinstance(title, str) else "")
