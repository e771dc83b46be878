"""Markdown as models write it: each row of frontend/test/page-cases.json, streamed and after a reload."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests import servers
from tests.browser.conftest import Regular
from tests.browser.visitor import Visitor, content
from tests.browser.windows import Windows
from tests.product import Product

CASES = json.loads((servers.ROOT / "frontend/test/page-cases.json").read_text(encoding="utf-8"))

# What is seen of each kind in one completion; formulas by the TeX that KaTeX keeps.
SEEN = """content => {
    const all = selector => [...content.querySelectorAll(selector)];
    const texts = selector => all(selector).map(node => node.innerText.trim());
    const tex = node => node.querySelector("annotation")?.textContent ?? node.textContent;
    const named = {};
    for (const name of ["strong", "em", "s", "sub", "kbd"]) named[name] = texts(name);
    const rest = content.cloneNode(true);
    for (const bar of rest.querySelectorAll(".code-bar")) bar.remove();
    return {
        ...named,
        all: content.innerText.trim().replace(/\\s+/g, " "),
        text: rest.textContent,
        sup: texts("sup:not(.footnote-mark)"),
        code: texts(":not(pre) > code"),
        blocks: all("pre > code").map(node => node.textContent.trim()),
        boxes: all("li.task input[type=checkbox]:disabled").map(node => node.checked),
        formulas: all(".formula:not(.formula-display)").map(tex),
        displays: all(".formula-display").map(node => tex(node).trim()),
        sources: texts(".formula-source"),
        links: all("a[href^=http]").map(node => node.innerText.trim()),
        marks: texts(".footnote-mark > a"),
        notes: all(".footnote").map(node => node.textContent.replace("↩", "").trim()),
        paragraphs: all("p").map(node => node.innerText.replace("↩", "").trim()).filter(Boolean),
        rows: all("tr").map(row => [...row.cells].map(cell => cell.innerText.trim())),
        summaries: texts("summary"),
    };
}"""
OPEN_DETAILS = "content => content.querySelectorAll('details').forEach(each => { each.open = true })"
# Asks one prompt after the other.
ASK_ALL = """async texts => {
    const field = document.getElementById("prompt");
    const running = ".answer.running, [data-part=stop]:not([hidden])";
    const isComplete = count =>
        document.querySelectorAll(".answer").length === count && !document.querySelector(running);
    for (const [index, text] of texts.entries()) {
        field.value = text;
        field.dispatchEvent(new Event("input"));
        field.form.requestSubmit();
        while (!isComplete(index + 1)) await new Promise(done => setTimeout(done, 5));
    }
}"""
# Looks at all completions; of what is far from the screen, the browser lays out nothing, and `innerText` is empty.
LOOK = f"""() => {{
    const sheet = new CSSStyleSheet();
    sheet.replaceSync("* {{ content-visibility: visible !important }}");
    document.adoptedStyleSheets = [sheet];
    const contents = [...document.querySelectorAll(".answer [data-part=content]")];
    contents.forEach({OPEN_DETAILS});
    return contents.map({SEEN});
}}"""


class Reading:
    """What one reader saw of all cases: directly after streaming, and after a reload."""

    def __init__(self, visitor: Visitor) -> None:
        visitor.page.goto("/")
        visitor.wait_for_page()
        visitor.page.select_option("#model", "gpt-4-echo")
        visitor.page.evaluate(ASK_ALL, [case["text"] for case in CASES])
        self.streamed = self._look(visitor)
        visitor.page.reload()
        self.reloaded = self._look(visitor)
        self.ids = visitor.page.evaluate("() => [...document.querySelectorAll('[id]')].map(node => node.id)")

    def _look(self, visitor: Visitor) -> list[dict[str, Any]]:
        # Texts far from the screen are rendered while the browser is idle.
        visitor.wait_for_rendering()
        untypeset = visitor.page.locator(".formula:not(.formula-source):not(:has(.katex))")
        expect(untypeset).to_have_count(0)
        return list(visitor.page.evaluate(LOOK))


@pytest.fixture(scope="module")
def reading(windows: Windows, site: Product, regular: Regular) -> Iterator[Reading]:
    """All cases in one conversation."""
    visitor = Visitor(windows, site, storage_state=regular.cookies).become(regular.api_user)
    yield Reading(visitor)
    faults = visitor.leave()
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_case(reading: Reading, number: int) -> None:
    """A text is shown as its row says, directly after streaming and after a reload."""
    for seen in (reading.streamed[number], reading.reloaded[number]):
        for kind, expected in CASES[number]["want"].items():
            if kind == "absent":
                assert [part for part in expected if part in seen["text"]] == []
            elif kind == "present":
                assert [part for part in expected if part not in seen["text"]] == []
            else:
                assert _plain(seen[kind]) == _plain(expected), kind


def test_ids_are_unique(reading: Reading) -> None:
    """No id stands twice in a page with footnotes in several completions."""
    assert len(reading.ids) == len(set(reading.ids))
    assert [name for name in reading.ids if name.endswith("-note-1")]


def _plain(value: Any) -> Any:
    """Return `value` without line breaks in paragraphs, which depend on how a browser lays out the text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return re.sub(r"\s+", " ", value) if isinstance(value, str) else value


