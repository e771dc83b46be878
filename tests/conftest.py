"""Fixtures for all tests: only loopback connections, fixed users, and real servers on demand."""

import gc
import ipaddress
import math
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connection
from django.dispatch import receiver
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases
from django.utils import translation
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis
from structlog.testing import capture_logs
from structlog.typing import EventDict
from xdist.scheduler import LoadFileScheduling

from accounts import identities
from accounts.apps import accounts
from chat.apps import chat
from providers.apps import providers_app
from quotas.apps import quotas_app
from runtime.apps import runtime
from runtime.executor import DatabaseExecutor
from tests import factories, servers
from tests.paused import PausedUpstream
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

# Show details of failed assertions in this module as in the tests themselves.
pytest.register_assert_rewrite("tests.chat.verdicts")

# Fixtures that are, or start, real servers.
SERVERS = {"postgres", "redis_server", "database_url", "product", "on_each", "forgetful", "oracles"}

# Fixtures with which a test counts statements.
COUNTS = {"django_assert_num_queries", "django_assert_max_num_queries"}

# Fixtures that give a test the database, or with which it takes one of its own.
DATABASE = {"db", "transactional_db", "django_db_blocker"}

BROWSER, RECIPES = "tests/browser/", "tests/test_recipes.py"
# What takes longest, in the order of a parallel run.
LONGEST = (BROWSER, RECIPES, "tests/test_frontend.py", "tests/chat/test_error_tables.py", "tests/firefox/")

# Seconds before a midnight in which no test begins, more than almost all tests take.
LAST_SECONDS_OF_A_DAY = 60

# No deadline, because the duration of an example depends on the database, and no limit for making examples, because
# that depends on the machine.
hypothesis.register_profile("rivulet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("rivulet")


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection except to this machine."""

    def guarded(connect: Any) -> Any:
        def connect_here(sock: socket.socket, address: Any) -> Any:
            if sock.family != socket.AF_UNIX and not _is_loopback(address[0]):
                raise AssertionError(f"a test tried to reach {address[0]}")
            return connect(sock, address)

        return connect_here

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    """The database of this process's models: a copy of a migrated file, or one that Django makes on PostgreSQL."""
    if connection.vendor == "sqlite":
        connection.close()
        name = connection.settings_dict["NAME"] = connection.settings_dict["TEST"]["NAME"]
        servers.copy_migrated_sqlite(name)
        with pytest.MonkeyPatch.context() as patch:
            # Django would delete all rows and then create all permissions anew, which takes twenty times as long.
            patch.setattr(TransactionTestCase, "_fixture_teardown", _restore_database)
            yield
        return
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
        yield
        teardown_databases(made, verbosity=0)


def _restore_database(_test: TransactionTestCase) -> None:
    connection.ensure_connection()
    servers.restore_sqlite(connection.connection)


@pytest.fixture(autouse=True)
def fresh_table() -> None:
    """Let no test see the models, quotas and sensitive words of another."""
    providers_app().configuration.forget()
    quotas_app().snapshot.forget()
    chat().words.forget()
    chat().announcements.forget()
    accounts().identities.forget()


@pytest.fixture(autouse=True)
def lasting_caches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a process keeps for a second or two last while a test counts statements.

    On a busy machine the time is up at any point of the test.
    """
    if COUNTS.intersection(request.fixturenames):
        for cache in (providers_app().configuration._cache, quotas_app().snapshot, chat().announcements):
            monkeypatch.setattr(cache, "_seconds", math.inf)
        monkeypatch.setattr(identities, "SECONDS", math.inf)


@pytest.fixture(autouse=True)
def database_threads_need_the_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse calls in database threads to tests without a database.

    Otherwise such a call fails only where the test before it has left a connection in its thread.
    """
    if request.node.get_closest_marker("django_db") or DATABASE.intersection(request.fixturenames):
        return

    def refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
        raise AssertionError("This test calls a database thread. Mark it with django_db(transaction=True).")

    monkeypatch.setattr(DatabaseExecutor, "submit", refuse)


@pytest.fixture(autouse=True)
def fresh_language() -> Iterator[None]:
    """Deactivate the language after each test, because the test client never does."""
    yield
    translation.deactivate()


@receiver(setting_changed)
def follow_redis_url(setting: str, value: Any, **_kwargs: Any) -> None:
    """Apply a test's REDIS_URL to this process's Redis clients too."""
    if setting == "REDIS_URL":
        runtime().redis.url = value


@pytest.fixture
def log_lines() -> Iterator[list[EventDict]]:
    """The lines that our own code logs during the test, as fields."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def alice(db: None) -> Any:
    """An ordinary user, the owner in most tests."""
    return factories.user("alice")


@pytest.fixture
def bob(db: None) -> Any:
    """Another ordinary user."""
    return factories.user("bob")


@pytest.fixture
def carol(db: None) -> Any:
    """A superuser."""
    return factories.user("carol", is_staff=True, is_superuser=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL server of this run; `postgres.database()` creates an empty database and returns its URL."""
    _need(servers.Postgres)
    with servers.Postgres() as server:
        yield server


@pytest.fixture
def pgbouncer() -> None:
    """Leave the test out where PgBouncer is missing."""
    if servers.find("pgbouncer") is None:
        _missing("PgBouncer is not installed: apt-get install pgbouncer")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.Redis]:
    """A Redis server of this run, without persistence, at `redis_server.url`."""
    _need(servers.Redis)
    with servers.Redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, migrated database for other processes; the test runs once with each kind."""
    if request.param == "postgresql":
        server: servers.Postgres = request.getfixturevalue("postgres")
        return server.migrated_database()
    return servers.migrated_sqlite(tmp_path)


@pytest.fixture(scope="session")
def oracles() -> Path:
    """The environment with the vendors' SDKs, which `tests.oracle` runs in."""
    home = servers.ROOT / ".oracles"
    if not (home / ".installed").exists():
        _missing("The vendors' SDKs are not installed: make oracles")
    return home


