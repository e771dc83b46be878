"""Hostile answers: nothing in them runs, reaches another host, or takes the page apart; the visitor's faults tell."""

import time

from playwright.sync_api import Page, expect

from tests.browser.conftest import Regular
from tests.browser.payloads import EVIL, PAYLOADS
from tests.browser.visitor import Visitor, content, part

# Elements and attributes that completions must not bring into the page. Nodes that our own script adds to a block (the
# bar above code, and the output of KaTeX) are recognised by their class.
FIND_FOREIGN = """() => {
    const found = [];
    const drawn = "svg, path, line, math, semantics, annotation";
    const bad = (why, element) => found.push(`${why}: ${element.outerHTML.slice(0, 160)}`);
    const plain = "div p br hr h1 h2 h3 h4 h5 h6 strong em s a img ul ol li blockquote pre code table thead tbody tr th"
        + " td span sub sup kbd details summary section input";
    const ownId = /^text-\\d+-(note|mark)-\\d+$/;
    for (const element of document.querySelectorAll(".prose *")) {
        if (element.closest(".code-bar")) continue;
        const formula = element.closest(".katex");
        if (formula && /^(a|img|script|iframe|style|form|input|button|object|embed|link)$/i.test(element.localName))
            bad("element in a formula", element);
        if (!formula && !plain.split(" ").includes(element.localName)) bad("element", element);
        if (!formula && element.hasAttribute("style")) bad("style", element);
        for (const { name, value } of element.attributes) {
            if (/^on/i.test(name)) bad("handler", element);
            if (/^(name|ping|srcset|srcdoc|action|formaction|background)$/i.test(name)) bad(name, element);
            if (name === "id" && !ownId.test(value)) bad(name, element);
            if (/^data-/.test(name)) bad("data", element);
            if (/url\\(/i.test(value)) bad("url", element);
        }
        if (element.localName === "img" && !element.src.startsWith("data:image/")) bad("picture", element);
        if (element.localName === "input" && !element.matches("[type=checkbox]:disabled")) bad("input", element);
        if (element.matches("a[role^=doc-]")) {
            const target = document.getElementById(element.hash.slice(1));
            if (!target || !ownId.test(target.id) || target.closest(".prose") !== element.closest(".prose"))
                bad("note", element);
        } else if (element.localName === "a" && element.hasAttribute("href")) {
            if (!/^(https?:|mailto:)/.test(element.href) || element.host === location.host) bad("link", element);
            if (element.rel !== "noopener noreferrer nofollow" || element.target !== "_blank") bad("rel", element);
        }
    }
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`id twice: ${id}`);
    if (document.querySelector("link[href^='http'], base, meta[http-equiv], iframe, object, embed"))
        found.push("something was put into the page");
    return found;
}"""

# Everything that can be hovered, focused or clicked; links to the outside are for the reader to follow.
TOUCH_EVERYTHING = """() => {
    for (const element of document.querySelectorAll(".prose *")) {
        if (element.closest(".code-bar")) continue;
        for (const name of ["mouseover", "mouseenter", "focus", "pointerdown"]) element.dispatchEvent(new Event(name));
        if (!element.closest("a[href]")) element.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    }
}"""


def test_all_payloads_in_one_answer_do_nothing(visitor: Visitor) -> None:
    """All payloads in one answer, streamed in small pieces: nothing happens, now or after a reload; the page works."""
    hostile = "\n\n".join(PAYLOADS).replace("ORIGIN", visitor.url)
    visitor.answer(hostile, "paused")
    assert visitor.stored()["content"] == hostile
    judge(visitor.page)
    visitor.page.reload()
    judge(visitor.page)
    visitor.answer("still there?")
    assert visitor.text == "still there?"
    expect(visitor.page.locator("#strings")).to_have_count(1)


