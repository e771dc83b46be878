"""Upstreams, models and routes as staff configure them over REST, seen in the bytes that reach a vendor."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.paused import PausedUpstream
from tests.product import ApiUser, Product, connected, text_of
from tests.scenarios import PLAIN, ChatExchange
from tests.staff import create

SECRET = "planted-header-secret-0123456789"


class Vendor(PausedUpstream):
    """A fake upstream whose address may have a query, and whose model `picky` takes no temperature.

    It sets probes apart, which an earlier test may have provoked.
    """

    async def handle(self, exchange: Any) -> None:
        assert isinstance(exchange, ChatExchange)
        self.queries.append(exchange.request.path.partition("?")[2])
        exchange.request.path = exchange.request.path.partition("?")[0]
        if exchange.request.body.get("model") == "picky":
            refuses = "temperature" in exchange.request.body
            exchange.request.body["model"] = "http_400:unsupported_value:temperature" if refuses else "plain"
        await super().handle(exchange)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queries: list[str] = []


@pytest.fixture(scope="module")
def vendors() -> Iterator[tuple[Vendor, Vendor]]:
    with Vendor.in_thread() as one, Vendor.in_thread() as two:
        yield one, two


@pytest.fixture(scope="module")
def product(vendors: tuple[Vendor, Vendor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    variables = {**connected(vendors[0]), "ALLOWED_PRIVATE_UPSTREAMS": "127.0.0.1"}
    with Product(tmp_path_factory.mktemp("configuration"), **variables) as product:
        yield product


@pytest.fixture(scope="module")
def admin(product: Product, vendors: tuple[Vendor, Vendor]) -> ApiUser:
    """Return the superuser of a product with the upstreams `one` and `two`."""
    admin = product.admin()
    for slug, vendor in zip(("one", "two"), vendors, strict=True):
        create(admin, "upstreams", slug=slug, kind="openai", base_url=vendor.base_url)
        create(admin, "keys", upstream=slug, secret=f"sk-{slug}-0123456789abcdef")
    return admin


@pytest.fixture(autouse=True)
def clean(vendors: tuple[Vendor, Vendor]) -> None:
    for vendor in vendors:
        vendor.requests.clear()
        vendor.queries.clear()


def patch(admin: ApiUser, rows: str, row: dict[str, Any], **body: Any) -> dict[str, Any]:
    changed = admin.client.patch(f"/api/admin/{rows}/{row['id']}/", json=body)
    assert changed.status_code == 200, changed.text
    return dict(changed.json())


def upstream(admin: ApiUser, slug: str) -> dict[str, Any]:
    return next(dict(row) for row in admin.client.get("/api/admin/upstreams/").json() if row["slug"] == slug)


def route(upstream: str = "one", upstream_model: str = "plain", **values: Any) -> dict[str, Any]:
    return {"upstream": upstream, "upstream_model": upstream_model, **values}


def call(admin: ApiUser, model: str, **body: Any) -> Any:
    """Call /v1 without a stream; return the response."""
    messages = [{"role": "user", "content": "Hello"}]
    return admin.client.post("/v1/chat/completions", json={"model": model, "messages": messages, **body})


def test_an_upstreams_headers_and_query_are_sent(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """Headers and query go with each request and win over ours; secrets of them are in no response."""
    row = upstream(admin, "one")
    headers = {"X-Gateway": SECRET, "user-agent": "Rivulet of the team"}
    query = {"api-version": "2024-10-21", "subscription-key": SECRET}
    shown = patch(admin, "upstreams", row, headers=headers, query=query)
    assert shown["headers"] == dict.fromkeys(headers, "********")
    assert shown["query"] == {"api-version": "2024-10-21", "subscription-key": "********"}
    create(admin, "models", slug="with-headers", title="M", routes=[route()])
    for _turn in range(2):
        assert call(admin, "with-headers").status_code == 200
        sent = vendors[0].requests[-1]
        assert (sent.headers["x-gateway"], sent.headers["user-agent"]) == (SECRET, "Rivulet of the team")
        assert vendors[0].queries[-1] == f"api-version=2024-10-21&subscription-key={SECRET}"
        # A row that was read may be sent back: a masked value keeps the stored one.
        assert patch(admin, "upstreams", row, **{name: shown[name] for name in ("headers", "query", "slug")}) == shown
    browser = admin.product.browser("admin")
    page = browser.get(f"/admin/providers/upstream/{row['id']}/change/").text
    assert "X-Gateway" in page
    texts = [page, admin.product.output, json.dumps(admin.client.get("/api/admin/upstreams/").json())]
    texts += [str(rows) for rows in admin.product.sql("SELECT headers, query FROM providers_upstream")]
    assert not [text for text in texts if SECRET in text]
    assert patch(admin, "upstreams", row, headers={}, query={})["headers"] == {}
    assert call(admin, "with-headers").status_code == 200
    assert ("x-gateway" in vendors[0].requests[-1].headers, vendors[0].queries[-1]) == (False, "")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"content-length": "1"}}, "headers"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers"),
        ({"headers": {"X Y": "1"}}, "headers"),
        ({"headers": {"X-Y": "1\r\nX-Z: 2"}}, "headers"),
        ({"headers": {"X-Y": "é"}}, "headers"),
        ({"headers": {"X-Y": "1", "x-y": "2"}}, "headers"),
        ({"headers": {"X-Y": "********"}}, "headers"),
        ({"headers": ["X-Y"]}, "headers"),
        ({"query": {"": "1"}}, "query"),
        ({"query": {"a": "b\n"}}, "query"),
        ({"deadlines": {"first": -1}}, "deadlines"),
        ({"deadlines": {"last": 1}}, "deadlines"),
    ],
)
def test_what_no_request_can_have_is_refused(admin: ApiUser, change: dict[str, Any], field: str) -> None:
    """Headers and queries that cannot be sent, and impossible deadlines, are refused by name."""
    row = upstream(admin, "two")
    refused = admin.client.patch(f"/api/admin/upstreams/{row['id']}/", json=change)
    assert (refused.status_code, set(refused.json()["error"]["details"])) == (400, {field})


def test_whose_parameters_win(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """The route's parameters replace the model's, the caller's replace both; a dropped field is in no request."""
    create(
        admin,
        "models",
        slug="mixed",
        title="M",
        context_tokens=100_000,
        parameters={"temperature": 0.1, "top_k": 1, "presence_penalty": 0.5, "max_tokens": 50},
        routes=[route(parameters={"temperature": 0.2, "top_k": 2, "max_tokens": 40}, drop=["presence_penalty"])],
    )
    assert call(admin, "mixed").status_code == 200
    sent = vendors[0].requests[-1].body
    assert {name: sent.get(name) for name in ("temperature", "top_k", "max_tokens")} == {
        "temperature": 0.2,
        "top_k": 2,
        "max_tokens": 40,
    }
    assert "presence_penalty" not in sent
    assert call(admin, "mixed", temperature=0.9, max_tokens=7).status_code == 200
    sent = vendors[0].requests[-1].body
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"]) == (0.9, 2, 7)
    admin.answer("Hello", "mixed", temperature=0.8)
    sent = vendors[0].requests[-1].body
    assert (sent["temperature"], sent["max_tokens"]) == (0.8, 40)