def _need(server: type[servers.Postgres | servers.Redis | servers.Node]) -> None:
    if server.missing():
        _missing(f"{server.__name__} is not installed: {server.install}")


def _missing(message: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark tests that use a real server, and order the files of a parallel run.

    `make check` leaves marked tests out. The longest come first and short files without a server last, so that no
    worker waits long for another.
    """
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("server")
    yield
    if hasattr(config, "workerinput"):
        marked = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("soak", "server")}
        items.sort(
            key=lambda item: (
                *(not item.nodeid.startswith(folder) for folder in LONGEST),
                *(item.path not in files for files in marked.values()),
                item.path,
            )
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let no test begin just before a midnight: it would see the figures of two days."""
    if (left := seconds_left(datetime.now(UTC))) < LAST_SECONDS_OF_A_DAY:
        time.sleep(left)


def seconds_left(now: datetime) -> float:
    """Return the seconds until the next midnight in UTC or in TIME_ZONE."""
    zones = (UTC, ZoneInfo(settings.TIME_ZONE))
    days = [datetime.combine(now.astimezone(zone) + timedelta(days=1), datetime.min.time(), zone) for zone in zones]
    return min((day - now).total_seconds() for day in days)


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of garbage collections, each of which would walk through it."""
    gc.collect()
    gc.freeze()


class ByFile(LoadFileScheduling):
    """Deals out file by file. The browser's files are one, so that Chromium and its products start once.

    Recipes share nothing, and each takes as long as a file.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BROWSER):
            return BROWSER
        return nodeid if nodeid.startswith(RECIPES) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_unconfigure() -> None:
    """Delete the folder that `tests.settings` created for this run."""
    made = Path(os.environ.get("VAR_DIR", ""))
    if made.name.startswith("rivulet-tests-"):
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def upstream() -> Iterator[PausedUpstream]:
    """A fake OpenAI-compatible upstream; the model's name selects the scenario."""
    with PausedUpstream.in_thread() as server:
        yield server


@pytest.fixture(scope="session")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product on SQLite, connected to `upstream`, with high limits.

    It is shared, so each test registers its own users.
    """
    with Product(tmp_path_factory.mktemp("product"), **connected(upstream)) as running:
        yield running


@pytest.fixture(scope="session")
def on_postgresql(
    postgres: servers.Postgres, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The same product on PostgreSQL, shared too."""
    with Product(
        tmp_path_factory.mktemp("on-postgresql"), postgres.migrated_database(), **connected(upstream)
    ) as running:
        yield running


@pytest.fixture(scope="session")
def forgetful(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A shared product that keeps ended generations for one second only."""
    variables = {**connected(upstream), "CHANNEL_RETENTION_SECONDS": "1"}
    with Product(tmp_path_factory.mktemp("forgetful"), **variables) as running:
        yield running


@pytest.fixture(params=["product", "on_postgresql"], ids=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest) -> Product:
    """The product on SQLite and on PostgreSQL; the test runs once with each."""
    shared: Product = request.getfixturevalue(request.param)
    return shared


@pytest.fixture
def api_user(product: Product) -> ApiUser:
    """A new user of the shared product."""
    return product.register(f"p{secrets.token_hex(5)}")
