"""From the previous release to this one, host by host, while users chat."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
import pytest

from tests import books, servers
from tests.conftest import _missing, _need
from tests.fleet import release
from tests.fleet.hosts import Fleet, need_programs
from tests.fleet.load import Load
from tests.product import ApiUser, Product
from tests.readers import wait_until
from tests.redis_servers import RedisCluster
from tests.servers import find
from tests.upstreams import FakeOpenAI

SOAK = os.environ.get("SOAK") == "1"
USERS, STREAMS, PROMPTS_A_SECOND = (20, 50, 10) if SOAK else (2, 3, 2)

pytestmark = [pytest.mark.server, pytest.mark.soak, pytest.mark.timeout(1800 if SOAK else 300)]


@pytest.fixture(scope="module")
def fleet(
    postgres: servers.Postgres,
    upstream: FakeOpenAI,
    redis_server: servers.Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:
    if release.is_missing():
        _missing(f"This clone lacks the previous release ({release.COMMIT[:12]}): git fetch --unshallow")
    need_programs()
    with (
        servers.Redis() as redis,
        Fleet(tmp_path_factory.mktemp("fleet"), postgres, redis).of_earlier_release(upstream) as running,
    ):
        if SOAK:
            running.fill(users=100_000, conversations=50_000, entries=50_000)
        yield running


@pytest.fixture(scope="module")
def fleet_on_cluster(
    postgres: servers.Postgres, upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Hosts of the first release that knows a Redis Cluster, on one of three nodes."""
    if release.is_missing():
        _missing(f"This clone lacks the previous release ({release.COMMIT[:12]}): git fetch --unshallow")
    need_programs()
    _need(RedisCluster)
    with (
        RedisCluster() as cluster,
        Fleet(tmp_path_factory.mktemp("on-cluster"), postgres, cluster).of_earlier_release(
            upstream, release.ProductWithCluster
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def users(fleet: Fleet) -> list[ApiUser]:
    return [fleet.hosts[0].register(f"user{number}") for number in range(USERS)]


def check(load: Load, fleet: Fleet) -> None:
    """Check that nothing was refused or lost, and that each completion was charged once."""
    assert load.refusals == []
    product = fleet.hosts[0]
    for user, reading in load.readings:
        reading.check()
        row = product.client(user.access).get(f"/api/generations/{reading.generation}/").json()
        assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "stop", reading.text), (
            fleet.lines_of(reading.generation)
        )
        assert row["charge"]["amount"] == 1
    assert books.still_running(fleet.database) == 0
    assert books.wrong_charges(fleet.database) == []


# What stands in each table, and which tables refer to which. `a`: nothing becomes of a row whose other row is deleted.
COLUMNS = """
SELECT table_name, column_name, is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES'
FROM information_schema.columns WHERE table_schema = 'public'
"""
KEYS = """
SELECT conrelid::regclass::text, conname, confrelid::regclass::text, confdeltype
FROM pg_constraint WHERE contype = 'f'
"""


@dataclass(frozen=True)
class Tables:
    """The tables of one release: whether a column may be left out, and where keys without an action lead."""

    columns: dict[tuple[str, str], bool]
    keys: set[tuple[str, str, str]]

    @classmethod
    def of(cls, product: Product) -> Self:
        columns = {(table, column): optional for table, column, optional in product.sql(COLUMNS)}
        keys = {(table, name, to) for table, name, to, action in product.sql(KEYS) if action == "a"}
        return cls(columns, keys)

    @property
    def names(self) -> set[str]:
        return {table for table, _column in self.columns}


@pytest.fixture(scope="module")
def old_tables(fleet: Fleet) -> Tables:
    return Tables.of(fleet.hosts[0])


@pytest.mark.skipif(not SOAK, reason="only in `make soak`; tests/runtime/test_upgrades.py shows the same of one table")
def test_tables_change_beside_a_backup(fleet: Fleet, users: list[ApiUser], old_tables: Tables) -> None:
    """While `pg_dump` reads all tables, `setup` waits and the hosts serve; then it migrates, and they serve too."""
    dump = subprocess.Popen([str(find("pg_dump")), fleet.hosts[0].database_url], stdout=subprocess.PIPE)
    assert dump.stdout
    assert dump.stdout.read(1)  # it has locked all tables, and goes on when it is read
    with Load(fleet.url, users, STREAMS, PROMPTS_A_SECOND) as load:

        def serving() -> None:
            served = load.served
            wait_until(lambda: load.served > served + STREAMS)

        fleet.set_up_beside(dump, serving)
        serving()
    check(load, fleet)
    print(f"{len(load.waits)} prompts were accepted within {max(load.waits):.2f} s")


def test_new_tables_need_nothing_of_the_previous_release(fleet: Fleet, old_tables: Tables) -> None:
    """What it does not know may be left out, and keeps no row of its tables from being deleted."""
    new = Tables.of(fleet.old_host)
    assert old_tables.columns.keys() <= new.columns.keys()
    added = {place: optional for place, optional in new.columns.items() if place[0] in old_tables.names}
    required = {place for place, optional in added.items() if not (optional or place in old_tables.columns)}
    assert required == set()
    assert {key for key in new.keys - old_tables.keys if key[2] in old_tables.names} == set()


def test_the_previous_release_goes_on_with_the_new_tables(fleet: Fleet) -> None:
    """Sign-up, login, chat, tokens, codes, all pages of the administration, and the deletion of a user."""
    old = fleet.old_host
    person = old.register("person")
    assert old.log_in("person").status_code == 200
    assert person.answer("Hello", "prompt")[-1].name == "done"
    conversation = person.client.get("/api/conversations/").json()["results"][0]["id"]
    answer = person.messages(conversation)[-1]["id"]
    again = person.client.post(f"/api/messages/{answer}/regenerate/", json={}).json()["generation"]["id"]
    assert person.ended(again)["status"] == "completed"
    assert person.client.post("/api/tokens/", json={"name": "laptop"}).status_code == 201
    exported = person.client.get("/api/export/").json()
    assert person.client.post("/api/import/", json=exported).status_code == 201
    assert old.browser("person").get("/usage/").status_code == 200
    staff = old.browser("admin")
    _make_rows(staff, old)
    ((code,),) = old.sql("SELECT code FROM quotas_redeemcode ORDER BY id DESC LIMIT 1")
    assert person.client.post("/api/redeem/", json={"code": code}).json()["credits"] == 7
    pages = sorted(set(re.findall(r'href="(/admin/\w+/\w+/)"', staff.get("/admin/").text)))
    assert len(pages) > 15
    assert {page: staff.get(page).status_code for page in pages} == dict.fromkeys(pages, 200)
    old.register("unused")
    ((user,),) = old.sql("SELECT id FROM accounts_user WHERE username = 'unused'")
    # As a host of this release leaves them.
    columns = "user_id, ip, session_key, created_at, last_seen_at, user_agent, data"
    values = "?, '10.0.0.1', 'k', now(), now(), '', '{}'"
    old.sql(f"INSERT INTO usersessions_usersession ({columns}) VALUES ({values})", user)
    columns = "user_id, word_id, direction, created_at, verdict, reviewed_by_id"
    reviewed = f"INSERT INTO chat_hit ({columns}) SELECT id, 1, 'input', now(), 'harmless', ? FROM accounts_user"
    old.sql(f"{reviewed} WHERE username = 'admin'", user)
    _post(staff, f"/admin/accounts/user/{user}/delete/", post="yes")
    assert old.sql("SELECT count(*) FROM accounts_user WHERE id = ?", user) == [(0,)]
    assert old.sql("SELECT reviewed_by_id FROM chat_hit WHERE verdict = 'harmless'") == [(None,)]


def _make_rows(staff: httpx.Client, product: Product) -> None:
    """Store a group, a sensitive word, a text tool and redeem codes through the administration."""
    ((quota,),) = product.sql("SELECT id FROM quotas_quota WHERE slug = 'standard'")
    _post(staff, "/admin/auth/group/add/", name="course")
    _post(staff, "/admin/chat/sensitiveword/add/", word="zzyzx", action="block", scope="both", enabled="on")
    _post(staff, "/admin/quotas/redeembatch/add/", quota=quota, credits=7, count=1, note="fair")


def _post(staff: httpx.Client, path: str, **fields: Any) -> None:
    """Send a form of the administration, which must be accepted."""
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', staff.get(path).text)
    assert token, path
    done = staff.post(path, data={**fields, "csrfmiddlewaretoken": token[1]}, headers={"Referer": str(staff.base_url)})
    assert done.status_code == 200
    assert done.url.path != path, re.findall(r"(?s)errorlist.*?</ul>", done.text)


def test_hosts_are_replaced_in_turn(fleet: Fleet, users: list[ApiUser]) -> None:
    """No request fails, no completion is lost, each is charged once."""
    replace_all(fleet, users)


@pytest.mark.skipif(not SOAK, reason="only in `make soak`; the hosts of the test above have one Redis")
def test_hosts_on_a_redis_cluster_are_replaced_in_turn(fleet_on_cluster: Fleet) -> None:
    """The same with a Redis Cluster, from the first release that knows one."""
    replace_all(fleet_on_cluster, [fleet_on_cluster.hosts[0].register(f"user{number}") for number in range(USERS)])


def replace_all(fleet: Fleet, users: list[ApiUser]) -> None:
    """Replace host after host under load."""
    old_hosts = range(len(fleet.hosts))
    with Load(fleet.url, users, STREAMS, PROMPTS_A_SECOND) as load:
        if len(old_hosts) == 1:
            fleet.add()
        for number in old_hosts:
            fleet.replace(number)
            served = load.served
            wait_until(lambda served=served: load.served > served + STREAMS)
    check(load, fleet)
    print(f"{len(load.readings)} completions; prompts were accepted within {max(load.waits):.2f} s")
