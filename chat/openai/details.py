"""Structured reasoning of a completion, put together from its pieces as OpenRouter's clients do.

https://openrouter.ai/docs/use-cases/reasoning-tokens
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from providers.wire.openai.surrogates import mend_surrogates

# Fields whose pieces continue each other; of all others the last value holds.
_TEXTS = ("text", "summary", "data")


class Details:
    """Collects pieces; those of one type and index are one detail."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._pieces: list[dict[str, list[str]]] = []

    def add(self, pieces: str) -> None:
        """Add a JSON list of pieces."""
        self.extend(json.loads(pieces))  # orjson refuses half of a surrogate pair

    def extend(self, pieces: Iterable[Mapping[str, Any]]) -> None:
        """Add pieces, or whole details."""
        for piece in pieces:
            last = self._details[-1] if self._details else {}
            if not last or any(last.get(name) != piece.get(name) for name in ("type", "index")):
                self._details.append({})
                self._pieces.append({})
            for name, value in piece.items():
                if name in _TEXTS and isinstance(value, str):
                    self._pieces[-1].setdefault(name, []).append(value)
                elif value is not None or name not in self._details[-1]:
                    self._details[-1][name] = value

    def whole(self) -> list[dict[str, Any]]:
        """Return the details with their whole texts."""
        details = [
            {**detail, **{name: "".join(texts) for name, texts in pieces.items()}}
            for detail, pieces in zip(self._details, self._pieces, strict=True)
        ]
        # The halves of a character may come in different pieces.
        return json.loads(mend_surrogates(json.dumps(details, ensure_ascii=False))) if details else []
