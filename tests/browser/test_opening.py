"""Opening a stored conversation: its source is never seen, its end is shown, and all of it is rendered."""

import os

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Regular, Visit
from tests.browser.visitor import content

ANSWERS = 60 if os.environ.get("SOAK") == "1" else 25
TEXT = (
    "## Heading {n}\n\n**Bold {n}** and `code`.\n\n```python\nprint({n})\n```\n\n"
    "| a | b |\n|---|---|\n| {n} | $x^2$ |\n"
)

# In each frame from the first one on: the completions on the screen that show Markdown's marks.
WATCH = """
    window.rawSeen = [];
    window.framesSeen = 0;
    const watch = () => {
        for (const node of document.querySelectorAll(".answer [data-part=content]")) {
            const { top, bottom } = node.getBoundingClientRect();
            if (bottom < 0 || top > innerHeight) continue;
            framesSeen += 1;
            if (/\\*\\*|```|## /.test(node.innerText)) rawSeen.push(node.innerText.slice(0, 40));
        }
        requestAnimationFrame(watch);
    };
    requestAnimationFrame(watch);
"""


@pytest.mark.soak
def test_a_long_conversation_never_shows_its_source(visit: Visit, regular: Regular) -> None:
    """A slow browser shows no Markdown source while a long conversation opens, and renders all of it, the end first."""
    api_user = regular.api_user
    api_user.answer("to be long", "gpt-4-echo")
    file = api_user.client.get("/api/export/").json()
    (conversation,) = (one for one in file["conversations"] if one["title"] == "to be long")
    prompt, completion = conversation["messages"]
    conversation["messages"] = []
    for number in range(ANSWERS):
        parent = 2 * number
        turn = {**prompt, "id": parent + 1, "parent": parent or None, "content": f"question {number}"}
        reply = {**completion, "id": parent + 2, "parent": parent + 1, "content": TEXT.replace("{n}", str(number))}
        conversation["messages"] += [turn, reply]
    made = api_user.client.post("/api/import/", json={**file, "conversations": [conversation]})
    assert made.json()["messages"] == 2 * ANSWERS

    visitor = visit(new=True, storage_state=regular.cookies)
    page = visitor.page
    page.add_init_script(WATCH)
    visitor.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.goto(f"/c/{api_user.client.get('/api/conversations/').json()['results'][0]['id']}/")
    expect(visitor.last).to_be_in_viewport()
    expect(content(visitor.last).locator("h2")).to_have_text(f"Heading {ANSWERS - 1}")
    expect(page.locator(".answer [data-part=content]:not([data-rendered])")).to_have_count(0)
    expect(page.locator(".answer strong")).to_have_count(ANSWERS)
    page.wait_for_function("() => document.documentElement.scrollHeight - innerHeight - scrollY < 60")
    page.locator(".answer").first.scroll_into_view_if_needed()
    expect(page.locator(".answer").first.locator("strong")).to_be_visible()
    assert page.evaluate("() => framesSeen") > 0
    assert page.evaluate("() => rawSeen") == []