def test_each_on_its_own(user: Visitor, regular: Regular) -> None:
    """Each payload is a whole completion, so that none hides in another's quotation or code."""
    assert len(PAYLOADS) >= 150
    api_user = regular.api_user
    api_user.answer("to be copied", "gpt-4-echo")
    file = api_user.client.get("/api/export/").json()
    (conversation,) = (one for one in file["conversations"] if one["title"] == "to be copied")
    texts = [payload.replace("ORIGIN", user.url) for payload in PAYLOADS for _twice in range(2)]
    # Prompt and completion by turns, each a reply to the one before.
    conversation["messages"] = [
        {
            **conversation["messages"][number % 2],
            "id": number,
            "parent": number - 1 if number else None,
            "content": text,
        }
        for number, text in enumerate(texts)
    ]
    made = api_user.client.post("/api/import/", json={**file, "conversations": [conversation]})
    assert made.json() == {"conversations": 1, "messages": len(texts)}
    user.page.goto(f"/c/{api_user.client.get('/api/conversations/').json()['results'][0]['id']}/")
    expect(user.page.locator(".answer")).to_have_count(len(PAYLOADS))
    judge(user.page)
    assert user.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_title(visitor: Visitor) -> None:
    """A hostile title is text wherever it is shown: list, heading, window, menu, dialogs, search results."""
    page = visitor.page
    visitor.expect_late_questions()
    for title in (f'"><svg onload=alert(1)>{PAYLOADS[0]}', f"</title>{PAYLOADS[0]}{PAYLOADS[1]}"):
        visitor.answer(title, "echo")
        for _ in range(2):
            expect(page).to_have_title(title)
            expect(page.locator("#title")).to_have_text(title)
            expect(page.locator("#conversations a[aria-current=page]")).to_have_text(title)
            expect(page.locator(".prompt [data-part=content]")).to_have_text(title)
            page.reload()
        row = page.locator("#conversations > [data-id]").first
        row.hover()
        row.locator("[data-more]").click()
        page.click("[data-action=delete]")
        expect(page.locator("#delete-dialog [data-part=title]")).to_have_text(title)
        with page.expect_navigation():
            page.click("#delete-dialog .danger")
        expect(page.locator(".prompt")).to_have_count(0)


def test_what_is_allowed(visitor: Visitor) -> None:
    """The same way leaves honest links, pictures, code and formulas whole."""
    honest = (
        f"[out]({EVIL}/page) and ![a cat]({EVIL}/cat.png)\n\n![dot](data:image/png;base64,iVBORw0KGgo=)\n\n"
        "```html\n<b>bold</b>\n```\n\n$\\frac{1}{2}$ costs $5 and $10"
    )
    answer = content(visitor.answer(honest, "gpt-4-echo"))
    expect(answer.get_by_role("link", name="out")).to_have_attribute("href", f"{EVIL}/page")
    expect(answer.get_by_role("link", name="a cat")).to_have_attribute("href", f"{EVIL}/cat.png")
    expect(answer.locator("img[alt=dot]")).to_have_count(1)
    expect(answer.locator("pre code")).to_have_text("<b>bold</b>\n")
    expect(answer.locator(".katex")).to_have_count(1)
    expect(answer).to_contain_text("costs $5 and $10")
    expect(part(visitor.last, "copy")).to_be_visible()


def test_the_watch(visitor: Visitor) -> None:
    """The check that the other tests rely on finds every foreign element and handler."""
    visitor.answer("hello", "gpt-4-echo")
    page = visitor.page
    page.evaluate("""() => document.querySelector(".prose").innerHTML =
        "<img src='https://evil.example/a.png'><b id=prompt style='color:red' onclick='alert(1)'>x</b>" """)
    found = page.evaluate(FIND_FOREIGN)
    assert {line.partition(":")[0] for line in found} == {"picture", "element", "style", "handler", "id", "id twice"}
    page.evaluate("() => console.error('oh')")
    page.evaluate("() => alert(1)")
    page.evaluate("() => { setTimeout(() => { throw new Error('oh no') }) }")
    missing = {"policy: img-src", "policy: style-src", "policy: script-src", "console: oh", "uncaught:", "dialog: 1"}
    deadline = time.monotonic() + 20
    while missing and time.monotonic() < deadline:
        page.wait_for_timeout(20)
        missing = {fault for fault in missing if not any(fault in seen for seen in visitor.faults)}
    assert missing == set()
    visitor.faults.clear()


def judge(page: Page) -> None:
    """Let everything load, touch everything, and find nothing that does not belong to the page."""
    expect(page.locator(".katex").first).to_be_attached()
    expect(page.locator(".answer [data-part=content]:not([data-rendered])")).to_have_count(0)
    page.wait_for_load_state("networkidle")
    expect(page.locator(".drawing-frame")).to_have_count(0)  # half of a diagram may have been drawn
    assert page.evaluate(FIND_FOREIGN) == []
    page.evaluate(TOUCH_EVERYTHING)
    page.wait_for_timeout(300)
    assert page.evaluate(FIND_FOREIGN) == []
