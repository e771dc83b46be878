"""Measure the chat page in headless Chromium: the first page, a long conversation, and completions while they grow.

`python -m benchmarks.page [rates] [kinds]`, such as `1,4 mixed,list`; without arguments everything, in under six
minutes. A busy machine makes every figure worse, so run it on an idle one.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.visitor import Visitor
from tests.browser.windows import Windows
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

# Characters of a growing completion, and of each of its deltas; the fake upstream sends one every eight milliseconds.
CHARS, MODEL = 30_000, "typed:8:8"
# Turns of the long conversation, each with a prompt and a completion.
TURNS = 250
# Milliseconds between two typed characters.
TYPING_MS = 120
WAIT_MS = 180_000
# What a page must keep to, by how much the processor is slowed; None where only the other rate has a goal.
USABLE_SECONDS = {1: 1.0, 4: 3.0}
SCRIPT_KB, FRAME_MS, LONGEST_MS, TYPING_MS_P95 = 75, 60, 250, 60
SLOWED = 4
PARAGRAPH = "The moon **pulls** the water towards it, and `code` stands in this sentence for a change. "
BLOCKS = {
    "mixed": f"## Heading\n\n{PARAGRAPH}\n\n```python\nprint('tide')\n```\n\n- one\n- two\n\n"
    "| a | b |\n|---|---|\n| 1 | $x^2$ |\n\n",
    "list": "- An item with **bold** words, `code` and a few more\n",
    "table": "| cell | **bold** | `code` | 12345 |\n",
    "paragraph": PARAGRAPH,
    "formulas": "Let $x_1^2 + \\frac{a}{b}$ be given; then $$\\int_0^1 x^2 dx = \\frac13$$ follows.\n\n",
}
HEADS = {"table": "| a | b | c | d |\n|---|---|---|---|\n"}

# Notes the time between frames, and from a key press to the frame after it.
WATCH = """() => {
    window.frames_ = []; window.keys_ = [];
    let last = performance.now();
    const tick = now => { frames_.push(now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
    addEventListener("keydown", ({ timeStamp }) =>
        requestAnimationFrame(() => setTimeout(() => keys_.push(performance.now() - timeStamp))), true);
}"""
FIRST_PAGE = """() => {
    const loaded = performance.getEntriesByType("resource");
    const [page] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    const sum = entries => entries.reduce((bytes, { transferSize }) => bytes + transferSize, 0);
    return {
        paint: paint ? paint.startTime : 0,
        requests: loaded.length + 1,
        bytes: sum([page, ...loaded]),
        scripts: sum(loaded.filter(({ name }) => name.endsWith(".js"))),
    };
}"""


class Row(NamedTuple):
    """One line of the report; a figure without a goal stands for itself."""

    what: str
    figure: float
    unit: str
    goal: float | None = None

    def line(self, rate: int) -> str:
        """Return the line of the table."""
        digits = 2 if self.unit == "s" else 0
        goal = "–" if self.goal is None else f"≤ {self.goal:g} {self.unit}"
        verdict = "" if self.goal is None else "met" if self.figure <= self.goal else "**missed**"
        return f"| {rate}x | {self.what} | {self.figure:,.{digits}f} {self.unit} | {goal} | {verdict} |"


def percentile(milliseconds: list[float]) -> float:
    """Return the 95th percentile."""
    ordered = sorted(milliseconds) or [0.0]
    return ordered[int(len(ordered) * 0.95)]


def slow_down(visitor: Visitor, rate: int) -> None:
    visitor.context.new_cdp_session(visitor.page).send("Emulation.setCPUThrottlingRate", {"rate": rate})


def text_of(kind: str) -> str:
    """Return a text of one kind, of the wanted length."""
    block = BLOCKS[kind]
    return (HEADS.get(kind, "") + block * (CHARS // len(block) + 1))[:CHARS]


def long_conversation(user: ApiUser) -> str:
    """Make a conversation of 500 messages by an import; return its path."""
    user.answer("long", "plain")
    file = user.client.get("/api/export/").json()
    conversation = file["conversations"][0]
    prompt, completion = conversation["messages"]
    conversation["messages"] = []
    for number in range(TURNS):
        parent = 2 * number
        turn = {**prompt, "id": parent + 1, "parent": parent or None, "content": f"question {number}"}
        reply = {**completion, "id": parent + 2, "parent": parent + 1, "content": BLOCKS["mixed"]}
        conversation["messages"] += [turn, reply]
    user.client.post("/api/import/", json={**file, "conversations": [conversation]}).raise_for_status()
    return f"/c/{user.client.get('/api/conversations/').json()['results'][0]['id']}/"


def measure_growth(page: Page, user: ApiUser, kind: str) -> dict[str, Any]:
    """Follow one growing completion while a user types beside it."""
    generation = user.ask(text_of(kind), MODEL)
    page.goto(f"/c/{generation['conversation']}/")
    page.evaluate(WATCH)
    page.focus("#prompt")
    # A locator would look at every node of the page each time.
    while page.evaluate("() => document.querySelector('.answer.running') !== null"):
        page.keyboard.type("a")
        page.wait_for_timeout(TYPING_MS)
    return dict(page.evaluate("() => ({ frames: frames_, keys: keys_ })"))


def first_page(page: Page) -> list[Row]:
    """Measure the page of a new conversation, with an empty cache."""
    page.goto("/")
    page.wait_for_load_state("networkidle")
    found = page.evaluate(FIRST_PAGE)
    return [
        Row("first page: first paint", found["paint"], "ms"),
        Row("first page: requests", found["requests"], ""),
        Row("first page: transferred", found["bytes"] / 1000, "kB"),
        Row("first page: of it scripts", found["scripts"] / 1000, "kB", SCRIPT_KB),
    ]


def opening(page: Page, path: str, rate: int) -> list[Row]:
    """Measure how long a long conversation takes until the user can type."""
    page.goto(path, wait_until="commit")
    usable = "() => document.activeElement?.id === 'prompt' && performance.now()"
    seconds = page.wait_for_function(usable).json_value() / 1000
    return [Row("500 messages: composer usable", seconds, "s", USABLE_SECONDS.get(rate))]


def growing(page: Page, user: ApiUser, kind: str, rate: int) -> list[Row]:
    """Measure frames and typing while a completion grows."""
    found = measure_growth(page, user, kind)
    goals = (FRAME_MS, LONGEST_MS, TYPING_MS_P95) if rate == SLOWED else (None, None, None)
    what = f"{CHARS:,} characters, {kind}:"
    return [
        Row(f"{what} frames, p95", percentile(found["frames"]), "ms", goals[0]),
        Row(f"{what} longest frame", max(found["frames"], default=0.0), "ms", goals[1]),
        Row(f"{what} typing, p95", percentile(found["keys"]), "ms", goals[2]),
    ]


def report(windows: Windows, site: Product, rates: list[int], kinds: list[str]) -> None:
    """Print one table of all figures with their goals."""
    user = site.register("measured")
    path = long_conversation(user)
    cookies = Visitor(windows, site).become(user).log_in().context.storage_state()
    print("| CPU | What | Figure | Goal | |\n|---|---|---|---|---|")
    for rate in rates:
        # As a visitor has it: a new window, with the service worker and with motion.
        usual = {"service_workers": "allow", "reduced_motion": "no-preference"}
        visitor = Visitor(windows, site, new=True, storage_state=cookies, **usual)
        visitor.context.set_default_timeout(WAIT_MS)
        slow_down(visitor, rate)
        page = visitor.page
        for row in first_page(page) + opening(page, path, rate):
            print(row.line(rate), flush=True)
        for kind in kinds:
            for row in growing(page, user, kind, rate):
                print(row.line(rate), flush=True)
        visitor.leave()


def main() -> None:
    """Start the product, the fake upstream and the browser, and measure."""
    rates = [int(rate) for rate in sys.argv[1].split(",")] if len(sys.argv) > 1 else [1, 4]
    kinds = sys.argv[2].split(",") if len(sys.argv) > 2 else [*BLOCKS]
    folder = Path(tempfile.mkdtemp(prefix="rivulet-page-"))
    expect.set_options(timeout=WAIT_MS)
    try:
        with FakeOpenAI.in_thread() as upstream, sync_playwright() as playwright:
            variables = {**connected(upstream), "OPENAI_MODELS": f"plain=plain,{MODEL}={MODEL}"}
            with Product(folder, **variables) as site:
                program = shutil.which("chromium-headless-shell") or shutil.which("chromium") or "/usr/bin/chromium"
                browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
                report(Windows(browser), site, rates, kinds)
                browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
