"""Push channels over HTTP: `/sse/<key>/`, `/api/channels/<key>/…`, the payment example."""

import json
import secrets
import time
from typing import Any

import httpx
import pytest

from tests.chat.pushes import Pushed, Reader, new_key, read, reading, status_of
from tests.product import ApiUser, Product
from tests.readers import until_below


@pytest.fixture(scope="module")
def shop(product: Product) -> ApiUser:
    """A user that may publish."""
    return product.admin()


@pytest.fixture(scope="module")
def api_user(product: Product) -> ApiUser:
    """The owner of the channels; each test uses its own key."""
    return product.register(f"p{secrets.token_hex(5)}")


@pytest.fixture
def key() -> str:
    return new_key()


def publish(shop: ApiUser, to: ApiUser, key: str, data: Any, **more: Any) -> str:
    """Push a message and return its id."""
    answer = shop.client.post(f"/api/channels/{key}/messages/", json={"user": to.name, "data": data, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finish(shop: ApiUser, to: ApiUser, key: str, how: str = "complete", **more: Any) -> httpx.Response:
    return shop.client.post(f"/api/channels/{key}/{how}/", json={"user": to.name, **more})


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["message"]
    return dict(answer.json()["error"])


@pytest.mark.contract("GET /sse/{key}/")
def test_pushed_events_reach_the_reader(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """Pushed events reach a waiting reader in order and numbered; the end closes the stream."""
    with Reader(api_user, key) as reader:
        assert publish(shop, api_user, key, {"status": "paying", "amount": 9.9}, event="paying") == f"{key}:1"
        assert publish(shop, api_user, key, "你好") == f"{key}:2"
        assert len(reader.wait_for(2)) == 2
        ended = finish(shop, api_user, key)
        assert (ended.status_code, ended.json()) == (200, {"id": f"{key}:3"})
    assert reader.events == [
        Pushed(f"{key}:1", "paying", '{"status":"paying","amount":9.9}'),
        Pushed(f"{key}:2", "message", "你好"),
        Pushed(f"{key}:3", "complete", "{}"),
    ]


@pytest.mark.contract("POST /api/channels/{key}/messages/")
def test_replay(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """Earlier events are replayed, a reconnect continues after its last one, finally 204."""
    for number in range(4):
        publish(shop, api_user, key, number)
    finish(shop, api_user, key)
    events = read(api_user, key)
    assert [(event.id, event.data) for event in events[:4]] == [(f"{key}:{n + 1}", str(n)) for n in range(4)]
    for place, event in enumerate(events[:-1], 1):
        assert read(api_user, key, event.id) == events[place:]
    assert status_of(api_user, key, events[-1].id) == 204
    assert read(api_user, key) == events


def test_last_event_id_in_the_query(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """`?last_event_id=` works like the header; the header wins."""
    for number in range(3):
        publish(shop, api_user, key, number)
    finish(shop, api_user, key)
    with reading(api_user, key, path=f"/sse/{key}/?last_event_id={key}:2") as (_status, events):
        assert [event.number for event in events] == [3, 4]
    with reading(api_user, key, after=f"{key}:3", path=f"/sse/{key}/?last_event_id={key}:2") as (_status, events):
        assert [event.number for event in events] == [4]
    with reading(api_user, key, path=f"/sse/{key}/?last_event_id={key}:4") as (status, _events):
        assert status == 204


@pytest.mark.contract("GET /sse/{key}/")
@pytest.mark.parametrize(
    "last_event_id", ["nonsense", "other:1", ":", "{key}:99", "{key}:" + "9" * 40, "{key}:-1", "1"]
)
def test_unknown_ids_get_a_reset(shop: ApiUser, api_user: ApiUser, key: str, last_event_id: str) -> None:
    """An unknown, malformed or too large id gives `reset`, then all stored events."""
    publish(shop, api_user, key, "kept")
    finish(shop, api_user, key)
    events = read(api_user, key, last_event_id.format(key=key))
    assert [(event.id, event.name, event.data) for event in events] == [
        (f"{key}:0", "reset", "{}"),
        (f"{key}:1", "message", "kept"),
        (f"{key}:2", "complete", "{}"),
    ]
    assert read(api_user, key, events[0].id) == events[1:]


@pytest.mark.contract("POST /api/channels/{key}/error/")
def test_an_error_ends_it(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """`error` ends the channel with its message, which may have several lines."""
    with Reader(api_user, key) as reader:
        assert finish(shop, api_user, key, "error", message="card\r\nrefused\0").status_code == 200
    (event,) = reader.events
    assert (event.name, json.loads(event.data)) == ("error", {"message": "card\r\nrefused\0"})


@pytest.mark.contract("POST /api/channels/{key}/complete/", "refusal: conflict")
def test_after_the_end(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """Any push to an ended channel, even a second end, is a conflict without effect."""
    finish(shop, api_user, key)
    body = {"user": api_user.name, "data": 1}
    refused(shop.client.post(f"/api/channels/{key}/messages/", json=body), 409, "conflict")
    refused(finish(shop, api_user, key), 409, "conflict")
    refused(finish(shop, api_user, key, "error", message="x"), 409, "conflict")
    refused(api_user.client.get(f"/sse/message/{key}/"), 409, "conflict")
    assert [event.name for event in read(api_user, key)] == ["complete"]


@pytest.mark.contract("GET /sse/{key}")
def test_with_and_without_the_slash(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """Both spellings of the URL stream directly, without a redirect."""
    publish(shop, api_user, key, "x")
    finish(shop, api_user, key)
    for path in (f"/sse/{key}/", f"/sse/{key}"):
        with reading(api_user, key, path=path) as (status, events):
            assert (status, [event.data for event in events]) == (200, ["x", "{}"])


def test_a_key_belongs_to_each_user(shop: ApiUser, product: Product, api_user: ApiUser, key: str) -> None:
    """The same key of another user is another channel, unreadable for all others."""
    other = product.register(f"p{secrets.token_hex(5)}")
    publish(shop, api_user, key, "for the one")
    publish(shop, other, key, "for the other")
    for who in (api_user, other, shop):
        finish(shop, who, key)
    assert [event.data for event in read(api_user, key)] == ["for the one", "{}"]
    assert [event.data for event in read(other, key)] == ["for the other", "{}"]
    assert [event.data for event in read(shop, key)] == ["{}"]


def test_keys_called_like_routes(shop: ApiUser, api_user: ApiUser) -> None:
    """`message` is a valid key; the URL of the payment example stays its own."""
    publish(shop, api_user, "message", "x")
    finish(shop, api_user, "message")
    assert [event.data for event in read(api_user, "message")] == ["x", "{}"]
    with reading(api_user, "", path="/sse/message") as (status, events):
        assert (status, [event.data for event in events]) == (200, ["x", "{}"])


@pytest.mark.parametrize("key", ["a", "A-Z_0.9:x", "x" * 128, "...", "-", "a..b", "message:1"])
def test_valid_keys(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """A key has 1 to 128 letters, digits, `.`, `_`, `:` or `-`."""
    publish(shop, api_user, key, "x")
    finish(shop, api_user, key)
    assert [event.id for event in read(api_user, key)] == [f"{key}:1", f"{key}:2"]


@pytest.mark.parametrize(
    "key", ["x" * 129, "a%0Ab", "a%0D", "%00", "a%20b", "%E4%BD%A0", "a%2Fb", "a+b", "a~", "%E2%80%A8", "a%0A", "@", ""]
)
def test_invalid_keys(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """Any other key gives 404 on every route."""
    body = {"user": api_user.name, "data": 1}
    answers = [
        api_user.client.get(f"/sse/{key}/"),
        api_user.client.get(f"/sse/message/{key}/") if key else api_user.client.get("/sse/message//"),
        shop.client.post(f"/api/channels/{key}/messages/", json=body),
        shop.client.post(f"/api/channels/{key}/complete/", json=body),
    ]
    for answer in answers:
        refused(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": 1}, "user"),
        ({"user": "nobody-of-this-name", "data": 1}, "user"),
        ({"user": 5, "data": 1}, "user"),
        ({"user": "a\0b", "data": 1}, "user"),
        ({}, "data"),
        ({"data": 1, "event": ""}, "event"),
        ({"data": 1, "event": None}, "event"),
        ({"data": 1, "event": "a b"}, "event"),
        ({"data": 1, "event": "a\n"}, "event"),
        ({"data": 1, "event": "x" * 101}, "event"),
        ({"data": 1, "event": "你"}, "event"),
        ({"data": 1, "colour": "red"}, "colour"),
    ],
)
def test_bad_fields_are_named(shop: ApiUser, api_user: ApiUser, key: str, body: dict[str, Any], field: str) -> None:
    """A missing, wrong or unknown field, or an unknown username, is named in `details`."""
    if field != "user":
        body = {"user": api_user.name, **body}
    error = refused(shop.client.post(f"/api/channels/{key}/messages/", json=body), 400, "invalid_request")
    assert list(error["details"]) == [field]


def test_bad_ends_are_named(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """`complete` needs the user, `error` the message too."""
    assert list(refused(finish(shop, api_user, key, "error"), 400, "invalid_request")["details"]) == ["message"]
    assert list(refused(finish(shop, api_user, key, message="x"), 400, "invalid_request")["details"]) == ["message"]
    response = shop.client.post(f"/api/channels/{key}/complete/", json={"user": "nobody-of-this-name"})
    assert list(refused(response, 400, "invalid_request")["details"]) == ["user"]
    finish(shop, api_user, key)
    assert [event.number for event in read(api_user, key)] == [1]


@pytest.mark.contract("POST /api/channels/{key}/messages/")
def test_who_may_publish(product: Product, shop: ApiUser, key: str) -> None:
    """Publishing needs the permission, even to an own channel; reading needs an account."""
    api_user = product.register(f"p{secrets.token_hex(5)}")
    body = {"user": api_user.name, "data": "mine"}
    for path in ("messages", "complete", "error"):
        refused(api_user.client.post(f"/api/channels/{key}/{path}/", json=body), 403, "forbidden")
        refused(product.client().post(f"/api/channels/{key}/{path}/", json=body), 401, "not_authenticated")
    refused(product.client().get(f"/sse/{key}/"), 401, "not_authenticated")
    refused(product.client().get(f"/sse/message/{key}/"), 401, "not_authenticated")
    for method, path in (("POST", f"/sse/{key}/"), ("GET", f"/api/channels/{key}/messages/")):
        refused(shop.client.request(method, path), 405, "invalid_request")
    allow = (
        "from django.contrib.auth.models import Permission; from accounts.models import User;"
        f"User.objects.get(username='{api_user.name}').user_permissions.add("
        "Permission.objects.get(content_type__app_label='chat', codename='publish_channel'))"
    )
    done = product.manage("shell", "-c", allow)
    assert done.returncode == 0, done.stderr
    assert publish(api_user, api_user, key, "mine") == f"{key}:1"


def test_disabled_users(product: Product, shop: ApiUser, key: str) -> None:
    """A disabled user cannot read, and cannot be pushed to."""
    api_user = product.register(f"p{secrets.token_hex(5)}")
    off = f"from accounts.models import User; User.objects.filter(username='{api_user.name}').update(is_active=False)"
    assert product.manage("shell", "-c", off).returncode == 0
    answer = shop.client.post(f"/api/channels/{key}/messages/", json={"user": api_user.name, "data": 1})
    assert list(refused(answer, 400, "invalid_request")["details"]) == ["user"]
    assert status_of(api_user, key) == 401


def test_size(shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """A body over 1 MiB is refused; one just below arrives complete."""
    content = json.dumps({"user": api_user.name, "data": "x" * 2**20})
    headers = {"Content-Type": "application/json"}
    answer = shop.client.post(f"/api/channels/{key}/messages/", content=content, headers=headers)
    refused(answer, 413, "prompt_too_long")
    publish(shop, api_user, key, "x" * (2**20 - 200))
    finish(shop, api_user, key)
    assert [len(event.data) for event in read(api_user, key)] == [2**20 - 200, 2]


@pytest.mark.contract("POST /api/channels/{key}/messages/")
@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        ("one\ntwo", "one\ntwo"),
        ("one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("", ""),
        ("\n", "\n"),
        (" leading: colon\n\nid: 9\nevent: fake", " leading: colon\n\nid: 9\nevent: fake"),
        ("a\0b", "ab"),
        ("a\u2028b\u2029c\u0085d\x0be\ufeff", "a\u2028b\u2029c\u0085d\x0be\ufeff"),
        ({"a": "x\r\ny\0z\u2028"}, '{"a":"x\\r\\ny\\u0000z\u2028"}'),
        ([1, None, True, "你"], '[1,null,true,"你"]'),
        (None, "null"),
        (0, "0"),
    ],
)
def test_data(shop: ApiUser, api_user: ApiUser, key: str, data: Any, arrives: str) -> None:
    """A string arrives line by line without NUL; other data as one line of JSON."""
    publish(shop, api_user, key, data)
    finish(shop, api_user, key)
    assert [(event.id, event.data) for event in read(api_user, key)] == [(f"{key}:1", arrives), (f"{key}:2", "{}")]


def test_a_ticket_opens_one_stream(product: Product, shop: ApiUser, api_user: ApiUser, key: str) -> None:
    """A ticket opens one stream of its owner; a new ticket resumes it."""
    publish(shop, api_user, key, "one")
    publish(shop, api_user, key, "two")
    finish(shop, api_user, key)
    anybody = ApiUser(product, "", "", "")

    def ticket() -> str:
        return str(api_user.client.post("/api/tickets/", json={"path": f"/sse/{key}/"}).json()["ticket"])

    first = ticket()
    with reading(anybody, key, path=f"/sse/{key}/?ticket={first}") as (status, events):
        assert (status, [event.data for event in events]) == (200, ["one", "two", "{}"])
    with reading(anybody, key, path=f"/sse/{key}/?ticket={first}") as (status, _events):
        assert status == 401
    with reading(anybody, key, path=f"/sse/other/?ticket={ticket()}") as (status, _events):
        assert status == 401
    with reading(anybody, key, path=f"/sse/{key}/?ticket={ticket()}&last_event_id={key}:1") as (status, events):
        assert (status, [event.data for event in events]) == (200, ["two", "{}"])
    refused(anybody.client.get(f"/sse/message/{key}/?ticket={ticket()}"), 401, "not_authenticated")


@pytest.mark.contract("GET /sse/message/{key}/")
def test_the_payment_example(api_user: ApiUser) -> None:
    """The example plays created, paying, paid and complete over two seconds, and does not keep its caller waiting."""
    answered: list[float] = []
    ended: list[float] = []
    for _ in until_below(1.5, answered, most=5):
        key = new_key()
        with Reader(api_user, key) as reader:
            started = time.monotonic()
            answer = api_user.client.get(f"/sse/message/{key}/")
            answered.append(time.monotonic() - started)
            assert (answer.status_code, answer.json()) == (202, {"events": f"/sse/{key}/"})
        ended.append(reader.arrivals[-1] - started)
        assert [event.name for event in reader.events] == ["created", "paying", "paid", "complete"]
        assert [json.loads(event.data) for event in reader.events[:3]] == [
            {"status": "created"},
            {"status": "paying"},
            {"status": "paid"},
        ]
    assert min(answered) < 1.5 < min(ended)


@pytest.mark.contract("demo_push")
def test_the_payment_example_from_a_command(product: Product, api_user: ApiUser) -> None:
    """`manage.py demo_push` reaches readers within seconds from another process, also without Redis."""
    delays: list[float] = []
    for _ in until_below(4, delays, most=3):
        key = new_key()
        with Reader(api_user, key) as reader:
            done = product.manage("demo_push", api_user.name, key)
            assert done.returncode == 0, done.stderr
            assert done.stdout.split() == [f"{key}:{number}" for number in (1, 2, 3, 4)]
            ended = time.monotonic()
        assert [event.name for event in reader.events] == ["created", "paying", "paid", "complete"]
        delays.append(reader.arrivals[-1] - ended)
    assert min(delays) < 4


def test_headers(api_user: ApiUser, key: str) -> None:
    """A stream opens at once, forbids caching and buffering, and has a request id."""
    with api_user.client.stream("GET", f"/sse/{key}/") as response:
        assert next(response.iter_raw()).startswith(b": open\n\n")
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["X-Request-ID"]
