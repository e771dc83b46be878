"""A model with two routes of which the first is misconfigured: users notice nothing, and the operator is informed."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.product import ApiUser, Product, connected, text_of
from tests.readers import wait_until
from tests.scenarios import PLAIN
from tests.staff import create
from tests.upstreams import FakeOpenAI

# How the first vendor refuses, and what the operator reads.
FAULTS = {
    "a wrong address": ("body:404:<html>nothing here</html>", "not that of a chat service"),
    "a redirect": ("redirect", "not that of a chat service"),
    "a region": ("http_403:unsupported_country_region_territory", "does not serve our network address"),
    "a region in words": (
        'body:400:[{"error":{"code":400,"message":"User location is not supported for the API use."}}]',
        "does not serve our network address",
    ),
    "a model": ("http_404:model_not_found", "does not know this model"),
    "a model in words": ('body:400:{"error":{"message":"Model Not Exist"}}', "does not know this model"),
    "an unknown refusal": ('body:400:{"error":{"message":"Something is wrong."}}', "refused the request"),
    "a busy vendor": ("http_503", "busy"),
    "a login page": ("html_200", "broken"),
}


@pytest.fixture(scope="module")
def vendors() -> Iterator[tuple[FakeOpenAI, FakeOpenAI]]:
    with FakeOpenAI.in_thread() as one, FakeOpenAI.in_thread() as two:
        yield one, two


@pytest.fixture(scope="module")
def product(vendors: tuple[FakeOpenAI, FakeOpenAI], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    variables = {**connected(vendors[0]), "ALLOWED_PRIVATE_UPSTREAMS": "127.0.0.1"}
    with Product(tmp_path_factory.mktemp("failover"), **variables) as product:
        yield product


@pytest.fixture(scope="module")
def admin(product: Product, vendors: tuple[FakeOpenAI, FakeOpenAI]) -> ApiUser:
    return product.admin()


def offer(admin: ApiUser, vendors: tuple[FakeOpenAI, FakeOpenAI], name: str, scenario: str) -> None:
    """Offer a model whose first route leads to a vendor with that scenario, the second one to a good vendor."""
    for place, vendor in enumerate(vendors):
        slug = f"{name}-{place + 1}"
        create(admin, "upstreams", slug=slug, kind="openai", base_url=vendor.base_url)
        create(admin, "keys", upstream=slug, secret=f"sk-{slug}-0123456789abcdef")
    routes = [
        {"upstream": f"{name}-1", "upstream_model": scenario},
        {"upstream": f"{name}-2", "upstream_model": "plain", "priority": 1},
    ]
    create(admin, "models", slug=name, title=name, routes=routes)


def reported(product: Product, name: str) -> tuple[int, str, Any]:
    """Return how many requests passed the first route over, why, and since when."""
    query = (
        "SELECT passed_over, passed_over_reason, passed_over_since FROM providers_route"
        " JOIN providers_upstream ON providers_upstream.id = upstream_id WHERE providers_upstream.slug = ?"
    )
    return product.sql(query, f"{name}-1")[0]  # type: ignore[return-value]


def until(product: Product, name: str, requests: int) -> tuple[int, str, Any]:
    wait_until(lambda: reported(product, name)[0] == requests)
    return reported(product, name)


def lines(product: Product, name: str) -> list[dict[str, Any]]:
    """Return the log's lines about a route that was passed over."""
    found = [json.loads(line) for line in product.output.splitlines() if '"route passed over"' in line]
    return [line for line in found if line["model"] == name]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_route_serves_and_the_operator_is_informed(
    admin: ApiUser, product: Product, vendors: tuple[FakeOpenAI, FakeOpenAI], fault: str
) -> None:
    """Each request is served by the second route; one log line, the metric and the admin name the first one."""
    (scenario, reason), name = FAULTS[fault], re.sub(r"\W", "-", fault)
    offer(admin, vendors, name, scenario)
    for _turn in range(3):
        assert text_of(admin.answer("Hello", name)) == PLAIN
    _count, told, since = until(product, name, 3)
    assert reason in told
    assert since
    wait_until(lambda: bool(lines(product, name)))
    (line,) = lines(product, name)
    assert (line["level"], line["upstream"], line["served_by"]) == ("warning", f"{name}-1", f"{name}-2")
    assert reason in line["reason"]
    metrics = admin.product.client().get("/metrics").text
    assert f'rivulet_routes_passed_over_total{{model="{name}",upstream="{name}-1"}} 3.0' in metrics
    browser = product.browser("admin")
    for page in ("providers/upstream/", "providers/chatmodel/", "dashboard/"):
        shown = browser.get(f"/admin/{page}").text
        assert re.search(rf"{name}.*{reason}.*3 requests since \d", shown, re.DOTALL), page


def test_a_mended_route_is_cleared(admin: ApiUser, product: Product, vendors: tuple[FakeOpenAI, FakeOpenAI]) -> None:
    """When the first route serves again, nothing is reported about it any more."""
    offer(admin, vendors, "mended", "flaky:1:body:404:<html>")
    admin.answer("Hello", "mended")
    until(product, "mended", 1)
    deadline = time.monotonic() + 60
    while reported(product, "mended")[0]:
        assert time.monotonic() < deadline
        assert text_of(admin.answer("Hello", "mended")) == PLAIN
        time.sleep(0.1)
    assert reported(product, "mended") == (0, "", None)


@pytest.mark.parametrize("scenario", ["http_400:context_length_exceeded", "http_400:content_policy_violation"])
def test_a_request_at_fault_says_nothing_about_the_route(
    admin: ApiUser, product: Product, vendors: tuple[FakeOpenAI, FakeOpenAI], scenario: str
) -> None:
    """What a user's request brought about is not reported as a fault of the route."""
    name = "at-fault-" + scenario.rpartition(":")[2]
    offer(admin, vendors, name, scenario)
    admin.answer("Hello", name)
    admin.answer("Hello", "echo")
    assert reported(product, name) == (0, "", None)
    assert lines(product, name) == []
