"""A browser's own EventSource on `GET /api/chat/`: it resumes by itself, and stops by itself at the end."""

from typing import Any

from playwright.sync_api import Page

from tests.browser.conftest import Regular, Visit
from tests.browser.line import Line
from tests.browser.visitor import POLLING_MS
from tests.paused import PAUSE, PausedUpstream
from tests.product import Product

PARTS = ["one two ", "three four ", "five"]
PROMPT = PAUSE.join(PARTS)
GONE = r"ERR_INTERNET_DISCONNECTED|ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_NETWORK"

# What a page does that knows nothing but the events. `window.seen` is what it has; it never closes the source itself.
READ = """
    function read(query) {
        const source = new EventSource("/api/chat/?" + new URLSearchParams(query));
        const seen = (window.seen ??= { text: "", ids: [], opened: 0, end: null, refused: null });
        source.onopen = () => (seen.opened += 1);
        const on = (name, then) => source.addEventListener(name, (event) => {
            if (!event.data) return;
            const data = JSON.parse(event.data);
            if (event.lastEventId !== "refused:0") seen.ids.push(event.lastEventId);
            then(data);
        });
        on("start", (data) => (seen.generation = data.generation));
        on("message", (data) => (seen.text += data.content));
        on("reset", (data) => (seen.text = data.content));
        on("done", (data) => (seen.end = data.finish_reason));
        on("error", (data) => (seen.refused = data.code));
        return (window.source = source);
    }
"""


def read(page: Page, query: dict[str, Any]) -> None:
    page.evaluate(f"query => {{ {READ} read(query); }}", query)


def wait_for(page: Page, condition: str) -> dict[str, Any]:
    """Wait until the condition holds, and return what the page has seen."""
    page.wait_for_function(condition, timeout=60_000, polling=POLLING_MS)
    return dict(page.evaluate("() => window.seen"))


def check(seen: dict[str, Any], api_user: Any) -> None:
    """Each event came once and in order, and the text is the one that is stored; there was one generation."""
    numbers = [int(one.rpartition(":")[2]) for one in seen["ids"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert seen["text"] == api_user.generation(seen["generation"])["content"] == "".join(PARTS)


def test_the_browser_resumes_after_the_network_was_away(
    visit: Visit, regular: Regular, site: Product, upstream: PausedUpstream
) -> None:
    """The network goes and comes back: with the session's cookie the browser resumes by itself, and 204 ends it."""
    with Line.to(site.url) as line:
        visitor = visit(url=line.url).become(regular.api_user).enter()
        visitor.expect_errors(GONE)
        before = regular.api_user.quota()["used_today"]
        read(visitor.page, {"model": "paused", "prompt": PROMPT})
        wait_for(visitor.page, "() => window.seen.text")
        visitor.context.set_offline(True)
        line.cut()
        wait_for(visitor.page, "() => window.source.readyState === 0")
        upstream.go_on(PROMPT, 2)
        line.mend()
        visitor.context.set_offline(False)
        seen = wait_for(visitor.page, "() => window.seen.end && window.source.readyState === 2")
    assert seen["opened"] >= 2
    assert (seen["end"], seen["refused"]) == ("stop", None)
    check(seen, regular.api_user)
    assert regular.api_user.quota()["used_today"] == before + 1


def test_with_tickets(visit: Visit, regular: Regular, site: Product, upstream: PausedUpstream) -> None:
    """With tickets a page that was cut off takes a new one and says what it has seen."""
    with Line.to(site.url) as line:
        visitor = visit(url=line.url)
        visitor.expect_errors(GONE)
        visitor.page.goto("/accounts/login/")
        query = {"model": "paused", "prompt": PROMPT}
        read(visitor.page, {**query, "ticket": ticket(regular)})
        wait_for(visitor.page, "() => window.seen.text")
        line.cut()
        upstream.go_on(PROMPT, 2)
        line.mend()
        # The browser comes back by itself with the ticket that is used up.
        assert wait_for(visitor.page, "() => window.seen.refused")["refused"] == "not_authenticated"
        last = visitor.page.evaluate("() => { window.source.close(); return window.seen.ids.at(-1); }")
        read(visitor.page, {**query, "ticket": ticket(regular), "last_event_id": last})
        seen = wait_for(visitor.page, "() => window.seen.end")
    check(seen, regular.api_user)


def ticket(regular: Regular) -> str:
    made = regular.api_user.client.post("/api/tickets/", json={"path": "/api/chat/"})
    return str(made.json()["ticket"])
