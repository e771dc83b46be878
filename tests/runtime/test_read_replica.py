"""Lists of the staff on a real streaming replica: used while up to date, left out while it lags, hangs or is away."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connections
from structlog.typing import EventDict

from runtime.database_url import replica_from_url
from runtime.read_replica import ALIAS, ReadReplica, Router
from tests import servers
from tests.product import ApiUser, Product
from tests.readers import wait_until
from tests.standby import Standby

pytestmark = pytest.mark.server

# The last statement of a list on the connection to the replica.
READ_HERE = "RESET statement_timeout"
LEFT_OUT, USED_AGAIN = "replica of the database is left out", "replica of the database is used again"


@pytest.fixture(scope="module")
def standby(postgres: servers.Postgres) -> Iterator[Standby]:
    with Standby(postgres) as running:
        yield running


@pytest.fixture(scope="module")
def product(
    postgres: servers.Postgres, standby: Standby, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    url = postgres.migrated_database()
    replica = standby.url(url.rpartition("/")[2])
    # The primary of the tests commits before it has written the log, unlike one in use.
    durable = f"{url}?options=-c%20synchronous_commit%3Don"
    wait_until(lambda: exists(replica))
    with Product(
        tmp_path_factory.mktemp("product"),
        durable,
        DATABASE_REPLICA_URL=replica,
        # One that stands still for a moment, as processes of a busy machine do, is not yet behind.
        IMPATIENCE="runtime.read_replica.AWAY_SECONDS=0.5,runtime.read_replica.CATCH_UP_SECONDS=1",
    ) as running:
        yield running


def exists(url: str) -> bool:
    """Return whether the replica has a database already."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def carol(product: Product) -> ApiUser:
    return product.admin()


def last_read(standby: Standby) -> datetime:
    """Return when the replica served its last list; long ago, if it has served none."""
    with psycopg.connect(standby.url()) as connection:
        query = "SELECT max(query_start) FROM pg_stat_activity WHERE query = %s"
        (found,) = connection.execute(query, [READ_HERE]).fetchone() or (None,)
    return found or datetime.min.replace(tzinfo=UTC)


def add(carol: ApiUser, name: str) -> None:
    made = carol.client.post("/api/admin/sensitive-words/", json={"word": name})
    assert made.status_code == 201, made.text


def listed(carol: ApiUser) -> list[str]:
    answer = carol.client.get("/api/admin/sensitive-words/")
    assert answer.status_code == 200, answer.text
    return [row["word"] for row in answer.json()]


def lines(product: Product, event: str) -> list[Any]:
    return [json.loads(line) for line in product.output.splitlines() if event in line]


def test_lists_are_read_there_and_have_what_was_written(product: Product, carol: ApiUser, standby: Standby) -> None:
    """A list right after a write has the new row, whether a program or a page asks; the replica served it."""
    browser, before = product.browser("admin"), last_read(standby)
    for number in range(10):
        add(carol, f"first{number}")
        assert f"first{number}" in listed(carol)
    by_program = last_read(standby)
    page = browser.get("/admin/chat/sensitiveword/")
    assert "first9" in page.text
    assert before < by_program < last_read(standby)
    assert not lines(product, LEFT_OUT)


def test_a_replica_that_lags_is_left_out(product: Product, carol: ApiUser, standby: Standby) -> None:
    """With one line in the log; lists come from the primary, and from the replica again once it has caught up."""
    standby.delay("1h")
    for number in range(5):
        add(carol, f"late{number}")
        assert f"late{number}" in listed(carol)
    wait_until(lambda: bool(lines(product, LEFT_OUT)))
    assert len(lines(product, LEFT_OUT)) == 1
    standby.delay("0")
    wait_until(lambda: bool(listed(carol) and lines(product, USED_AGAIN)))


