"""The database away, frozen, or holding something impossible: nothing half charged, nothing waits for ever."""

import base64
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts.models import User
from chat.models import Generation
from tests import books, offers, servers
from tests.conftest import _missing
from tests.product import Product, connected, text_of
from tests.readers import wait_until
from tests.small_disk import OnSmallDisk
from tests.upstreams import FakeOpenAI


@dataclass(frozen=True)
class OnPostgres:
    """A product on a PostgreSQL of its own, which may go away. It drains for a second."""

    product: Product
    database: OnSmallDisk

    def serve(self) -> Product:
        """Serve again where a test has ended the process."""
        if self.product.ended:
            self.product.start()
        return self.product


@pytest.fixture(scope="module")
def breakable(
    postgres: servers.Postgres,  # says what is missing
    upstream: FakeOpenAI,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OnPostgres]:
    variables, folder = {**connected(upstream), "DRAIN_SECONDS": "1"}, tmp_path_factory.mktemp("breakable")
    with OnSmallDisk() as own, Product(folder, own.migrated_database(), **variables) as product:
        yield OnPostgres(product, own)


@pytest.mark.contract("GET /readyz", "refusal: service_unavailable")
def test_a_database_that_comes_back_costs_nothing(breakable: OnPostgres) -> None:
    """A database that goes away in mid-answer and comes back costs no text and no unit."""
    product, own = breakable.serve(), breakable.database
    api_user = product.register("alice")
    with api_user.asking("Hello", "paced") as stream:
        seen = [next(stream) for _ in range(10)]
        own.stop()
        away = product.client(api_user.access)
        refused = away.post("/api/chat/", json={"model": "plain", "prompt": "x"})
        ready, alive = away.get("/readyz"), away.get("/healthz")
        time.sleep(1)
        own.start()
        seen += list(stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert "Retry-After" in refused.headers
    assert (ready.status_code, alive.status_code) == (503, 200)
    assert seen[-1].name == "done"
    row = api_user.generation(seen[0].data["generation"])
    assert (row["status"], row["charge"]["amount"]) == ("completed", 1)
    assert api_user.quota()["used_today"] == 1


def test_a_database_that_freezes_costs_nothing(breakable: OnPostgres) -> None:
    """A completion goes on while the database is frozen, and is stored and charged once when it wakes."""
    product = breakable.serve()
    api_user, watching = product.register("dora"), product.client()
    with api_user.asking("Hello", "paced") as stream:
        seen = [next(stream) for _ in range(10)]
        with breakable.database.frozen():
            wait_until(lambda: watching.get("/readyz").status_code == 503)
            seen += [next(stream) for _ in range(20)]
            assert {event.name for event in seen[1:]} == {"message"}
        seen += list(stream)
    assert seen[-1].name == "done"
    row = api_user.generation(seen[0].data["generation"])
    assert (row["status"], row["charge"]["amount"], row["content"]) == ("completed", 1, text_of(seen))
    assert api_user.quota()["used_today"] == 1
    wait_until(lambda: watching.get("/readyz").status_code == 200)


def test_a_full_disk_of_the_database(breakable: OnPostgres) -> None:
    """Completions go on, what can be stored is charged once and all else not at all; with room it heals by itself."""
    if breakable.database.no_disk:
        _missing(f"No small disk can be mounted here: {breakable.database.no_disk}")
    product = breakable.serve()
    api_user, watching = product.register("erin"), product.client()

    def ask() -> httpx.Response:
        """Send a prompt that takes a new page of a table, because it cannot be compressed."""
        prompt = {"model": "plain", "prompt": base64.b64encode(random.randbytes(9_000)).decode()}
        return api_user.client.post("/api/chat/", json=prompt)

    with api_user.asking("Hello", "paced") as stream:
        seen = [next(stream) for _ in range(10)]
        with breakable.database.full():
            answers = [ask() for _prompt in range(5)]
            assert watching.get("/healthz").status_code == 200
            assert len(api_user.client.get("/api/conversations/").json()["results"]) == 1
            while not text_of(seen).endswith("99 "):  # all that comes of it
                seen.append(next(stream))
                assert seen[-1].name == "message"
        seen += list(stream)
    assert [answer.status_code for answer in answers] == [503] * 5
    assert {answer.json()["error"]["code"] for answer in answers} == {"service_unavailable"}
    assert all("Retry-After" in answer.headers for answer in answers)
    assert seen[-1].name == "done"
    row = api_user.generation(seen[0].data["generation"])
    assert (row["status"], row["charge"]["amount"], row["content"]) == ("completed", 1, text_of(seen))
    assert ask().status_code == 202
    wait_until(lambda: books.still_running(product.database_url) == 0)
    assert books.wrong_charges(product.database_url) == []
    assert api_user.quota()["used_today"] == 2
    wait_until(lambda: watching.get("/readyz").status_code == 200)


def test_ended_while_the_database_is_frozen(breakable: OnPostgres) -> None:
    """While the database is frozen, readiness says so within seconds, and the process can still be ended."""
    product = breakable.serve()
    product.register("bob")
    with breakable.database.frozen():
        started = time.monotonic()
        assert product.client().get("/readyz").status_code == 503
        assert time.monotonic() - started < 30
        assert product.stop() == 0


@pytest.fixture(scope="module")
def sturdy(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product on SQLite, with models that may be broken."""
    variables = connected(upstream, **{"broken-list": "plain", "broken-text": "plain"})
    with Product(tmp_path_factory.mktemp("sturdy"), **variables) as running:
        yield running


def test_a_full_disk(sturdy: Product) -> None:
    """While nothing can be written answers go on, questions are refused and readiness says so; then all is stored."""
    product, api_user = sturdy, sturdy.register("alice")
    with api_user.asking("Hello", "paced") as stream:
        seen = [next(stream) for _ in range(10)]
        # As a full disk: no file may grow beyond this, and what stands there already is not written either.
        _limit, most = resource.prlimit(product.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(product.pid, resource.RLIMIT_FSIZE, (1, most))
        full = product.client(api_user.access)
        refused = full.post("/api/chat/", json={"model": "plain", "prompt": "x"})
        wait_until(lambda: full.get("/readyz").status_code == 503)
        assert full.get("/healthz").status_code == 200
        seen += [next(stream) for _ in range(20)]
        assert {event.name for event in seen[1:]} == {"message"}
        resource.prlimit(product.pid, resource.RLIMIT_FSIZE, (most, most))
        seen += list(stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert seen[-1].name == "done"
    row = api_user.generation(seen[0].data["generation"])
    assert (row["status"], row["charge"]["amount"]) == ("completed", 1)
    assert row["content"] == text_of(seen)
    assert api_user.quota()["used_today"] == 1
    assert len(api_user.client.get("/api/conversations/").json()["results"]) == 1
    wait_until(lambda: full.get("/readyz").status_code == 200)


def test_ended_while_the_database_is_away(breakable: OnPostgres) -> None:
    """SIGTERM while the database is away ends the process in time, without a traceback on the way."""
    product, own = breakable.serve(), breakable.database
    product.register("carol")
    own.stop()
    assert product.stop() == 0
    line = product.manage("serve")
    own.start()
    assert line.returncode != 0
    assert "DATABASE_URL" in line.stderr.strip().splitlines()[-1]
    assert "Traceback" not in line.stderr


@pytest.mark.parametrize(("model", "parameters"), [("broken-list", "[]"), ("broken-text", '{"max_tokens": "8000"}')])
def test_parameters_that_no_request_can_carry(sturdy: Product, model: str, parameters: str) -> None:
    """A model's row with impossible parameters fails each question whole: nothing stored, nothing held."""
    first, api_user = (sturdy.register(f"{name}-{model}") for name in ("first", "person"))
    question = {"model": model, "prompt": "x"}
    sturdy.sql("UPDATE providers_chatmodel SET parameters = ? WHERE slug = ?", parameters, model)
    wait_until(lambda: first.client.post("/api/chat/", json=question).status_code == 500)
    answer = api_user.client.post("/api/chat/", json=question)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert api_user.quota()["used_today"] == 0
    assert api_user.client.get("/api/conversations/").json()["results"] == []


def test_people_can_be_deleted(product: Product, django_db_blocker: Any) -> None:
    """An account that has chatted can be deleted, with all that was its own."""
    api_user = product.register("leaving")
    api_user.answer("Hello", "plain")
    with offers.database(product, django_db_blocker):
        deleted, _by_model = User.objects.get(username="leaving").delete()
        assert deleted > 5
        assert not Generation.objects.filter(user__username="leaving").exists()


def test_one_bad_row_does_not_stop_the_reaper(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """A row with corrupt data stays, and all others are ended."""
    with Product(tmp_path, **connected(upstream), PROCESS_LEASE_SECONDS="2") as product:
        api_user = product.register("alice")
        bad, good = api_user.ask("Hello", "hang")["id"], api_user.ask("Hello", "hang")["id"]
        product.kill()
        product.sql("UPDATE quotas_reservation SET reference = 'x' WHERE reference = ?", bad)
        product.start()
        assert api_user.ended(good, 60)["status"] == "interrupted"
        assert api_user.generation(bad)["status"] == "running"
