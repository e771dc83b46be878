"""Read the pages that a chunk cites, in all the forms in use.

Perplexity and xAI list addresses in `citations`, Perplexity and Baidu pages in `search_results`, Zhipu in `web_search`,
Volcengine in `references`, Tencent in `search_info`, OpenAI and OpenRouter in `annotations` of the message, Azure in
its `context`, relays of Gemini in its grounding metadata, iFlytek in `plugins` and `plugins_content`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from providers.wire.sources import SourceList

_LISTS = (
    *("citations", "search_results", "web_search", "references", "annotations", "groundingChunks"),
    *("grounding_chunks", "plugins", "plugins_content"),
)
# Objects within a chunk, a choice or a message that have such lists.
_HOLDERS = ("search_info", "context", "grounding_metadata", "groundingMetadata", "vertex_ai_grounding_metadata")


def add_citations(chunk: Mapping[str, Any], sources: SourceList) -> None:
    """Add the pages that a chunk lists."""
    for outer in _parts(chunk):
        for holder in (outer, *(inner for name in _HOLDERS for inner in _objects(outer.get(name)))):
            for name in _LISTS:
                if name in holder:
                    add_listed(holder[name], sources)


def add_listed(listed: object, sources: SourceList) -> None:
    """Add the pages of a list of addresses, or of objects that have one.

    iFlytek's lists are JSON in a text.
    """
    if isinstance(listed, str):
        listed = _parsed(listed)
    elif isinstance(listed, dict):
        for part in _objects(listed.get("text")):
            add_listed(part.get("content"), sources)
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, str):
            sources.add(item)
        elif isinstance(item, dict):
            page = next(_objects(item.get("url_citation") or item.get("web")), item)
            sources.add(page.get("url") or page.get("link") or page.get("uri"), page.get("title") or page.get("name"))


def _parts(chunk: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield chunk
    for choice in _objects(chunk.get("choices")):
        yield choice
        for name in ("delta", "message"):
            yield from _objects(choice.get(name))


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list, or the one object that stands in its place."""
    listed: Iterable[object] = value if isinstance(value, list) else (value,)
    return (each for each in listed if isinstance(each, dict))


def _parsed(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
