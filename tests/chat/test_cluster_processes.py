"""Two processes on a Redis Cluster of three nodes: read, stop, count and push across them; a node is killed."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from tests.chat.pushes import Reader, new_key
from tests.chat.test_push import finish, publish
from tests.conftest import _need
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, text_of
from tests.readers import Reading, wait_until
from tests.redis_servers import RedisCluster
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

LIMIT = 3
# Connections of a process to each node, whatever the number of readers.
MOST_CONNECTIONS = 5


@dataclass(frozen=True)
class Pair:
    """Two processes on one database and one cluster."""

    first: Product
    second: Product
    cluster: RedisCluster


@pytest.fixture(scope="module")
def pair(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    _need(RedisCluster)
    with RedisCluster() as cluster:
        folder = tmp_path_factory.mktemp("pair")
        variables = {
            **connected(upstream, steady="paced:80:50"),
            "REDIS_URL": cluster.url,
            "DAILY_LIMIT_STANDARD": str(LIMIT),
            "API_REQUESTS_PER_MINUTE": "2",
            # Without a notification no event would come as long as a test waits.
            "IMPATIENCE": "chat.channels.feeds.POLL_SECONDS=600",
        }
        with (
            Product(folder, **variables) as first,
            Product(folder, is_set_up=True, **variables) as second,
        ):
            yield Pair(first, second, cluster)


def at(product: Product, api_user: ApiUser) -> ApiUser:
    """Return the same user at another process."""
    return ApiUser(product, api_user.name, api_user.access, api_user.refresh)


def test_read_and_stopped_at_the_other_process(pair: Pair, upstream: PausedUpstream) -> None:
    """A reader elsewhere gets the same events while they come; `stop` elsewhere ends the generation."""
    alice = pair.first.register("alice")
    there = at(pair.second, alice)
    prompt = f"Read {PAUSE}elsewhere in a cluster"
    generation = alice.ask(prompt, "paused")["id"]
    with there.following(generation) as (_status, stream):
        events = [next(stream) for _ in range(2)]
        upstream.go_on(prompt)
        events += stream
    assert "reset" not in {event.name for event in events}
    assert events == alice.follow(generation)
    for node in pair.cluster.nodes:
        with redis.Redis(port=node.port) as client:
            wait_until(lambda client=client: len(client.client_list()) > 1)
            assert len(client.client_list()) - 1 <= 2 * MOST_CONNECTIONS
    running = alice.ask("Hello", "endless")["id"]
    assert there.stop(running)["finish_reason"] == "cancelled"


def test_counted_for_both_processes(pair: Pair) -> None:
    """Used units show at the other process at once; calls of /v1 and failed logins count together."""
    bob = pair.first.register("bob")
    there = at(pair.second, bob)
    for used in range(1, LIMIT + 1):
        bob.answer("Hello", "plain")
        assert (there.quota()["used_today"], bob.quota()["remaining"]) == (used, LIMIT - used)
    bob_id = bob.client.get("/api/me/").json()["id"]
    refused = there.client.post("/api/chat/", json={"model": "plain", "prompt": "Hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exhausted")
    with pair.cluster.client() as client:
        names = [name.decode() for name in client.scan_iter("rivulet:quota:*")]
    assert [name for name in names if name.startswith(f"rivulet:quota:{{{bob_id}}}:")]
    calls = [
        one.client.post("/v1/chat/completions", json={"model": "plain", "messages": [{"role": "user", "content": "x"}]})
        for one in (bob, there, bob)
    ]
    assert [call.json()["error"]["code"] for call in calls] == [
        "insufficient_quota",
        "insufficient_quota",
        "rate_limit_exceeded",
    ]
    guesses = [product.log_in("bob", "wrong").status_code for product in (pair.first, pair.second) * 3]
    assert guesses == [401] * 5 + [429]


def test_pushed_at_one_process_and_read_at_the_other(pair: Pair) -> None:
    shop, carol = pair.first.admin(), pair.second.register("carol")
    key = new_key()
    with Reader(carol, key) as reader:
        for number in range(3):
            publish(shop, carol, key, number)
        reader.wait_for(3)
        finish(shop, carol, key)
    assert [event.data for event in reader.events[:3]] == ["0", "1", "2"]


def test_a_killed_node_costs_no_completion(pair: Pair, upstream: PausedUpstream) -> None:
    """Readers at both processes get the whole text while a node is away, and live events after it is back."""
    dave = pair.first.register("dave")
    there = at(pair.second, dave)
    words = [f"Word {number} of a killed node " for number in range(4)]
    prompt = PAUSE.join(words)
    generation = dave.ask(prompt, "paused")["id"]
    elsewhere = Reading(generation)
    with there.following(generation) as (_status, stream):
        elsewhere.events += [next(stream) for _event in range(2)]
        node = pair.cluster.owner(f"rivulet:events:{generation}")
        node.kill()
        for word in words[1:]:
            upstream.go_on(prompt)
            while word not in elsewhere.text:
                elsewhere.events.append(next(stream))
        elsewhere.events += stream
    elsewhere.check()
    here = dave.follow(generation)
    assert (elsewhere.events[-1].name, here[-1].name) == ("done", "done")
    assert elsewhere.text == text_of(here) == dave.generation(generation)["content"]
    assert dave.quota()["used_today"] == 1
    wait_until(lambda: pair.second.client().get("/readyz").json()["status"] == "degraded")
    node.start()
    for product in (pair.first, pair.second):
        wait_until(lambda product=product: product.client().get("/readyz").json()["status"] == "ok")

    def is_live() -> bool:
        user = pair.first.register(f"later{secrets.token_hex(5)}")
        generation = user.ask("Hello", "steady")["id"]
        return "reset" not in {event.name for event in at(pair.second, user).follow(generation)}

    wait_until(is_live)  # the processes subscribe again soon after the node answers
    assert "Traceback" not in pair.first.output + pair.second.output
