"""The chat page in Firefox, which lays out, scrolls, pastes and parses by other code than Chromium."""

import json
import re
import secrets
from typing import Any

from tests.browser.payloads import PAYLOADS
from tests.browser.test_hostile_answers import FIND_FOREIGN
from tests.browser.test_markdown import CASES, OPEN_DETAILS, SEEN
from tests.firefox.conftest import Reader
from tests.paused import PAUSE, PausedUpstream
from tests.scrolling import RESTS

LINES = "".join(f"Line {number} of a long text.\n\n" for number in range(1_000))
ITEMS = "".join(f"{number}. Item **{number}** of a list\n" for number in range(1, 300))
RENDERED = """() => !document.querySelector('.answer [data-part="content"]:not([data-rendered])')
    && !document.querySelector(".formula:not(.formula-source):not(:has(.katex))")"""
IDLE = "() => document.querySelector('#quota').textContent && !document.querySelector('.answer.running')"
TOP, DISTANCE = "() => scrollY", "() => document.documentElement.scrollHeight - innerHeight - scrollY"


def imported(reader: Reader, texts: list[str]) -> str:
    """Import a conversation with these completions, each after a prompt with its number; return its path."""
    user = reader.user
    user.answer("to be copied", "echo")
    file = user.client.get("/api/export/").json()
    conversation = next(one for one in file["conversations"] if one["title"] == "to be copied")
    conversation["title"] = title = secrets.token_hex(5)
    turns = [content for number, text in enumerate(texts) for content in (f"text {number}", text)]
    conversation["messages"] = [
        {**conversation["messages"][place % 2], "id": place, "parent": place - 1 if place else None, "content": content}
        for place, content in enumerate(turns)
    ]
    made = user.client.post("/api/import/", json={**file, "conversations": [conversation]})
    assert made.status_code == 201, made.text
    (stored,) = (one for one in user.client.get("/api/conversations/").json()["results"] if one["title"] == title)
    return f"/c/{stored['id']}/"


def ask(reader: Reader, prompt: str, model: str) -> None:
    """Begin a conversation: choose the model, type the prompt, and Enter."""
    reader.open("/")
    reader.browser.wait_for(IDLE)
    send(reader, prompt, model)


def send(reader: Reader, prompt: str, model: str) -> None:
    """Send a prompt in the conversation that is open. Only its last letter is typed, because a long text takes long."""
    browser = reader.browser
    fill = """(text, model) => {
        const [field, choice] = [document.getElementById("prompt"), document.getElementById("model")];
        [field.value, choice.value] = [text, model];
        for (const each of [field, choice]) each.dispatchEvent(new Event("input", { bubbles: true }));
        choice.dispatchEvent(new Event("change", { bubbles: true }));
        field.focus();
        field.setSelectionRange(text.length, text.length);
    }"""
    browser.evaluate(fill, prompt[:-1], model)
    browser.type(prompt[-1])
    browser.press("Enter")


def grow(reader: Reader, chars: int = 160) -> None:
    """Wait for so many more characters of the running completion."""
    text = "document.querySelector('.answer.running [data-part=content]')?.innerText.length"
    length = reader.browser.evaluate(f"() => {text} ?? 0")
    reader.browser.wait_for(f"() => {text} > {length + chars}")


def stop(reader: Reader) -> None:
    """Press Stop and wait for the end."""
    reader.browser.click("[data-part=stop]")
    reader.browser.wait_for(IDLE)


def stays(reader: Reader) -> None:
    """Assert that the page stays where it is, away from the end, while text arrives."""
    top = reader.browser.evaluate(RESTS)
    grow(reader)
    assert reader.browser.evaluate(TOP) == top
    assert reader.browser.evaluate(DISTANCE) > 96


def follows(reader: Reader) -> None:
    """Wait until the page is at its end, and assert that it follows the growing text."""
    reader.browser.wait_for(f"() => ({DISTANCE})() < 60")
    for _ in range(2):
        grow(reader)
        assert reader.browser.evaluate(DISTANCE) < 60


def plain(value: Any) -> Any:
    """Return `value` without line breaks, which depend on how a browser lays out the text."""
    return json.loads(re.sub(r"(?:\s|\\n|\\u00a0)+", " ", json.dumps(value)))


