"""Convert the pages that a completion cites to and from the text that is stored.

A text column holds them as JSON, so that their bytes count towards STORAGE_MIB_PER_USER as other texts do.
"""

from collections.abc import Iterable
from typing import cast

import orjson
from typing_extensions import TypedDict

from providers.wire.base import Source


class CitedSource(TypedDict):
    url: str
    title: str


def as_json(sources: Iterable[Source]) -> list[CitedSource]:
    """Return the pages as they are sent."""
    return [{"url": source.url, "title": source.title} for source in sources]


def encode(sources: Iterable[CitedSource]) -> str:
    """Return the pages as they are stored; empty for none."""
    listed = list(sources)
    return orjson.dumps(listed).decode() if listed else ""


def decode(text: str) -> list[CitedSource]:
    """Return the stored pages."""
    return cast("list[CitedSource]", orjson.loads(text)) if text else []