ARABIC = "مرحبا بالعالم، هذا اختبار."
# The distance of an element's text from both edges of the completion, in pixels.
EDGES = """node => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const [text, box] = [range.getBoundingClientRect(), node.closest("[data-part=content]").getBoundingClientRect()];
    return [text.left - box.left, box.right - text.right];
}"""


def stands_at(element: Locator) -> str:
    """Return the side at which an element's text stands."""
    left, right = element.evaluate(EDGES)
    return "left" if left < right else "right"


def test_direction_of_each_block(visitor: Visitor) -> None:
    """Each block stands at the side of its own first letter; markers of lists are not cut off."""
    source = (
        f"English first.\n\n{ARABIC}\n\n- عنصر أول\n- English item\n\n> اقتباس\n\n| عمود | b |\n|---|---|\n| 1 | 2 |"
    )
    visitor.answer(source, "gpt-4-echo")
    for _ in range(2):
        visitor.wait_for_rendering()
        answer = content(visitor.last)
        assert [stands_at(each) for each in answer.locator(":scope .block > p").all()] == ["left", "right"]
        assert [stands_at(each) for each in answer.locator("li > p").all()] == ["right", "left"]
        assert stands_at(answer.locator("blockquote > p")) == "right"
        assert stands_at(answer.locator("th").first) == "right"
        visitor.page.reload()
    visitor.answer(f"{ARABIC}\n\nEnglish paragraph here.\n\nفي عام آخر.", "gpt-4-echo")
    visitor.wait_for_rendering()
    paragraphs = content(visitor.last).locator("p").all()
    assert [stands_at(each) for each in paragraphs] == ["right", "left", "right"]


def test_code_runs_left_to_right(visitor: Visitor) -> None:
    """Code runs left to right within Arabic text, in blocks and in lines."""
    source = f'{ARABIC}\n\n```python\nprint("مرحبا")\n```\n\nاستخدم `--flag=1` ثم `(a) b`.'
    visitor.answer(source, "gpt-4-echo")
    expect(content(visitor.last).locator("pre .hljs-built_in")).to_be_visible()
    position = """(node, [part, occurrence]) => {
        const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const at = walker.currentNode.data.indexOf(part);
            if (at === -1) continue;
            const range = document.createRange();
            range.setStart(walker.currentNode, at);
            range.setEnd(walker.currentNode, at + part.length);
            return range.getBoundingClientRect().left;
        }
        throw new Error(`no ${part}`);
    }"""
    block = content(visitor.last).locator("pre > code")
    assert block.evaluate(position, ["print", 0]) < block.evaluate(position, [")", 0])
    flag, brackets = content(visitor.last).locator("p > code").all()
    assert flag.evaluate(position, ["--", 0]) < flag.evaluate(position, ["flag", 0])
    assert brackets.evaluate(position, ["(", 0]) < brackets.evaluate(position, ["b", 0])


def test_footnotes_lead_there_and_back(visitor: Visitor) -> None:
    """A mark leads to its note, and the note back to the mark; a second completion has notes of its own."""
    source = "Text[^1].\n\n" + "line\n\n" * 40 + "[^1]: The note."
    for _ in range(2):
        visitor.answer(source, "gpt-4-echo")
    answer = visitor.last
    answer.locator(".footnote-mark a").click()
    expect(answer.locator(".footnote")).to_be_in_viewport()
    answer.get_by_role("link", name="Back to the text").click()
    expect(answer.locator(".footnote-mark a")).to_be_in_viewport()


def test_long_formulas_scroll(visitor: Visitor) -> None:
    """A formula that is wider than its line scrolls within itself, in a line as well."""
    fraction = "\\frac{" + "+".join(f"x_{{{n}}}" for n in range(60)) + "}{2}"
    visitor.answer(f"Inline ${fraction}$ here.\n\n$$\n{fraction}\n$$", "gpt-4-echo")
    formulas = content(visitor.last).locator(".formula")
    expect(formulas.locator(".katex-mathml")).to_have_count(2)
    for formula in formulas.all():
        expect(formula).to_have_attribute("tabindex", "0")
        assert formula.evaluate("node => node.scrollWidth > node.clientWidth")
        assert formula.evaluate("node => (node.scrollLeft = 50, node.scrollLeft)") == 50
