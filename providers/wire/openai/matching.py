"""Find the meaning of a refusal by the signs of `meanings`, in linear time."""

import re
from collections.abc import Iterator, Mapping

from providers.wire.openai.meanings import PARAMETERS, TABLES, TOO_LONG, Meaning, Sign

# Characters of a message that are matched, from its beginning and from its end: a vendor may repeat a whole prompt.
MAX_HEAD_CHARS, MAX_TAIL_CHARS = 1500, 500

_BY_CODE: Mapping[str, tuple[Meaning, Sign]] = {
    sign.pattern: (meaning, sign) for meaning, signs in TABLES.items() for sign in signs if sign.field == "code"
}
_BY_MESSAGE: tuple[tuple[Meaning, Sign], ...] = tuple(
    (meaning, sign) for meaning, signs in TABLES.items() for sign in signs if sign.field == "message"
)
# A name, with the rest of a path such as `messages[0].name` behind it, and one before a wording.
_MAX_NAME_CHARS = 40
_NAME = re.compile(r"([a-z_]{1,40})[a-z0-9_.\[\]]{0,60}")
_NAME_BEFORE = re.compile(r"([a-z_]{1,40})\Z")
# How many places of a message may be the beginning of a wording that goes on with a name.
_MAX_PLACES = 8
# A limit per minute, and how much of it the request needs: "... Limit 30000, Requested 342389. ..."
_NEEDS = re.compile(r"limit:? (\d{1,12}), (?:used:? \d{1,12}, )?requested:? (\d{1,12})\b")


def excerpt(message: str) -> str:
    """Return the part of a message that is matched, in lower case."""
    if len(message) > MAX_HEAD_CHARS + MAX_TAIL_CHARS:
        message = f"{message[:MAX_HEAD_CHARS]} {message[-MAX_TAIL_CHARS:]}"
    return message.lower()


def by_code(words: tuple[str, ...]) -> tuple[Meaning, Sign] | None:
    """Return the meaning of the first machine-readable word that has one, and its sign."""
    return next((found for word in words if (found := _BY_CODE.get(word.lower()))), None)


def by_message(text: str, *, limits: bool) -> tuple[Meaning, Sign] | None:
    """Return the meaning of an excerpt, and its sign; a rate only with `limits`."""
    if limits and (needs := _NEEDS.search(text)) and int(needs[2]) > int(needs[1]):
        return "too_long", TOO_LONG[0]
    return next(
        (found for found in _BY_MESSAGE if (limits or found[0] != "rate") and matches(found[1], text)),
        None,
    )


def matches(sign: Sign, text: str) -> bool:
    """Return whether an excerpt contains the wording of a sign."""
    return param_of(sign, text) is not None


def param_in(text: str) -> str:
    """Return the parameter that an excerpt complains about, empty without any."""
    names = (param_of(sign, text) for sign in PARAMETERS if sign.field == "message")
    return next((name for name in names if name), "")


def param_of(sign: Sign, text: str) -> str | None:
    """Return the parameter that a wording names, None without that wording.

    It is empty for wordings about no parameter.
    """
    head, placeholder, tail = sign.pattern.partition("{}")
    if not placeholder:
        return sign.param if all(_in_order(sign.pattern, text)) else None
    if not head:
        end = max(text.find(tail), 0)
        found = _NAME_BEFORE.search(text[max(end - _MAX_NAME_CHARS, 0) : end])
        return found[1] if found else None
    end = 0
    for _place in range(_MAX_PLACES):
        start = text.find(head, end)
        if start < 0:
            break
        end = start + len(head)
        found = _NAME.match(text, end)
        if found and text.startswith(tail, found.end()):
            return found[1]
    return None


def _in_order(pattern: str, text: str) -> Iterator[bool]:
    start = 0
    for part in pattern.split(" … "):
        found = text.find(part, start)
        start = found + len(part)
        yield found >= 0