def test_deadlines_from_wide_to_narrow(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """A model's deadlines win over the upstream's, a route's over the model's."""
    row = upstream(admin, "two")
    patch(admin, "upstreams", row, deadlines={"first": 60, "connect": 5})
    assert upstream(admin, "two")["deadlines"] == {"connect": 5, "first": 60, "idle": None, "total": None}
    silent = route("two", "hang")
    model = create(admin, "models", slug="deadlines", title="M", deadlines={"first": 0.2}, routes=[silent])
    events = admin.answer("Hello", "deadlines")
    assert (events[-1].name, events[-1].data["code"]) == ("error", "upstream_timeout")
    slow = route("two", "slow")
    patch(admin, "models", model, routes=[slow])
    assert admin.answer("Hello", "deadlines")[-1].data["code"] == "upstream_timeout"
    patch(admin, "models", model, routes=[{**slow, "deadlines": {"first": 60}}])
    assert text_of(admin.answer("Hello", "deadlines")) == PLAIN
    patch(admin, "upstreams", row, deadlines={})


def test_what_a_model_takes(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """A request with anything that is not listed is refused by name, before the vendor is asked; null passes it on."""
    model = create(admin, "models", slug="listed", title="M", takes=["tools"], routes=[route()], context_tokens=4_000)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    refused = call(admin, "listed", seed=1, tools=tools)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "seed")
    assert not vendors[0].requests
    assert call(admin, "listed", tools=tools, tool_choice="required").status_code == 200
    offered = {each["slug"]: each for each in admin.client.get("/api/models/").json()}
    assert (offered["listed"]["takes"], offered["listed"]["context_tokens"]) == (
        ["tools", "tool_choice", "parallel_tool_calls"],
        4_000,
    )
    assert {"images", "tools", "seed"} <= set(offered["echo"]["takes"])
    assert offered["demo"]["takes"] == []
    patch(admin, "models", model, takes=None)
    assert call(admin, "listed", seed=1).status_code == 200
    assert vendors[0].requests[-1].body["seed"] == 1
    patch(admin, "models", model, routes=[route(drop=["seed"])])
    refused = call(admin, "listed", seed=1)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "seed")


