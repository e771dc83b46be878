"""Patterns in texts and streams: kinds, own expressions, all actions, and every way to split a text."""

import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from chat.screening import automaton, edits, limits
from chat.screening.automaton import Automaton, Pattern
from chat.screening.expressions import NotAnExpression, compiled
from chat.screening.folding import MOST_INVISIBLE
from chat.screening.kinds import KINDS, expression_of, is_bank_card, is_identity_card
from chat.screening.lexicon import Lexicon
from chat.screening.scanning import PatternTracker
from chat.screening.stream import Screen
from chat.screening.tracking import Term
from tests.chat.screening.pattern_oracle import Rule, Rules
from tests.chat.screening.test_stream import LETTERS, SEPARATORS, UNSEEN, pieces

SOAK = os.environ.get("SOAK") == "1"
pytestmark = pytest.mark.timeout(1800 if SOAK else 300)
EXAMPLES = 20_000 if SOAK else 150
ACTIONS = ["mask", "mask", "replace", "replace", "flag", "block"]
WORDS = ["a", "ab", "独立", "b1", "+", "1", "c++", "ba b"]
EXPRESSIONS = [
    *("a+b", "1[12]{1,3}", "[ab]-?[ab]", r"\b(ab|ba)+\b", "独.立", "a.{0,3}b", "(ab?){2}", r"[^a1 ]{2}", r"\d\s*\d"),
    *("b|ab|bab1", r"1+\b", r"\ba", "(a|b)*1", "a{2,}", r"\w\W\w", "[.*+-]", "(?:1|2 ?){3}"),
]


def is_even(text: str) -> bool:
    return len(text) % 2 == 0


def some_rules(chance: random.Random) -> Rules:
    words = [Rule(word, chance.choice(ACTIONS)) for word in chance.sample(WORDS, chance.randint(0, 3))]
    patterns = [
        Rule(text, chance.choice(ACTIONS), False, is_even if chance.random() < 0.2 else None)
        for text in chance.sample(EXPRESSIONS, chance.randint(1, 4))
    ]
    phrases = [chance.choice(["ab", "a+b", "1 2", "独立", "aba"]) for _ in range(chance.choice([0, 0, 1, 2]))]
    return Rules((*words, *patterns), tuple(phrases))


def some_text(chance: random.Random) -> str:
    choices = [*LETTERS[:9], *LETTERS[10:12], "a", "a", "b", "b", "1", "1", "2", "独", "立", *SEPARATORS, *UNSEEN, "ab"]
    return "".join(chance.choices(choices, k=chance.randint(0, 25)))


cases = st.randoms(use_true_random=False).map(lambda chance: (some_rules(chance), some_text(chance)))


def streamed(lexicon: Lexicon, deltas: list[str]) -> tuple[str, bool]:
    screen, out = Screen(lexicon), ""
    for delta in deltas:
        out += screen.feed(delta, lexicon)
        if screen.blocked:
            return out, True
    return out + screen.flush(), screen.blocked


def whole(lexicon: Lexicon, text: str) -> tuple[str, bool]:
    hits = lexicon.find(text)
    cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
    return edits.applied(edits.of(hits), text[:cut]), cut < len(text)


@pytest.mark.soak
@hypothesis(max_examples=EXAMPLES, deadline=None)
@given(cases, st.randoms(use_true_random=False))
def test_streams_equal_the_oracle(case: tuple[Rules, str], chance: random.Random) -> None:
    """Words, patterns, phrases and all actions mixed: a text split in any way gives the result of the whole text."""
    rules, text = case
    wanted, lexicon = rules.screen(text), rules.lexicon()
    assert whole(lexicon, text) == wanted
    assert streamed(lexicon, list(text)) == wanted
    for count in (0, 1, 3):
        assert streamed(lexicon, pieces(text, [chance.randint(0, len(text)) for _ in range(count)])) == wanted


@pytest.mark.soak
def test_many_texts() -> None:
    """Many texts split into characters give the oracle's result too; many of them contain hits of each kind."""
    chance = random.Random(20261130)
    counts = dict.fromkeys(ACTIONS, 0)
    for _ in range(50_000 if SOAK else 600):
        rules, text = some_rules(chance), some_text(chance)
        wanted, lexicon = rules.screen(text), rules.lexicon()
        assert streamed(lexicon, list(text)) == wanted, (rules, text)
        assert whole(lexicon, text) == wanted, (rules, text)
        for action in {rule.action for _place, rule in rules.hits(text) if not rule.is_word}:
            counts[action] += 1
    assert min(counts.values()) > 30


