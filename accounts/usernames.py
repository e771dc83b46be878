"""Rules for new usernames: allowed characters, one script, and no look-alike of another user's name.

Follows UTS 39 (https://www.unicode.org/reports/tr39/): a name's skeleton replaces each character by the one that it can
be confused with, so two names that look alike have one skeleton. Names of existing accounts are never checked again.
"""

import functools
import unicodedata
from importlib import resources
from typing import TYPE_CHECKING

import orjson
from confusable_homoglyphs import categories
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from accounts.models import User

_DIGITS, _PUNCTUATION = frozenset("0123456789"), frozenset("_-.")
# Letters and vowel signs without a shape of their own, which would make two names look the same.
_INVISIBLE = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Scripts that may stand beside each other in one name.
_MIXABLE = frozenset({"HAN", "LATIN"})
# Users whose skeletons are stored by one statement.
_BATCH = 500
# Characters of a stored skeleton, which PostgreSQL can index in any script.
SKELETON_CHARS = 512
# The directional marks that the table puts around characters of scripts written from right to left.
_MARKS = str.maketrans("", "", "\u200e\u200f")


def check(name: str) -> None:
    """Raise ValidationError unless a normalized name has allowed characters of one script."""
    letters = [char for char in name if char not in _DIGITS and char not in _PUNCTUATION]
    scripts = {categories.alias(char) for char in letters}
    if not all(map(_is_letter, letters)) or not (letters or _DIGITS & set(name)):
        raise ValidationError(_("A name consists of letters, digits and the characters _ - . only."))
    if len(scripts) > 1 and not scripts <= _MIXABLE:
        raise ValidationError(
            _("The letters of a name belong to one script, such as Latin or Cyrillic. Chinese may be mixed with Latin.")
        )


def skeleton(name: str) -> str:
    """Return the text that all names that look like this one share."""
    # Twice, because a letter in lower case, or a part of a decomposed one, can have a prototype of its own.
    return _replaced(_replaced(name))[:SKELETON_CHARS]


def fill_skeletons(users: "QuerySet[User]") -> None:
    """Store the missing skeletons; of users whose names look alike, the oldest gets it.

    They are missing for users who signed up while the previous release was running. Repeating is safe.
    """
    missing = list(users.filter(username_skeleton=None).order_by("pk").only("username"))
    for start in range(0, len(missing), _BATCH):
        first = {skeleton(user.username): user for user in reversed(missing[start : start + _BATCH])}
        known = set(users.filter(username_skeleton__in=list(first)).values_list("username_skeleton", flat=True))
        filled = [user for text, user in first.items() if text not in known]
        for user in filled:
            user.username_skeleton = skeleton(user.username)
        users.bulk_update(filled, ["username_skeleton"])


def _replaced(text: str) -> str:
    table = _prototypes()
    prototypes = "".join(table.get(char, char) for char in unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", prototypes).casefold()


def _is_letter(char: str) -> bool:
    """Return whether this is a letter or a mark (vowel sign) of one script."""
    kind, script = unicodedata.category(char), categories.alias(char)
    return kind[0] in "LM" and script not in {"COMMON", "INHERITED", "Unknown"} and char not in _INVISIBLE


@functools.cache
def _prototypes() -> dict[str, str]:
    """Return the character, or the few characters, that stand for each character of names.

    The package lists both directions, so a character with several look-alikes is itself the prototype. Of a pair that
    names only each other, the lower code point is. Only this excerpt is kept, because the whole table takes 10 MB.
    """
    text = resources.files("confusable_homoglyphs").joinpath("confusables.json").read_bytes()
    table = {
        char: [found["c"].translate(_MARKS) for found in looks_like] for char, looks_like in orjson.loads(text).items()
    }
    return {
        char: min(char, others[0]) if len(table.get(others[0], ())) == 1 else others[0]
        for char, others in table.items()
        if len(char) == len(others) == 1 and unicodedata.category(char)[0] in "LMN"
    }
