"""The database away, frozen, or holding something impossible: nothing half charged, nothing waits for ever."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from tests import servers
from tests.product import Product, connected, text_of
from tests.readers import wait_until
from tests.upstreams import FakeOpenAI


def test_it_works(postgres: servers.Postgres, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """A database that goes away in mid-answer and comes back costs no text and no unit."""
    own = servers.Postgres()
    with own, Product(tmp_path, own.database(), **connected(upstream)) as product:
        person = product.register("alice")
        with person.asking("Hello", "paced") as stream:
            seen = [next(stream) for _ in range(10)]
            own.stop()
            away = product.client(person.access)
            refused = away.post("/api/chat/", json={"model": "plain", "prompt": "x"})
            ready, alive = away.get("/readyz"), away.get("/healthz")
            time.sleep(1)
            own.start()
            seen += list(stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert "Retry-After" in refused.headers
        assert (ready.status_code, alive.status_code) == (503, 200)
        assert seen[-1].name == "done"
        row = person.generation(seen[0].data["generation"])
        assert (row["status"], row["charge"]["amount"]) == ("completed", 1)
        assert person.quota()["used_today"] == 1


def test_a_frozen_database(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """While the database is frozen, readiness says so within seconds, and the process can still be ended."""
    own = servers.Postgres()
    with own, Product(tmp_path, own.database(), **connected(upstream), DRAIN_SECONDS="1") as product:
        product.register("alice")
        frozen = _family(own._process.pid) if own._process else []
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert product.client().get("/readyz").status_code == 503
            assert time.monotonic() - started < 8
            assert product.stop(40) == 0
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def test_a_full_disk(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """While nothing can be written answers go on, questions are refused and readiness says so; then all is stored."""
    with Product(tmp_path, **connected(upstream)) as product:
        person = product.register("alice")
        with person.asking("Hello", "paced") as stream:
            seen = [next(stream) for _ in range(10)]
            # As a full disk: no file may grow beyond this, and what stands there already is not written either.
            _limit, most = resource.prlimit(product.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(product.pid, resource.RLIMIT_FSIZE, (1, most))
            full = product.client(person.access)
            refused = full.post("/api/chat/", json={"model": "plain", "prompt": "x"})
            wait_until(lambda: full.get("/readyz").status_code == 503, 10)
            assert full.get("/healthz").status_code == 200
            seen += [next(stream) for _ in range(20)]
            assert {event.name for event in seen[1:]} == {"message"}
            resource.prlimit(product.pid, resource.RLIMIT_FSIZE, (most, most))
            seen += list(stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert seen[-1].name == "done"
        row = person.generation(seen[0].data["generation"])
        assert (row["status"], row["charge"]["amount"]) == ("completed", 1)
        assert row["content"] == text_of(seen)
        assert person.quota()["used_today"] == 1
        assert len(person.client.get("/api/conversations/").json()["results"]) == 1
        wait_until(lambda: full.get("/readyz").status_code == 200, 10)


def test_ended_while_the_database_is_away(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """SIGTERM while the database is away ends the process in time, without a traceback on the way."""
    own = servers.Postgres()
    with own, Product(tmp_path, own.database(), **connected(upstream), DRAIN_SECONDS="1") as product:
        product.register("alice")
        own.stop()
        assert product.stop(40) == 0
        line = product.manage("serve")
        assert line.returncode != 0
        assert "DATABASE_URL" in line.stderr.strip().splitlines()[-1]
        assert "Traceback" not in line.stderr


@pytest.mark.parametrize("parameters", ["[]", '{"max_tokens": "8000"}'])
def test_parameters_that_no_request_can_carry(tmp_path: Path, upstream: FakeOpenAI, parameters: str) -> None:
    """A model's row with impossible parameters fails each question whole: nothing stored, nothing held."""
    with Product(tmp_path, **connected(upstream)) as product:
        person = product.register("alice")
        script = f"from providers.models import ChatModel; ChatModel.objects.update(parameters={parameters})"
        assert product.manage("shell", "-c", script).returncode == 0
        time.sleep(2.5)
        answer = person.client.post("/api/chat/", json={"model": "plain", "prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert person.quota()["used_today"] == 0
        assert person.client.get("/api/conversations/").json()["results"] == []


def test_people_can_be_deleted(product: Product, upstream: FakeOpenAI) -> None:
    """An account that has chatted can be deleted, with all that was its own."""
    person = product.register("leaving")
    person.answer("Hello", "plain")
    script = (
        "from accounts.models import User; from chat.models import Generation;"
        "print(User.objects.get(username='leaving').delete()[0] > 5,"
        " Generation.objects.filter(user__username='leaving').exists())"
    )
    done = product.manage("shell", "-c", script)
    assert done.stdout.splitlines()[-1] == "True False", done.stderr


def test_one_bad_row_does_not_stop_the_reaper(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """A row that somebody tampered with stays, and all others are ended."""
    with Product(tmp_path, **connected(upstream)) as product:
        person = product.register("alice")
        bad, good = person.ask("Hello", "hang")["id"], person.ask("Hello", "hang")["id"]
        product.kill()
        tamper = f"Reservation.objects.filter(reference='{bad}').update(reference='x')"
        script = f"from quotas.models import Reservation; {tamper}"
        assert product.manage("shell", "-c", script).returncode == 0
        product.start()
        assert person.ended(good, 60)["status"] == "interrupted"
        assert person.generation(bad)["status"] == "running"