def of_kinds(**actions: str) -> Lexicon:
    patterns = [
        Pattern(
            Term("", False, number, actions.get(kind, "mask"), "", f"[{kind}]", "pattern"),
            expression_of(kind, ""),
            KINDS[kind].check,
        )
        for number, kind in enumerate(KINDS, 1)
    ]
    return Lexicon((), (), Automaton(patterns))


ALL_KINDS = of_kinds(**dict.fromkeys(KINDS, "replace"))
FOUND = [
    ("打 13812345678 吧", "打 [phone] 吧"),
    ("138-1234-5678,138 1234 5678", "[phone],[phone]"),
    ("+86 13812345678、8613812345678、0086-13812345678", "[phone]、[phone]、[phone]"),
    ("１３８１２３４５６７８", "[phone]"),
    ("1\u200b3812\u00ad345678", "[phone]"),
    ("١٣٨١٢٣٤٥٦٧٨", "[phone]"),
    ("①③⑧12345678", "[phone]"),
    ("+1 (415) 555-2671 or +44 20 7946 0958", "[phone] or [phone]"),
    ("13812345678a", "[phone]a"),
    ("身份证11010519491231002X。", "身份证[identity_card]。"),
    ("11010519491231002x 110105 19491231 002X", "[identity_card] [identity_card]"),
    ("4111 1111 1111 1111", "[bank_card]"),
    ("6222-0202-0000-0000-006", "[bank_card]"),
    ("4111111111111111 123", "[bank_card] 123"),
    ("12 4111111111111111", "12 [bank_card]"),
    ("邮箱John.Doe+tag@mail.Example.co.uk。", "邮箱[email]。"),
    ("<ａ@ｂ．ｃｎ>, a_b@c-d.com.", "<[email]>, [email]."),
]
NOT_FOUND = [
    *(
        "138123456789",
        "113812345678",
        "1381234567",
        "12812345678",
        "138--1234-5678",
        "138  12345678",
        "+13812345678901234",
    ),
    *(
        "11010519491231002",
        "110105194912310021",
        "11010519490231002X",
        "110101190002290003",
        "011010519491231002X",
    ),
    *("4111 1111 1111 1112", "41111111111111110", "411111111111", "4111  1111 1111 1111", "1234567890128"),
    *("a@b", "@b.cn", "a@.cn", "a b.cn", "a@b.c", "@a.b"),
    *("+1234", "+0123456789", "++", "1+", "+"),
]


@pytest.mark.parametrize(("text", "shown"), FOUND)
def test_kinds_are_found(text: str, shown: str) -> None:
    """Each kind is found in its usual spellings, in a whole text and with any cut."""
    assert whole(ALL_KINDS, text) == (shown, False)
    assert streamed(ALL_KINDS, list(text)) == (shown, False)
    for cut in range(len(text)):
        assert streamed(ALL_KINDS, [text[:cut], text[cut:]]) == (shown, False)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_is_no_such_number(text: str) -> None:
    """Too long, too short, with a wrong checksum or date, or part of a longer number: nothing is found."""
    assert streamed(ALL_KINDS, list(text)) == whole(ALL_KINDS, text) == (text, False)


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        ("11010519491231002x", True),
        ("440524188001010014", True),
        ("110101199003074477", True),
        ("110101199003074478", False),
        ("110101199013074477", False),
        ("110101190002290003", False),  # 1900 was no leap year
        ("110101200002290018", True),
        ("110105294912310028", False),
    ],
)
def test_identity_cards(number: str, valid: bool) -> None:
    """The check character and the birth date decide."""
    assert is_identity_card(number) is valid


@pytest.mark.parametrize("number", ["4111111111111111", "378282246310005", "30569309025904", "6222020200000000006"])
def test_bank_cards(number: str) -> None:
    """Exactly one last digit of ten is right, and two neighbours that are exchanged are noticed."""
    right = [digit for digit in "0123456789" if is_bank_card(number[:-1] + digit)]
    assert right == [number[-1]]
    assert not is_bank_card(number[:1] + number[2] + number[1] + number[3:]) or number[1] == number[2]