def test_a_lesson_stays_with_its_route(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """The second route is still asked for usage after the first one refused it, and its usage is exact."""
    first = route("one", "needs_no_stream_options")
    second = route("two", "plain", priority=1)
    model = create(admin, "models", slug="taught", title="M", routes=[first, second])
    assert text_of(admin.answer("Hello", "taught")) == PLAIN
    assert ["stream_options" in request.body for request in vendors[0].requests] == [True, False]
    admin.answer("Hello", "taught")
    assert ["stream_options" in request.body for request in vendors[0].requests][2:] == [False]
    row = upstream(admin, "one")
    patch(admin, "upstreams", row, enabled=False)
    done = admin.answer("Hello", "taught")[-1]
    assert vendors[1].requests[-1].body["stream_options"] == {"include_usage": True}
    assert done.data["usage"]["estimated"] is False
    patch(admin, "upstreams", row, enabled=True)
    patch(admin, "models", model, routes=[first])  # the same way keeps its lesson
    admin.answer("Hello", "taught")
    assert "stream_options" not in vendors[0].requests[-1].body
    patch(admin, "upstreams", row, headers={"X-Way": "new"})  # another way to the upstream forgets it
    admin.answer("Hello", "taught")
    assert ["stream_options" in request.body for request in vendors[0].requests][-2:] == [True, False]
    patch(admin, "upstreams", row, headers={})


def test_a_refused_parameter_of_the_configuration_is_left_out(admin: ApiUser, vendors: tuple[Vendor, Vendor]) -> None:
    """The vendor's refusal costs one request; another value is tried again, and another route has the parameter."""
    parameters = {"temperature": 0.3}
    routes = [route("one", "picky"), route("two", priority=1)]
    model = create(admin, "models", slug="picky", title="M", parameters=parameters, routes=routes)
    for _turn in range(2):
        assert text_of(admin.answer("Hello", "picky")) == PLAIN
    assert [request.body.get("temperature") for request in vendors[0].requests] == [0.3, None, None]
    row = upstream(admin, "one")
    patch(admin, "upstreams", row, enabled=False)
    admin.answer("Hello", "picky")
    assert vendors[1].requests[-1].body["temperature"] == 0.3
    patch(admin, "upstreams", row, enabled=True)
    patch(admin, "models", model, parameters={"temperature": 1})
    assert text_of(admin.answer("Hello", "picky")) == PLAIN
    assert [request.body.get("temperature") for request in vendors[0].requests][3:] == [1, None]


@pytest.mark.parametrize("field", ["temperature", "max_tokens"])
def test_the_callers_own_parameter_is_named(admin: ApiUser, vendors: tuple[Vendor, Vendor], field: str) -> None:
    """A refusal names the caller's parameter that the vendor does not take, even where the model's row has it too."""
    parameters = {"temperature": 0.3, "max_tokens": 100}
    body = {"error": {"message": "no", "code": "unsupported_value", "param": field}}
    routes = [route("one", f"body:400:{json.dumps(body)}")]
    create(admin, "models", slug=f"own-{field}", title="M", parameters=parameters, routes=routes)
    refused = call(admin, f"own-{field}", **{field: 1})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    assert {request.body.get(field) for request in vendors[0].requests} <= {1, None}
