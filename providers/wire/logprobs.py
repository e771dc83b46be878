"""Log probabilities of tokens, as OpenAI's stream has them beside the text."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The log probabilities of the tokens that came last, in OpenAI's shape."""

    items: tuple[dict[str, Any], ...]

    @property
    def size(self) -> int:
        """Estimate the bytes of their JSON."""
        return sum(_size(token) for item in self.items for token in (item, *item["top_logprobs"]))


def read_logprobs(given: object) -> LogProbs | None:
    """Return the log probabilities of a choice, with the fields of the standard alone."""
    content = given.get("content") if isinstance(given, dict) else None
    items = tuple(item for each in content if (item := _item(each))) if isinstance(content, list) else ()
    return LogProbs(items) if items else None


def _item(given: object) -> dict[str, Any] | None:
    shown = _token(given)
    if shown is None or not isinstance(given, dict):
        return None
    others = given.get("top_logprobs")
    listed = [other for each in others if (other := _token(each))] if isinstance(others, list) else []
    return {**shown, "top_logprobs": listed}


def _size(token: dict[str, Any]) -> int:
    return 60 + len(token["token"]) + 4 * len(token["bytes"] or ())


def _token(given: object) -> dict[str, Any] | None:
    if not isinstance(given, dict) or not isinstance(given.get("token"), str):
        return None
    value, data = given.get("logprob"), given.get("bytes")
    return {
        # Half of a character that a relay cut cannot be sent.
        "token": given["token"].encode("utf-8", "replace").decode(),
        # Python reads longer integers than can be sent.
        "logprob": value if isinstance(value, int | float) and abs(value) < 2**63 else None,
        "bytes": data if isinstance(data, list) and all(_is_byte(each) for each in data) else None,
    }


def _is_byte(given: object) -> bool:
    return isinstance(given, int) and 0 <= given < 256
