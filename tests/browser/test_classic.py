"""A page written after the classic examples, in a real browser: an EventSource, and what it appends."""

import pytest

from tests.browser.visitor import Visitor
from tests.scenarios import PLAIN

# As such pages have it: every event is parsed and appended, and an error closes.
CLASSIC = """
    ([query]) => new Promise(resolve => {
        let shown = "", events = 0;
        const source = new EventSource("/api/chatgpt/test?" + new URLSearchParams(query));
        source.onmessage = event => {
            events += 1;
            shown += JSON.parse(event.data).choices[0].delta.content;
        };
        source.onerror = event => {
            source.close();
            resolve([shown, events, event.data ? JSON.parse(event.data).code : null]);
        };
    })
"""
# One that does not close leaves that to the server.
PATIENT = """
    ([query]) => new Promise(resolve => {
        let shown = "";
        const source = new EventSource("/api/chatgpt/test?" + new URLSearchParams(query));
        source.onmessage = event => shown += JSON.parse(event.data).choices[0].delta.content;
        source.onerror = () => source.readyState === EventSource.CLOSED && resolve(shown);
    })
"""


def test_the_page_shows_exactly_the_text(visitor: Visitor) -> None:
    """The page shows exactly the completion, with no "undefined" in it."""
    shown, _events, code = visitor.page.evaluate(CLASSIC, [{"message": "Hello", "model": "reasoning"}])
    assert (shown, code) == (PLAIN, None)


def test_piece_by_piece(visitor: Visitor) -> None:
    """It is shown as it comes."""
    shown, events, _code = visitor.page.evaluate(CLASSIC, [{"message": "Hello", "model": "paced"}])
    assert shown == "".join(f"{n} " for n in range(100))
    assert events > 5


@pytest.mark.parametrize(("model", "code"), [("nope", "invalid_request"), ("error", "upstream_error")])
def test_failures(visitor: Visitor, model: str, code: str) -> None:
    """A refusal, or a failure in the middle, is an `error` event that says why."""
    assert visitor.page.evaluate(CLASSIC, [{"message": "Hello", "model": model}])[2] == code


def test_a_page_that_does_not_close(visitor: Visitor) -> None:
    """A page that lets the browser reconnect is informed that the stream is over, and starts no second generation."""
    before = used(visitor)
    assert visitor.page.evaluate(PATIENT, [{"message": "Hello", "model": "echo"}]) == "Hello"
    assert used(visitor) == before + 1


def used(visitor: Visitor) -> int:
    quotas = visitor.context.request.get("/api/quotas/").json()
    return next(int(quota["used_today"]) for quota in quotas if quota["slug"] == "standard")
