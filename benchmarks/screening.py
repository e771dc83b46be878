"""Measure screening with 50,000 words, alone and with 100 patterns: `python -m benchmarks.screening`.

The texts are this project's documents in English and its translations in Chinese. The words consist of characters with
the same frequencies, so that the texts are held back as much as a bad list can cause; words that occur in the texts are
left out. Times are CPU time, except for waiting times, each the best of several runs.
"""

import asyncio
import itertools
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatproject.settings")
django.setup()

from chat.apps import chat  # noqa: E402
from chat.generations.pipeline import Screening  # noqa: E402
from chat.screening import folding, live  # noqa: E402
from chat.screening.kinds import KINDS  # noqa: E402
from chat.screening.lexicon import Lexicon, free_with_pauses  # noqa: E402
from chat.screening.live import Rows, Words  # noqa: E402
from chat.screening.models import SensitivePattern  # noqa: E402
from chat.screening.stream import Screen  # noqa: E402
from providers.wire.base import Delta  # noqa: E402
from runtime.serve import settle_garbage_collector  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
WORDS, PATTERNS = 50_000, 100
TRIES = 5


def english() -> str:
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/api.md", ROOT / "docs/operations.md")]
    return re.sub(r"[`|*#]+", " ", re.sub(r"```.*?```", " ", "\n".join(pages), flags=re.DOTALL))


def chinese() -> str:
    catalogue = (ROOT / "locale/zh_Hans/LC_MESSAGES/django.po").read_text(encoding="utf-8")
    return "".join(re.findall(r'[\u3400-\u9fff][^"\\]*', catalogue))


def words(count: int = WORDS, seed: int = 1) -> list[str]:
    """Return words that are hard to screen for: three of four are Chinese, of two to eight characters."""
    chance = random.Random(seed)
    texts = folding.letters(chinese()), folding.letters(english())
    ideographs = [character for character in texts[0] if "\u3400" <= character <= "\u9fff"]
    syllables = [text for text in re.findall(r"[a-z]{1,3}", english().lower()) if len(text) > 1]
    # A quick check, because most words begin with characters that occur nowhere in the texts.
    beginnings = {text[at : at + size] for text in texts for at in range(len(text)) for size in (2, 3, 4)}
    found: set[str] = set()
    while len(found) < count:
        if chance.random() < 0.75:
            word = "".join(chance.choices(ideographs, k=chance.choice([2, 3, 3, 4, 4, 5, 6, 8])))
        else:
            word = "".join(chance.choices(syllables, k=chance.randint(2, 5)))
        key = folding.key(word)
        if key[:4] not in beginnings or not any(key in text for text in texts):
            found.add(word)
    return sorted(found)


def patterns(count: int = PATTERNS) -> list[SensitivePattern]:
    """Return all kinds, and expressions that begin with digits, Latin letters and Chinese ones."""
    expressions = (
        *(
            f"{chr(ord('a') + number % 26)}{chr(ord('a') + number % 7)}-?\\d{{{number % 9 + 2},12}}"
            for number in range(40)
        ),
        *(rf"\b\d{{{number % 5 + 2}}}[ -]\d{{{number % 7 + 2}}}\b" for number in range(20)),
        *(rf"\b[a-z]{{2,8}}[.:]\w{{{number % 9 + 3},20}}\b" for number in range(10)),
        *(rf"{character}.{{0,3}}(号|码|方)\d+" for character in "工学车门房订运快证税单客会卡编文案合件批"),
    )
    kinds = [SensitivePattern(pk=number, kind=kind) for number, kind in enumerate(KINDS, 1)]
    own = [
        SensitivePattern(pk=number, kind="expression", expression=expression)
        for number, expression in zip(range(len(kinds) + 1, count + 1), itertools.cycle(expressions), strict=False)
    ]
    return [*kinds, *own]


def rows(listed: list[str], own: Sequence[SensitivePattern] = ()) -> Rows:
    return Rows(
        1, [(number, word, "mask", "both", "", "") for number, word in enumerate(listed, 1)], patterns=list(own)
    )


