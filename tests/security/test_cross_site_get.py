"""A GET with a cookie generates and pushes only for pages of ours; its query has known names only."""

import secrets

import httpx
import pytest

from tests.product import ApiUser, Product, read_events

pytestmark = pytest.mark.server

CHAT, CLASSIC, PAYMENT = "/api/chat/", "/api/chatgpt/test", "/sse/message/{key}/"
QUERIES = {
    CHAT: {"model": "plain", "prompt": "x"},
    CLASSIC: {"model": "plain", "message": "x"},
    PAYMENT: {},
}
EVENTS = {"Accept": "text/event-stream"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
# Headers of a browser that loads the address for a page of ours, and for other pages.
OURS: dict[str, dict[str, str]] = {
    "our page": {"Sec-Fetch-Site": "same-origin", "Accept": "*/*"},
    "our EventSource": EVENTS | {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    "our fetch": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "empty"},
    "the address bar": NAVIGATION | {"Sec-Fetch-Site": "none", "Accept": "text/html"},
    "an old EventSource": EVENTS,
    "an old fetch of ours": {"Accept": "application/json, Text/Event-Stream"},
}
OTHERS: dict[str, dict[str, str]] = {
    "another site": {"Sec-Fetch-Site": "cross-site", "Accept": "text/event-stream"},
    "a sibling host": {"Sec-Fetch-Site": "same-site", "Accept": "text/event-stream"},
    "an empty header": {"Sec-Fetch-Site": "", "Accept": "text/event-stream"},
    "two headers": {"Sec-Fetch-Site": "same-origin, cross-site", "Accept": "text/event-stream"},
    "a link on our page": EVENTS | NAVIGATION | {"Sec-Fetch-Site": "same-origin"},
    "a link, its destination alone": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"},
    "a link, its mode alone": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
    "an image on our page": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "an old image": {"Accept": "image/avif,image/webp,*/*;q=0.8"},
    "an old link": {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    "no Accept": {"Accept": ""},
}


@pytest.fixture(scope="module")
def owner(product: Product) -> ApiUser:
    return product.register(f"c{secrets.token_hex(5)}")


@pytest.fixture(scope="module")
def browser(product: Product, owner: ApiUser) -> httpx.Client:
    """A client with the owner's session cookie."""
    return product.browser(owner.name)


def get(client: httpx.Client, path: str, headers: dict[str, str], **query: str) -> str:
    """Load the address; return the code of the refusal, empty for none."""
    url, wanted = path.format(key=f"k{secrets.token_hex(5)}"), QUERIES[path] | query
    with client.stream("GET", url, params=wanted, headers=headers) as response:
        if path == PAYMENT:
            response.read()
            return str(response.json()["error"]["code"]) if response.status_code >= 400 else ""
        assert response.status_code == 200
        if "X-Quota-Reset" in response.headers:
            response.read()
            return ""
        (event,) = read_events(response)
    assert (event.id, event.name) == ("refused:0", "error")
    return str(event.data["code"])


@pytest.mark.parametrize("source", OURS)
@pytest.mark.parametrize("path", QUERIES)
def test_pages_of_ours_are_served(browser: httpx.Client, path: str, source: str) -> None:
    """Our pages and typed addresses are served; without `Sec-Fetch-Site` an EventSource is."""
    assert get(browser, path, OURS[source]) == ""


@pytest.mark.contract("GET /api/chat/", "GET /api/chatgpt/test", "GET /sse/message/{key}/", "refusal: forbidden")
@pytest.mark.parametrize("source", OTHERS)
@pytest.mark.parametrize("path", QUERIES)
def test_other_pages_are_refused(owner: ApiUser, browser: httpx.Client, path: str, source: str) -> None:
    """A page of another site, an image and a link, ours too, start nothing with the user's cookie."""
    used = owner.quota()["used_today"]
    assert get(browser, path, OTHERS[source]) == "forbidden"
    assert owner.quota()["used_today"] == used


@pytest.mark.parametrize("path", [CHAT, CLASSIC])
def test_a_resumption_needs_our_page_too(owner: ApiUser, browser: httpx.Client, path: str) -> None:
    """With `Last-Event-ID` the same rule holds."""
    last = owner.answer("x", "plain")[0].id
    assert get(browser, path, OTHERS["another site"] | {"Last-Event-ID": last}) == "forbidden"


@pytest.mark.parametrize("source", OTHERS)
@pytest.mark.parametrize("path", [CHAT, CLASSIC])
def test_tickets_and_tokens_are_not_sent_by_browsers_alone(owner: ApiUser, path: str, source: str) -> None:
    """With a ticket or a token the origin does not matter, because only the holder can send it."""
    ticket = owner.client.post("/api/tickets/", json={"path": path}).json()["ticket"]
    assert get(owner.product.client(), path, OTHERS[source], ticket=ticket) == ""
    assert get(owner.client, path, OTHERS[source]) == ""


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (CHAT, ["colour", "parent", "system_prompt", "temperature", "max_tokens", "message", "attachments", "Model"]),
        (CLASSIC, ["colour", "prompt", "conversation", "idempotency_key"]),
    ],
)
def test_unknown_names_are_refused(owner: ApiUser, path: str, names: list[str]) -> None:
    """A name that is not listed is `invalid_request`, even when it is empty."""
    used = owner.quota()["used_today"]
    for name in names:
        for value in ("1", ""):
            assert get(owner.client, path, EVENTS, **{name: value}) == "invalid_request", name
    assert owner.quota()["used_today"] == used