def test_texts_and_hostile_answers(reader: Reader) -> None:
    """Each case of frontend/test/page-cases.json looks as in Chromium; of 150 hostile answers nothing runs."""
    browser, url = reader.browser, reader.user.product.url
    hostile = [payload.replace("ORIGIN", url) for payload in PAYLOADS]
    reader.open(imported(reader, [case["text"] for case in CASES] + hostile))
    browser.wait_for(RENDERED)
    look = f"""count => {{
        // Far from the screen nothing is laid out, and `innerText` is empty.
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(".message {{ content-visibility: visible !important }}");
        document.adoptedStyleSheets.push(sheet);
        const shown = [...document.querySelectorAll(".answer > [data-part=content]")].slice(0, count);
        shown.forEach({OPEN_DETAILS});
        return shown.map({SEEN});
    }}"""
    wrong = []
    for case, seen in zip(CASES, browser.evaluate(look, len(CASES)), strict=True):
        for kind, expected in case["want"].items():
            if kind in {"absent", "present"}:
                is_right = all((part in seen["text"]) == (kind == "present") for part in expected)
            else:
                is_right = plain(seen[kind]) == plain(expected)
            if not is_right:
                wrong.append((case["name"], kind, seen.get(kind, seen["text"])))
    assert wrong == []
    assert browser.evaluate(FIND_FOREIGN) == []


def test_the_place_is_kept_on_back(reader: Reader) -> None:
    """Back from another page shows the same message at the same place."""
    browser = reader.browser
    texts = [f"Completion {number}.\n\n```python\nprint({number})\n```\n\n| a |\n|---|\n| 1 |" for number in range(40)]
    reader.open(imported(reader, texts))
    browser.wait_for(RENDERED)
    browser.wait_for(f"() => ({DISTANCE})() < 2")
    # A page whose height changes in the same frame stays at its end: no key or wheel says that a reader left it.
    middle = "document.querySelectorAll('.answer')[20].scrollIntoView({ block: 'center' })"
    browser.wait_for(f"async () => {{ {middle}; return await ({RESTS})() && ({DISTANCE})() > 1000; }}")
    reader.open("/usage/")
    browser.go_back()
    browser.wait_for("() => document.querySelectorAll('.answer').length === 40")
    browser.wait_for(RENDERED)
    stands = """() => {
        const { id, top } = JSON.parse(sessionStorage.getItem(`place:${location.pathname}`));
        const message = document.querySelector(`.message[data-id="${id}"]`);
        return Math.abs(message.getBoundingClientRect().top - top) < 3 && message.innerText;
    }"""
    shown_first = browser.wait_for(stands)
    assert any(text in shown_first for text in ("print(19)", "text 20"))
    assert browser.evaluate(DISTANCE) > 96


def test_reading_while_it_grows(reader: Reader) -> None:
    """The wheel, keys and scripts end following; the end resumes it; a selection stays; Stop ends the text."""
    browser = reader.browser
    ask(reader, f"{LINES[:1200]}^^^{LINES[1200:]}", "typed")
    browser.wait_for("() => document.documentElement.scrollHeight > 2.2 * innerHeight + 300")
    follows(reader)
    browser.turn_wheel(*[-30] * 20)
    stays(reader)
    browser.turn_wheel(100_000)
    follows(reader)
    browser.evaluate("() => document.activeElement.blur()")
    browser.press("PageUp")
    stays(reader)
    browser.press("End")
    follows(reader)
    browser.evaluate("() => scrollBy(0, -200)")
    stays(reader)
    browser.click("#jump")
    follows(reader)
    stop(reader)
    assert "Stopped" in browser.evaluate("() => document.querySelector('.answer [data-part=status]').textContent")

    send(reader, ITEMS, "typed")
    browser.wait_for("() => document.querySelectorAll('.answer.running li').length > 3")
    select = """() => {
        const paragraph = [...document.querySelectorAll(".answer")].at(-1).querySelector("li p");
        getSelection().setBaseAndExtent(paragraph.firstChild, 0, paragraph.lastChild, 3);
        return getSelection().toString();
    }"""
    assert browser.evaluate(select) == "Item 1 of"
    grow(reader)
    assert browser.evaluate("() => getSelection().toString()") == "Item 1 of"
    stop(reader)


