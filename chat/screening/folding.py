"""Which characters are the same: width, case, combining marks, invisible characters, traditional and simplified script.

Every character is folded alone, so that the result does not depend on how a text is cut. That is also why nothing is
composed again: of one character decomposed, and of the same one typed in parts, the folded letters are the same.

A character is folded to letters (one or, like ﬁ and ㎏, several), is a separator (spaces, punctuation, symbols), or
cannot be seen; among the last, marks belong to the character before them. Known and accepted: vowels that are combining
marks (as in Thai, Hindi, Arabic), and what tells が from か, do not count; look-alikes of other scripts differ.
"""

from unicodedata import category, name, normalize

from chat.screening.simplified import SIMPLIFIED, TRADITIONAL

INVISIBLE, MARK, SEPARATOR, LETTERS = range(4)
Folded = tuple[int, str]

# Invisible characters in a row beyond this are left out: nobody sees them, and what is held back stays bounded.
MOST_INVISIBLE = 256
# Invisible, though their category is not: Korean fillers, and what Unicode keeps free for more of the kind.
_FILLERS = frozenset(
    map(chr, (0x115F, 0x1160, 0x3164, 0xFFA0, 0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)))
)
_APOSTROPHES = frozenset("'\u2018\u2019\u02bc\u02b9\u2032")
# Decomposing once may give what case folding changes, and the other way round; nothing takes more turns than this.
_TURNS = 4

_simplified = dict(zip(TRADITIONAL, SIMPLIFIED, strict=True))


def _visible(character: str) -> bool:
    return category(character) not in {"Cf", "Mn", "Me"} and character not in _FILLERS


def _normal(text: str) -> str:
    for _turn in range(_TURNS):
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


class _Table(dict[str, Folded]):
    """What each character is folded to; filled as characters come, and bounded."""

    def __missing__(self, character: str) -> Folded:
        folded = _fold(character)
        if len(self) < 50_000:
            self[character] = folded
        return folded


class _LettersTable(dict[int, str]):
    """The same for `str.translate`, letters only."""

    def __missing__(self, code: int) -> str:
        kind, value = FOLDED[chr(code)]
        letters = value if kind == LETTERS else ""
        if len(self) < 50_000:
            self[code] = letters
        return letters


FOLDED = _Table()
_letters = _LettersTable()


def letters(text: str) -> str:
    """Return the folded letters of a text, without anything between them."""
    return text.translate(_letters)


# --- where a word may begin and end ----------------------------------------------------------------------------------

NO_LETTER, OTHER, LATIN, DIGIT, LEADING, VOWEL, TRAILING = range(7)


class _Classes(dict[str, int]):
    """What a folded letter is to its neighbours."""

    def __missing__(self, letter: str) -> int:
        found = self[letter] = _class(letter)
        return found


def _class(letter: str) -> int:
    if "\u1100" <= letter <= "\u11ff":  # a part of a Korean syllable
        return LEADING if letter < "\u1160" else VOWEL if letter < "\u11a8" else TRAILING
    if name(letter, "").startswith("LATIN "):
        return LATIN
    return DIGIT if category(letter) == "Nd" else OTHER


CLASS = _Classes({"": NO_LETTER, " ": NO_LETTER})
_SYLLABLE = {(LEADING, VOWEL), (VOWEL, TRAILING)}
# Neighbours, left and right, that no word may be cut out from between: where the word is the right one of them, and
# where it is the left one. Latin words stand alone; so do numbers among digits; a Korean syllable is one character.
NO_START = frozenset({(LATIN, LATIN), (DIGIT, LATIN), (DIGIT, DIGIT), *_SYLLABLE})
NO_END = frozenset({(LATIN, LATIN), (LATIN, DIGIT), (DIGIT, DIGIT), *_SYLLABLE})
# After these the next character decides whether the word has ended.
OPEN_ENDED = frozenset(left for left, _right in NO_END)
# Between these a space is a part of the word: "the rapist" is not "therapist".
SPACED = frozenset({LATIN, DIGIT})


def key(word: str) -> str:
    """Return the folded form of a word: letters, symbols, and a space where one must stand between Latin letters.

    Two words with one key are the same word. It is empty where there is nothing to see.
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


def is_plain(word_key: str) -> bool:
    """Whether a key has letters only, and spaces between them; the others need their symbols found too."""
    return letters(word_key) == word_key.replace(" ", "")


# --- runs of what cannot be seen -------------------------------------------------------------------------------------


def shortened(text: str, before: int = 0) -> str:
    """Leave out what exceeds MOST_INVISIBLE in a row; `before` of them came just before the text."""
    # A run that is too long covers one of every so many places.
    if not before and not any(map(_hidden, text[MOST_INVISIBLE :: MOST_INVISIBLE + 1])):
        return text
    kept = []
    for character in text:
        before = before + 1 if _hidden(character) else 0
        if before <= MOST_INVISIBLE:
            kept.append(character)
    return "".join(kept)


def invisible_at_end(text: str, before: int = 0) -> int:
    """Return how many invisible characters in a row a text ends with, when `before` of them came just before it."""
    for count, character in enumerate(reversed(text)):
        if not _hidden(character):
            return count
    return before + len(text)


def _hidden(character: str) -> bool:
    return FOLDED[character][0] <= MARK
