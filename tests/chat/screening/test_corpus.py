"""Hundreds of evasions are found, and hundreds of innocent texts pass."""

import pytest

from chat.screening import edits
from tests.chat.screening.evasions import EVASIONS
from tests.chat.screening.innocents import ALLOWED, NOT_THE_WORD, WHOLE_WORDS
from tests.chat.screening.oracle import Words
from tests.chat.screening.test_stream import streamed


def screened(text: str, word: str, *phrases: str) -> str:
    """Return a text with a word masked; the stream must say the same."""
    lexicon = Words((word,), (), phrases).lexicon()
    whole = edits.screened(text, lexicon.find(text))
    assert streamed(lexicon, list(text), set()) == (whole, False)
    return whole


@pytest.mark.contract("words in every disguise")
def test_the_corpus_is_large() -> None:
    """There are at least two hundred of each, all different."""
    evasions = [row for rows in EVASIONS.values() for row in rows]
    innocents = [(word, text) for word, texts in WHOLE_WORDS.items() for text in texts]
    innocents += [*NOT_THE_WORD, *((word, text) for word, _phrase, text in ALLOWED)]
    assert min(len(set(evasions)), len(set(innocents))) >= 200


@pytest.mark.parametrize("kind", EVASIONS)
def test_evasions(kind: str) -> None:
    """A disguised word is masked from its first to its last character, and nothing else is."""
    for word, text in EVASIONS[kind]:
        for before, after in (("", ""), ("看 ", " 吧"), ("(", ")")):
            assert screened(before + text + after, word) == before + "*" * len(text) + after, (word, ascii(text))


@pytest.mark.parametrize("word", WHOLE_WORDS)
def test_whole_words(word: str) -> None:
    """A Latin word never matches inside another, but alone, in quotes, and inside Chinese text."""
    for text in WHOLE_WORDS[word]:
        assert screened(text, word) == text
    for before, after in (("", ""), ("“", "”"), ("这个", "吗"), (f"{WHOLE_WORDS[word][0]} — ", "!")):
        assert screened(before + word + after, word) == before + "*" * len(word) + after


@pytest.mark.parametrize(("word", "phrase", "text"), ALLOWED)
def test_allowed_phrases(word: str, phrase: str, text: str) -> None:
    """A word matches outside of an allowed phrase, and without the phrase, but not inside."""
    assert screened(text, word, phrase) == text
    assert "*" in screened(text, word)
    assert screened(f"{text}。{word}", word, phrase) == f"{text}。{'*' * len(word)}"


@pytest.mark.parametrize(("word", "text"), NOT_THE_WORD)
def test_not_the_word(word: str, text: str) -> None:
    """Letters that are too far apart, or different, do not match."""
    assert screened(text, word) == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\u0301s\u0301s\u0301!", "******!"),  # the combining marks of the last character are masked too
        ("as s\u200b!", "****\u200b!"),  # other invisible characters are not
        ("ASS ass a-s-s", "*** *** *****"),
        ("ass\nas\ns", "***\n****"),
        ("ﬁﬁ ㎏", "ﬁﬁ ㎏"),
    ],
)
def test_one_star_per_character(text: str, wanted: str) -> None:
    """The mask has one star per original character of the hit."""
    assert screened(text, "ass") == wanted
