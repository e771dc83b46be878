"""The work for patterns is bounded whatever the list and the text: texts that cost too much count as blocked."""

import base64
import random
import threading
from typing import Any

import pytest
from django.test import Client

from benchmarks import screening
from chat.apps import chat
from chat.generations import masking
from chat.generations.request import GenerationRequest
from chat.models import SensitivePattern
from chat.screening import edits, incoming, limits, scanning
from chat.screening.automaton import Automaton, Pattern
from chat.screening.expressions import compiled
from chat.screening.lexicon import Costs, Lexicon
from chat.screening.live import Words, compiled_pattern
from chat.screening.scanning import MOST_STEPS, SPARE_CHARS
from chat.screening.stream import Screen
from chat.screening.tracking import TOO_COSTLY, Term
from providers.wire.base import PromptMessage
from tests.chat.screening.test_patterns import some_rules, some_text, streamed
from tests.chat.screening.test_stream import pieces

# Each one alone costs little in ordinary text; this text is always the beginning of sixty matches of one of them.
HOSTILE = [rf"[uvw]{{60}}{number}" for number in range(10)] + [rf"q[uvw]{{{number}}}z" for number in range(20, 60)]
TEXT = "uvw"


def lexicon(*expressions: str, action: str = "mask") -> Lexicon:
    patterns = [
        Pattern(Term("", False, number, action, "", "", "pattern"), compiled(text))
        for number, text in enumerate(expressions, 1)
    ]
    return Lexicon((), (), Automaton(patterns))


def taken(searched: Lexicon, *texts: str) -> tuple[int, bool]:
    """Return the steps that texts take together, and whether they cost too much."""
    costs, given_up = Costs(), False
    for text in texts:
        given_up |= any(hit.term is TOO_COSTLY for hit in searched.find(text, costs))
    return sum(steps.taken for steps in costs.values()), given_up


def test_a_million_hostile_characters() -> None:
    """A list of accepted expressions gives up soon: the prompt is refused, earlier turns are hidden from there on."""
    for expression in HOSTILE:
        limits.check(expression)
    searched, text = lexicon(*HOSTILE), TEXT * 333_333
    steps, given_up = taken(searched, text)
    assert given_up
    assert steps < MOST_STEPS * SPARE_CHARS * 2
    screened = incoming.screen(searched, "hello " + text)
    assert (screened.blocked, screened.category) == (True, "costly")
    assert [found.category for found in screened.hits] == ["costly"]
    (turn,) = incoming.mask_earlier(searched, (PromptMessage("user", "hello " + text),), new=0)
    assert len(turn.content) == len(text) + 6
    assert turn.content.startswith("hello uvw")
    assert set(turn.content[3_000:]) == {"*"}


def test_many_short_hostile_texts() -> None:
    """Short texts of one call are bounded together, those inside JSON too."""
    searched, texts = lexicon(*HOSTILE), [TEXT * 100] * 300
    steps, given_up = taken(searched, *texts)
    assert given_up
    assert steps < MOST_STEPS * (SPARE_CHARS + 91_000)
    tools = incoming.mask_extras(searched, {"tools": [{"description": text} for text in texts]})
    assert "*" in str(tools["tools"][-1]) or "*" in str(tools["tools"][-2])