def test_a_replica_that_dies_is_left_out(product: Product, carol: ApiUser, standby: Standby) -> None:
    """No list fails, and there is one line in the log until it is back."""
    left_out, used_again = len(lines(product, LEFT_OUT)), len(lines(product, USED_AGAIN))
    standby.stop()
    page = product.browser("admin")
    for number in range(5):
        add(carol, f"dead{number}")
        assert f"dead{number}" in listed(carol)
        assert page.get("/admin/chat/sensitiveword/").status_code == 200
        time.sleep(0.2)  # so that it is asked again
    wait_until(lambda: len(lines(product, LEFT_OUT)) > left_out)
    assert len(lines(product, LEFT_OUT)) == left_out + 1
    standby.start()
    wait_until(lambda: bool(listed(carol) and len(lines(product, USED_AGAIN)) == used_again + 1))
    assert "Traceback" not in product.output


def test_a_replica_that_hangs_is_left_out(product: Product, carol: ApiUser, standby: Standby) -> None:
    """A list that finds it frozen takes some seconds, the next ones do not wait for it; later it is used again."""
    assert listed(carol)
    before = [len(lines(product, event)) for event in (LEFT_OUT, USED_AGAIN)]
    with standby.frozen():
        for number in range(5):
            add(carol, f"hangs{number}")
            assert f"hangs{number}" in listed(carol)
        wait_until(lambda: len(lines(product, LEFT_OUT)) > before[0])  # its line may be on the way
        assert len(lines(product, LEFT_OUT)) == before[0] + 1
    wait_until(lambda: bool(listed(carol) and len(lines(product, USED_AGAIN)) == before[1] + 1))
    assert "Traceback" not in product.output


def test_check_deploy_looks_at_the_replica(product: Product, postgres: servers.Postgres) -> None:
    """A server that is no replica is a mistake."""
    checked = product.manage("check_deploy").stdout
    assert "ok      DATABASE_REPLICA_URL: a replica" in checked
    checked = product.manage("check_deploy", DATABASE_REPLICA_URL=postgres.url("migrated")).stdout
    assert "error   DATABASE_REPLICA_URL: is no replica" in checked


@pytest.fixture
def read_from(
    postgres: servers.Postgres, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[ReadReplica]:
    """A replica for this thread, which counts as up to date."""
    configured = connections.configure_settings({"default": {}, ALIAS: replica_from_url(postgres.database())})
    monkeypatch.setitem(connections.settings, ALIAS, configured[ALIAS])
    monkeypatch.setattr("runtime.read_replica._has_caught_up", lambda: True)
    with django_db_blocker.unblock():
        yield ReadReplica()
        connections[ALIAS].close()
    del connections[ALIAS]


def test_a_replica_that_fails_during_a_read(read_from: ReadReplica, log_lines: list[EventDict]) -> None:
    """The primary is read instead, and the replica left out for a while; a slow statement is not repeated."""
    read_at = []

    def read() -> str:
        alias = Router().db_for_read(None)
        read_at.append(alias)
        if alias == ALIAS:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return alias

    def read_slowly() -> None:
        read_at.append(alias := Router().db_for_read(None))
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    with pytest.raises(OperationalError):
        read_from.read(read_slowly, 1)
    assert [read_from.read(read, 5) for _time in range(2)] == ["default", "default"]
    assert read_at == [ALIAS, ALIAS, "default", "default"]
    assert [line["event"] for line in log_lines] == ["replica of the database is left out, the primary takes its reads"]


@pytest.mark.parametrize("pooler", ["", "transaction"])
def test_a_replica_that_hangs_during_a_read(read_from: ReadReplica, pooler: str) -> None:
    """The read ends after its time and a second more, and the primary is read instead."""
    connections[ALIAS].settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = bool(pooler)
    frozen: list[int] = []

    def read() -> str:
        alias = Router().db_for_read(None)
        if alias == ALIAS:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                frozen.extend(cursor.fetchone())
                os.kill(frozen[0], signal.SIGSTOP)
                cursor.execute("SELECT 1")
        return alias

    assert read_from.read(read, 1) == "default"
    os.kill(frozen[0], signal.SIGCONT)