def test_a_reload_resumes(reader: Reader, upstream: PausedUpstream) -> None:
    """After a reload in the middle, the completion goes on and becomes whole."""
    begin, rest = LINES[:400], LINES[400:800].strip()
    prompt = f"{begin}{PAUSE}{rest}"
    ask(reader, prompt, "paused")
    grow(reader, chars=80)
    reader.browser.reload()
    reader.browser.wait_for("() => document.querySelector('.answer.running')")
    upstream.go_on(prompt)
    reader.browser.wait_for(IDLE)
    assert shown(reader) == plain(begin + rest)


def shown(reader: Reader) -> str:
    """Return the text of the last completion, with single spaces."""
    text = "() => [...document.querySelectorAll('.answer [data-part=content]')].at(-1).innerText"
    return str(plain(reader.browser.evaluate(text).strip()))


def test_keys(reader: Reader) -> None:
    """Shift+Enter makes a line, Enter sends; ? lists the shortcuts, Escape closes them."""
    browser = reader.browser
    reader.open("/")
    browser.wait_for(IDLE)
    browser.evaluate("() => { document.getElementById('model').value = 'echo' }")
    browser.click("#prompt")  # a Firefox without a screen has no pointer, so the page gives the field no focus
    browser.type("one")
    browser.press("Shift", "Enter")
    browser.type("two")
    browser.press("Enter")
    browser.wait_for("() => document.querySelector('.answer')")
    browser.wait_for(IDLE)
    assert browser.evaluate("() => document.querySelector('.prompt [data-part=content]').textContent") == "one\ntwo"
    assert shown(reader) == "one two"
    browser.evaluate("() => document.activeElement.blur()")
    browser.press("?")
    browser.wait_for("() => document.querySelector('#shortcuts-dialog[open]')")
    browser.press("Escape")
    browser.wait_for("() => !document.querySelector('#shortcuts-dialog[open]')")


def test_a_dialog_that_deletes_begins_on_cancel(reader: Reader) -> None:
    """A key that is pressed once too often deletes nothing."""
    browser = reader.browser
    reader.open("/")
    browser.wait_for(IDLE)
    browser.evaluate("() => document.getElementById('delete-dialog').showModal()")
    assert browser.evaluate("() => document.activeElement.textContent") == "Cancel"


def test_account_links_are_one_row_on_a_phone(reader: Reader) -> None:
    """The row scrolls, shows the link of the page, and the page itself is not wider than the screen."""
    browser = reader.browser
    browser.resize(360, 740)
    for path in ("/accounts/email/", "/accounts/data/"):
        reader.open(path)
        shown = browser.evaluate("""() => {
            const row = document.querySelector(".page-navigation");
            const link = row.querySelector("[aria-current]").getBoundingClientRect();
            const { height } = row.getBoundingClientRect();
            return [height < 2 * link.height, link.left >= 0 && link.right <= innerWidth, row.scrollWidth > innerWidth,
                document.documentElement.scrollWidth <= innerWidth];
        }""")
        assert shown == [True] * 4, path


def test_copying(reader: Reader) -> None:
    """Copy gives the Markdown and the formatted text; that of a block gives its code."""
    source = "# Head\n\n**bold** and `code` with $x^2$\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint(1)\n```"
    browser = reader.browser
    ask(reader, source, "gpt-4-echo")
    browser.wait_for("() => document.querySelector('.answer .katex')")
    browser.wait_for(IDLE)
    browser.click(".answer > footer [data-part=copy]")
    read = """async () => {
        const [item] = await navigator.clipboard.read();
        const text = async type => (await item.getType(type)).text();
        return item.types.includes("text/html") && [await text("text/plain"), await text("text/html")];
    }"""
    markdown, html = browser.wait_for(read)
    assert markdown == source
    for element in ("<h1", "<strong>bold</strong>", "<code>code</code>", "<td>1</td>", "<pre"):
        assert element in html
    assert "<button" not in html
    assert "<svg" not in html
    browser.click(".code-bar button")
    browser.wait_for("async () => (await navigator.clipboard.readText()) === 'print(1)\\n'")