def best(run: Callable[[], object], tries: int = TRIES) -> float:
    """Return the CPU seconds of the quickest of several runs."""
    times = []
    for _ in range(tries):
        started = time.thread_time()
        run()
        times.append(time.thread_time() - started)
    return min(times)


def stream(lexicon: Lexicon, text: str, size: int) -> list[tuple[int, int]]:
    """Stream a text in deltas; return for each the characters received and those held back."""
    screen, sent, held = Screen(lexicon), 0, []
    for start in range(0, len(text), size):
        sent += len(screen.feed(text[start : start + size], lexicon))
        come = min(len(text), start + size)
        held.append((come, come - sent))
    return held


def share(counts: list[int], part: float) -> int:
    return sorted(counts)[min(len(counts) - 1, int(len(counts) * part))]


async def lateness(work: Callable[[], object]) -> tuple[list[float], float]:
    """Run `work` in a thread; return the event loop's delays and the duration.

    Both are in seconds. With `time.sleep` as `work` it shows the delays of the machine itself.
    """
    started = time.perf_counter()
    running = asyncio.get_running_loop().run_in_executor(None, work)
    late = []
    while not running.done():
        before = time.perf_counter()
        await asyncio.sleep(0.002)
        late.append(time.perf_counter() - before - 0.002)
    return late, time.perf_counter() - started


def changed(listed: Rows) -> None:
    """Compile a new list and free it, as a change of words does."""
    free_with_pauses(live.compiled(listed).pieces())


def p99(late: list[float]) -> float:
    return share([round(wait * 1e6) for wait in late], 0.99) / 1e6


def print_compiling(listed: Rows) -> None:
    runs = [("compiling", lambda: changed(listed)), ("nothing to do", lambda: time.sleep(1))]
    for name, work in runs:
        late, seconds = min((asyncio.run(lateness(work)) for _ in range(3)), key=lambda run: p99(run[0]))
        figures = f"{p99(late) * 1000:.1f} ms (p99), {max(late) * 1000:.1f} ms at most"
        print(f"{name}: {seconds:.2f} s; the loop is late by {figures}")
    print(f"compiling {len(listed.words):,} words: {best(lambda: live.compiled(listed), 3):.2f} s of CPU time")


def print_costs(lexicon: Lexicon, name: str, text: str) -> None:
    piece = (text * 4)[:4000]
    print(f"\n{name}, {len(text):,} characters")
    print(f"  4,000 of them at once: {best(lambda: lexicon.find(piece)) * 1000:.2f} ms")
    for size in (1, 2, 4, 8):
        cost = best(partial(stream, lexicon, piece, size)) / (len(piece) / size)
        held = [count for _come, count in stream(lexicon, text, size)]
        passed = sum(count == 0 for count in held) / len(held)
        print(
            f"  deltas of {size}: {cost * 1e6:5.2f} µs each; {passed:.0%} leave nothing behind; characters held back "
            f"after one: {sum(held) / len(held):.2f} on average, {share(held, 0.9)} (p90), {share(held, 0.99)} (p99), "
            f"{max(held)} at most"
        )


def print_stage(name: str, words: Words) -> None:
    chat().words._words = words

    def feed() -> None:
        stage = Screening(chat().words, set(), 1_000_000)
        for _ in range(20_000):
            stage.feed(Delta("word"))

    print(f"the stage in the pipe, {name}: {best(feed) / 20_000 * 1e6:.2f} µs per delta")


def main() -> None:
    """Measure and print."""
    listed, both = rows(words()), rows(words(), patterns())
    settle_garbage_collector()
    print_compiling(listed)
    compiled = live.compiled(listed)
    for name, text in (("Chinese", chinese()), ("English", english())):
        print_costs(compiled.outgoing, name, text)
    with_patterns = live.compiled(both)
    for name, text in (("Chinese", chinese()), ("English", english())):
        print_costs(with_patterns.outgoing, f"{name}, with {PATTERNS} patterns", text)
    print()
    print_stage("an empty list", Words(1, Lexicon(), Lexicon()))
    print_stage(f"{WORDS:,} words", compiled)
    print_stage(f"{WORDS:,} words and {PATTERNS} patterns", with_patterns)


if __name__ == "__main__":
    main()
