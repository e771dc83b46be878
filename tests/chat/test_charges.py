"""The charge of a generation by its end: each row of the table in docs/api.md, in all places that show it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import offers
from tests.product import ApiUser, Product, connected
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI

LIMIT = 100
ENDINGS = {
    "length": "finish:length",
    "filtered": "finish:content_filter",
    "filtered-first": "finish:content_filter:",
    "whitespace": "whitespace",
    "tools": "tools",
    "reset": "reset_mid_stream",
    "eof": "eof_mid_stream",
    "http-500": "http_500",
    "moderated": "http_400:content_filter",
}
# Models whose upstream has a clock of its own, as most rows must not end by one: what it does, and the clock.
# The text begins well before the total time is over, also where a process stands still for seconds.
CLOCKS = {
    "total": ("paced:100:500", {"total_seconds": 8}),
    "total-thinking": ("thinking_paced:100:500", {"total_seconds": 8}),
    "idle": ("hang_mid_stream", {"idle_seconds": 1}),
}


@pytest.fixture(scope="module")
def charging(
    upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[Product]:
    """A product of these tests' own."""
    variables = {**offers.environment(), **connected(upstream, **ENDINGS), "DAILY_LIMIT_STANDARD": str(LIMIT)}
    with Product(tmp_path_factory.mktemp("product"), **variables) as running:
        with offers.database(running, django_db_blocker):
            for name, (does, clock) in CLOCKS.items():
                offers.offer(name, "openai", upstream.base_url, upstream.key(does), **clock)
        offers.wait_for(running.register("first"), name)
        yield running


@pytest.fixture(scope="module")
def someone(charging: Product) -> ApiUser:
    return charging.register("someone")


@dataclass
class Ending:
    """An end of a generation, and its charge. `stop`: the user stops it after so many events."""

    model: str
    event: str
    reason: str
    amount: int
    stop: int | None = None
    prompt: str = "Hello"
    kept: bool = True


@pytest.mark.contract("refusal: upstream_timeout", "the charge table")
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(Ending("plain", "done", "stop", 1), id="stop"),
        pytest.param(Ending("length", "done", "length", 1), id="length"),
        pytest.param(Ending("endless", "done", "cancelled", 1, stop=4), id="cancelled"),
        pytest.param(Ending("filtered", "done", "content_filter", 1), id="content_filter"),
        pytest.param(Ending("tools", "done", "empty", 0, kept=False), id="tool_calls that the page does not get"),
        pytest.param(Ending("empty", "done", "empty", 0, kept=False), id="empty"),
        pytest.param(Ending("whitespace", "done", "empty", 0), id="white space"),
        pytest.param(Ending("echo", "done", "stop", 1, prompt="<think>hm</think>", kept=False), id="reasoning only"),
        pytest.param(Ending("total", "done", "length", 1), id="total time"),
        pytest.param(Ending("total-thinking", "done", "length", 1, kept=False), id="total time while thinking"),
        pytest.param(Ending("hang", "done", "empty", 0, stop=1, kept=False), id="cancelled before"),
        pytest.param(Ending("filtered-first", "done", "empty", 0, kept=False), id="content_filter before"),
        pytest.param(Ending("moderated", "error", "content_blocked", 0, kept=False), id="prompt moderated"),
        pytest.param(Ending("http-500", "error", "upstream_error", 0, kept=False), id="failed before"),
        pytest.param(Ending("cut", "error", "upstream_error", 0), id="cut"),
        pytest.param(Ending("reset", "error", "upstream_error", 0), id="reset"),
        pytest.param(Ending("eof", "error", "upstream_error", 0), id="ended early"),
        pytest.param(Ending("error", "error", "upstream_error", 0), id="error in the stream"),
        pytest.param(Ending("idle", "error", "upstream_timeout", 0), id="silent"),
    ],
)
def test_the_charge_is_the_same_everywhere(someone: ApiUser, ending: Ending) -> None:
    """The charge is the same in the last event, the generation, the ledger and the remaining allowance."""
    used = someone.quota()["used_today"]
    with someone.asking(ending.prompt, ending.model) as stream:
        events = [next(stream)]
        for _event in range((ending.stop or 1) - 1):
            events.append(next(stream))
        if ending.stop:
            someone.stop(events[0].data["generation"])
        events += list(stream)
    charge = {"amount": ending.amount, "source": "daily" if ending.amount else "none", "reason": ending.reason}
    last, row = events[-1], someone.generation(events[0].data["generation"])
    assert (last.name, last.data["charge"], row["charge"]) == (ending.event, charge, charge)
    quota = someone.quota()
    assert (quota["used_today"], quota["remaining"]) == (used + ending.amount, LIMIT - used - ending.amount)
    assert last.data.get("quota", quota) == quota
    assert ("quota" in last.data) is (ending.event == "done")
    assert bool(row["content"]) is ending.kept
    assert spends(someone, row["id"]) == ([(-1, "daily", ending.reason)] if ending.amount else [])


@pytest.mark.contract("the same key, the same charge")
def test_same_key_costs_nothing_more(someone: ApiUser) -> None:
    """The same key again is the same generation with the same charge."""
    used = someone.quota()["used_today"]
    first = someone.ended(someone.ask("Hello", "plain", key="k")["id"])
    again = someone.ended(someone.ask("Hello", "plain", key="k")["id"])
    assert (again["id"], again["charge"]) == (first["id"], {"amount": 1, "source": "daily", "reason": "stop"})
    assert someone.quota()["used_today"] == used + 1
    assert len(spends(someone, first["id"])) == 1


@pytest.mark.contract("the charge table")
def test_credits(someone: ApiUser, charging: Product) -> None:
    """A completion that a credit paid for shows that; a failed one gives the credit back."""
    gift = {"user": "someone", "quota": "standard", "amount": 1, "reason": "gift"}
    assert charging.admin().client.post("/api/admin/credits/", json=gift).status_code == 201
    limit_each_day(someone, 0)
    failed = someone.answer("Hello", "cut")[-1]
    assert failed.data["charge"] == {"amount": 0, "source": "none", "reason": "upstream_error"}
    start, *_rest, done = someone.answer("Hello", "plain")
    assert done.data["charge"] == {"amount": 1, "source": "credit", "reason": "stop"}
    quota = done.data["quota"]
    assert (quota["daily_limit"], quota["credits"], quota["remaining"]) == (0, 0, 0)
    assert spends(someone, start.data["generation"]) == [(-1, "credit", "stop")]
    refused = someone.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert (refused.status_code, "Retry-After" in refused.headers) == (429, False)
    limit_each_day(someone, LIMIT)


def test_a_running_answer_has_no_charge_yet(someone: ApiUser) -> None:
    """While it runs nothing is charged, but the unit is held."""
    used = someone.quota()["used_today"]
    row = someone.ask("Hello", "hang")
    assert (row["charge"], someone.quota()["used_today"]) == (None, used + 1)
    assert someone.stop(row["id"])["charge"]["amount"] == 0
    assert someone.quota()["used_today"] == used


def spends(api_user: ApiUser, generation: str) -> list[tuple[Any, ...]]:
    """Return what the ledger says that a generation has cost."""
    return api_user.product.sql("SELECT amount, source, reason FROM quotas_ledgerentry WHERE reference = ?", generation)


def limit_each_day(api_user: ApiUser, limit: int) -> None:
    """Change the quota, and wait until the product has heard of it."""
    api_user.product.sql("UPDATE quotas_quota SET daily_limit = ?", limit)
    wait_until(lambda: api_user.quota()["daily_limit"] == limit)
