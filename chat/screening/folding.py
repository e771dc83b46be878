"""Which characters are equal: ignores width, case, combining marks, invisible characters, and Chinese script.

Every character is folded alone, so the result does not depend on how a text is split. For the same reason nothing is
recomposed: a composed character and its parts typed one by one fold to the same letters.

A character folds to letters (one or, like ﬁ and ㎏, several), or is a separator (spaces, punctuation, symbols), or is
invisible; a combining mark is invisible and belongs to the character before it. Known limits: vowels that are combining
marks (as in Thai, Hindi, Arabic) and the difference between が and か are ignored; look-alikes of other scripts differ.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar
from unicodedata import category, name, normalize

from chat.screening.simplified import SIMPLIFIED, TRADITIONAL

INVISIBLE, MARK, SEPARATOR, LETTERS = range(4)
Folded = tuple[int, str]
K = TypeVar("K")
V = TypeVar("V")

# Invisible characters in a row at most; more are removed, so that the text held back stays bounded.
MOST_INVISIBLE = 256
# Invisible in spite of their category: Korean fillers, and code points reserved by Unicode for invisible characters.
_FILLERS = frozenset(
    map(chr, (0x115F, 0x1160, 0x3164, 0xFFA0, 0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)))
)
_APOSTROPHES = frozenset("'\u2018\u2019\u02bc\u02b9\u2032")
# Rounds of decomposing and case folding, because one may enable the other; no character needs more.
_ROUNDS = 4
# Entries of one cache at most, so that a text of a million different characters does not fill the memory.
MOST_CACHED = 50_000

_simplified = dict(zip(TRADITIONAL, SIMPLIFIED, strict=True))


def _visible(character: str) -> bool:
    return category(character) not in {"Cf", "Mn", "Me"} and character not in _FILLERS


def _normal(text: str) -> str:
    for _round in range(_ROUNDS):
        visible = "".join(filter(_visible, normalize("NFKD", text))).casefold()
        folded = "".join(_simplified.get(character, character) for character in visible)
        if folded == text:
            break
        text = folded
    return text


def _is_letter(character: str) -> bool:
    kind = category(character)
    return (kind[0] in "LN" or kind == "Mc") and character not in _APOSTROPHES


def _fold(character: str) -> Folded:
    kind = category(character)
    if kind == "Cc":
        return (SEPARATOR, " ") if character.isspace() else (INVISIBLE, "")
    normal = _normal(character)
    if not normal:
        return (INVISIBLE if kind == "Cf" or character in _FILLERS else MARK), ""
    if letters := "".join(filter(_is_letter, normal)):
        return LETTERS, letters
    if normal.isspace():
        return SEPARATOR, " "
    return SEPARATOR, "'" if normal[0] in _APOSTROPHES else "-" if category(normal[0]) == "Pd" else normal


class Cache(dict[K, V]):
    """A bounded cache of a pure function; known results cost one lookup in a dictionary."""

    def __init__(self, function: Callable[[K], V], known: Mapping[K, V] | None = None) -> None:
        super().__init__(known or {})
        self._function = function

    def __missing__(self, key: K) -> V:
        result = self._function(key)
        if len(self) < MOST_CACHED:
            self[key] = result
        return result


def _letters_of(code: int) -> str:
    kind, value = FOLDED[chr(code)]
    return value if kind == LETTERS else ""


FOLDED = Cache(_fold)
_letters = Cache(_letters_of)


def letters(text: str) -> str:
    """Return only the folded letters of a text."""
    return text.translate(_letters)


NO_LETTER, OTHER, LATIN, DIGIT, LEADING, VOWEL, TRAILING = range(7)


def _class(letter: str) -> int:
    if "\u1100" <= letter <= "\u11ff":  # a part of a Korean syllable
        return LEADING if letter < "\u1160" else VOWEL if letter < "\u11a8" else TRAILING
    if name(letter, "").startswith("LATIN "):
        return LATIN
    return DIGIT if category(letter) == "Nd" else OTHER


# The class of each folded letter, which decides about word boundaries.
CLASS = Cache(_class, {"": NO_LETTER, " ": NO_LETTER})
_SYLLABLE = {(LEADING, VOWEL), (VOWEL, TRAILING)}
# Pairs of neighbours, left and right, between which no word may start, and between which none may end. Latin words
# are whole words, numbers are whole numbers, and a Korean syllable is one character.
NO_START = frozenset({(LATIN, LATIN), (DIGIT, LATIN), (DIGIT, DIGIT), *_SYLLABLE})
NO_END = frozenset({(LATIN, LATIN), (LATIN, DIGIT), (DIGIT, DIGIT), *_SYLLABLE})
# Classes after which the next character decides whether a word starts with it.
START_DECIDED = frozenset(left for left, _right in NO_START)
# Classes after which the next character decides whether a word ends.
OPEN_ENDED = frozenset(left for left, _right in NO_END)
# Classes between which a space belongs to the word: "the rapist" is not "therapist".
SPACED = frozenset({LATIN, DIGIT})


def key(word: str) -> str:
    """Fold a word to its key: letters, symbols, and spaces between Latin letters or digits.

    Words with the same key are the same word. The key of an invisible word is empty.
    """
    found: list[str] = []
    space = False
    for character in word:
        kind, value = FOLDED[character]
        if kind == SEPARATOR and value == " ":
            space = True
        elif kind >= SEPARATOR:
            if space and found and CLASS[found[-1][-1]] in SPACED and CLASS[value[0]] in SPACED:
                found.append(" ")
            found.append(value)
            space = False
    return "".join(found)


def start_of_letters(text: str, first: int) -> int:
    """Return where the last letters begin that no word may part, not before `first`."""
    start, following = len(text), ""
    for at in range(len(text) - 1, first - 1, -1):
        kind, value = FOLDED[text[at]]
        if kind == LETTERS:
            left = CLASS[value[-1]]
            if (left, CLASS[following]) not in NO_START if following else left not in START_DECIDED:
                break
            start, following = at, value[0]
        elif kind == SEPARATOR:
            break
    return start


def is_plain(word_key: str) -> bool:
    """Whether a key has only letters and spaces; symbols need a slower search."""
    return letters(word_key) == word_key.replace(" ", "")


def shortened(text: str, before: int = 0) -> str:
    """Remove invisible characters beyond MOST_INVISIBLE in a row; `before` of them precede the text."""
    # A run that is too long covers one of these sampled positions.
    if not before and not any(map(_hidden, text[MOST_INVISIBLE :: MOST_INVISIBLE + 1])):
        return text
    kept = []
    for character in text:
        before = before + 1 if _hidden(character) else 0
        if before <= MOST_INVISIBLE:
            kept.append(character)
    return "".join(kept)


def invisible_at_end(text: str, before: int = 0) -> int:
    """Count the invisible characters at the end of a text that `before` others precede."""
    for count, character in enumerate(reversed(text)):
        if not _hidden(character):
            return count
    return before + len(text)


def _hidden(character: str) -> bool:
    return FOLDED[character][0] <= MARK