def test_streams_end_where_whole_texts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the characters decide where a text is given up: words, phrases, actions and any cuts change nothing."""
    monkeypatch.setattr(scanning, "MOST_STEPS", 1)
    monkeypatch.setattr(scanning, "SPARE_CHARS", 3)
    chance, costly = random.Random(20261130), 0
    for _ in range(600):
        rules, text = some_rules(chance), some_text(chance)
        searched = rules.lexicon()
        hits = searched.find(text)
        cut = min([hit.start for hit in hits if hit.term.blocks], default=len(text))
        wanted = edits.applied(edits.of(hits), text[:cut]), cut < len(text)
        assert streamed(searched, list(text)) == wanted, (rules, text)
        for count in (0, 1, 3):
            cuts = [chance.randint(0, len(text)) for _ in range(count)]
            assert streamed(searched, pieces(text, cuts)) == wanted, (rules, text)
        costly += any(hit.term is TOO_COSTLY for hit in hits)
    assert costly > 30


def test_a_hostile_stream_ends() -> None:
    """A completion ends with the category of what blocked it, and shows nothing that is undecided."""
    searched = lexicon(*HOSTILE)
    screen, shown = Screen(searched), ""
    for _ in range(4_000):
        shown += screen.feed(TEXT, searched)
        if screen.blocked:
            break
    assert screen.category == "costly"
    (hit,) = searched.find(TEXT * 4_000)
    assert len(shown) == hit.start


def test_ordinary_texts_are_never_given_up() -> None:
    """Languages, code, base64, long numbers and tables stay within the steps, whatever their length."""
    chance = random.Random(1)
    digits = chance.choices("0123456789", k=4_000)
    texts = {
        "ordinary": limits.ORDINARY * 5,
        "English": screening.english()[:8_000],
        "Chinese": screening.chinese()[:8_000],
        "code": (screening.ROOT / "chat/screening/scanning.py").read_text(),
        "base64": base64.b64encode(chance.randbytes(4_000)).decode(),
        "hex": chance.randbytes(4_000).hex(),
        "one number": "".join(digits),
        "numbers of one digit": " ".join(digits),
        "numbers": " ".join(str(chance.randint(0, 99_999)) for _ in range(1_000)),
        "phones": "".join(f"1{chance.randint(3, 9)}{chance.randint(0, 999_999_999):09} " for _ in range(300)),
        "table": "\n".join("|".join(str(chance.randint(0, 10**9)) for _ in range(9)) for _ in range(100)),
        "one letter": "a" * 4_000,
    }
    patterns = [each for row in screening.patterns() if (each := compiled_pattern(row))]
    for listed in (patterns[:4], patterns):
        searched = Lexicon((), (), Automaton(listed))
        for name, text in texts.items():
            steps, given_up = taken(searched, text)
            assert not given_up, name
            assert steps < MOST_STEPS * 0.75 * len(text), name


# Each one is accepted, both together are not: most Latin letters of ordinary text may begin a match of one of them.
BROAD = [r"[a-f][a-z ,;.]{50}\d", r"[g-r][a-z ,;.]{50}\d"]


@pytest.mark.django_db
def test_a_list_that_costs_too_much_is_refused(client: Client, carol: Any) -> None:
    """The API and the form refuse to enable an expression that costs too much beside the others."""
    client.force_login(carol)
    path, kind = "/api/admin/sensitive-patterns/", {"kind": "expression", "action": "flag"}

    def post(expression: str, **values: Any) -> Any:
        body = {"title": "x", **kind, "expression": expression, **values}
        return client.post(path, body, content_type="application/json")

    answers = [post(expression) for expression in BROAD]
    assert [answer.status_code for answer in answers] == [201, 400]
    assert list(answers[-1].json()["error"]["details"]) == ["enabled"]
    kept = post(BROAD[-1], enabled=False)
    assert kept.status_code == 201
    one = f"{path}{kept.json()['id']}/"
    assert client.patch(one, {"enabled": True}, content_type="application/json").status_code == 400
    form = {"title": "x", **kind, "scope": "both", "expression": BROAD[-1], "enabled": "on"}
    shown = client.post("/admin/chat/sensitivepattern/add/", form, headers={"Accept-Language": "zh"})
    (reason,) = shown.context["adminform"].form.errors["enabled"]
    assert "普通文字" in reason
    rows = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": kept.json()["id"], "_save": "1"}
    changed = client.post("/admin/chat/sensitivepattern/", {**rows, "form-0-action": "flag", "form-0-enabled": "on"})
    assert changed.status_code == 200
    assert SensitivePattern.objects.filter(enabled=True).count() == 1


@pytest.mark.django_db(transaction=True)
async def test_long_prompts_are_screened_beside_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """While there are patterns, a long prompt is screened by the executor, a short one with the start."""
    searched, threads, screen_new = lexicon("x{3}"), [], masking.screen_new

    def screened(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return screen_new(*args)

    monkeypatch.setattr(masking, "screen_new", screened)
    monkeypatch.setattr(chat().words, "latest", Words(1, searched, searched))
    text = "xxx " + "y" * masking.LONG_CHARS
    found = await chat().generations._precheck(GenerationRequest(1, "demo", text))
    assert found.new is not None
    assert found.new.texts[0] == "***" + text[3:]
    assert (await chat().generations._precheck(GenerationRequest(1, "demo", text[:100]))).new is None
    (thread,) = threads
    assert thread.startswith("large-calls")
    without = Words(1, Lexicon(), Lexicon())
    monkeypatch.setattr(chat().words, "latest", without)
    assert (await chat().generations._precheck(GenerationRequest(1, "demo", text))).new is None