NASTY = [
    *("(a+)+$", "^a", "(?=a)b", "(?!a)b", "(?<=a)b", r"(a)\1", "(?P<n>a)", "(?i)a", "a*?", "a++", "a**", "a{2}{3}"),
    *("", "a?", "a*", "(a|)", "(a*)*", "(a?){100}", "()", "|", r"\b\b", r"a\bb", r"\B", r"\Z", r"\p{L}", r"\q"),
    *("(", ")", "[", "[]", "[z-a]", "a{", "a{,3}", "a{3,2}", "a{0}", "a{1000}", "a{x}", "a{201}", "a" * 97, "\\"),
    *("((a{50}){50}){50}", "(a{1,99}){1,99}", "(((((a?){9}){9}){9}){9}){9}b", "(" * 21 + "a" + ")" * 21),
    *("(a|b)*a(a|b){12}", "(a|b)*a(a|b|c){14}x", "(.*a){8}", "(x+x+)+y" + "(a|b)*a(a|b){12}"),
    *(".*x", ".+@", "[^x]*x", r"\w+.{30}x", ".{60}x", r"(\w|\s)+x", r"\D{40}\d", "\u0301", "[\u200b]"),
]


@pytest.mark.parametrize("text", NASTY)
def test_refused_expressions(text: str) -> None:
    """What is not supported, empty, endless, too large or too slow is refused, quickly."""
    started = time.thread_time()
    with pytest.raises(NotAnExpression) as refusal:
        limits.check(text)
    assert time.thread_time() - started < 1
    assert str(refusal.value.reason)


@pytest.mark.parametrize(
    "text",
    [r"(a+)+b", r"(x+x+)+y", r"(a|a)*b", r"([a-z]+)*\d", r"(\d+\s?)+x", ".{1,64}", r"王.{0,3}先生", r"\d{15,19}"],
)
def test_what_is_catastrophic_elsewhere_costs_little(text: str) -> None:
    """Expressions that take other engines for ever are harmless: few states, few starts, linear time."""
    limits.check(text)
    searched = Automaton([Pattern(Term("", False, 1), compiled(text))])
    assert searched.explore(limits.MOST_STATES) <= limits.MOST_STATES
    tracker = PatternTracker(searched)
    for at, character in enumerate(["a", "x", "1", "王"] * 500 + ["a"] * 2_000 + ["1"] * 2_000):
        tracker.go(character, at)
        assert len(tracker.alive) <= 96
        assert len(tracker._symbols) < 1_200


def test_states_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An automaton that has too many states forgets them, and finds the same."""
    monkeypatch.setattr(automaton, "MOST_STATES", 5)
    chance = random.Random(3)
    for _ in range(100):
        rules, text = some_rules(chance), some_text(chance)
        lexicon = rules.lexicon()
        assert streamed(lexicon, list(text)) == rules.screen(text)
        searched = lexicon.parts[0].patterns
        assert searched is not None
        assert len(searched._states) <= 5


def test_what_is_held_is_bounded() -> None:
    """Endless text that may always become a match is released, a match at most is held back."""
    lexicon = Rules((Rule("a.*b", "mask", False), Rule("(1[ -]?)+x", "mask", False))).lexicon()
    for unit in ("a", "1", "1 ", "a1-", "a" + "\u200b" * 9, "a\u0301"):
        screen, most = Screen(lexicon), 0
        for _ in range(1_500):
            screen.feed(unit, lexicon)
            most = max(most, screen.holding)
        assert most <= 96 * (len(unit) + 1)
    padded = "1" + "\u200b" * 5_000 + "x"
    assert streamed(lexicon, list(padded))[0] == "*" * (MOST_INVISIBLE + 2)


def test_phrases_cover_patterns() -> None:
    """A number that lies within an allowed phrase is no hit, whatever is split."""
    rules = Rules((Rule(r"\d{3}-\d{4}", "replace", False),), ("hotline 400-8208",))
    for text, shown in (("hotline 400-8208!", "hotline 400-8208!"), ("Call 400-8208", f"Call <{rules.rules[0].text}>")):
        assert streamed(rules.lexicon(), list(text)) == whole(rules.lexicon(), text) == (shown, False)


def test_plain_text_passes_at_once() -> None:
    """Text in which no pattern can begin is not held back, and takes the short way."""
    lexicon = of_kinds()
    screen = Screen(lexicon)
    for text in ("当然可以，", "没有问题。", "当然，"):
        screen.feed(text, lexicon)
    assert screen.passes("当然可以。没有问题，")
    assert screen.feed("1", lexicon) == ""
    assert not screen.passes("当然")
    assert screen.feed("当", lexicon) == "1当"
    assert screen.feed("13812345678", lexicon) == ""
    assert screen.feed("，", lexicon) == "*" * 11 + "，"
