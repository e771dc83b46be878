"""Two processes of the product on one database and one Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product
from tests.readers import Reading, wait_until

# Deltas of a completion that the test lets go on, and how many of them come last.
STEPS, LAST_STEPS = 80, 30


@dataclass(frozen=True)
class Pair:
    """Two processes, and the servers below them; only these use the Redis. Alice has an account."""

    first: Product
    second: Product
    postgres: servers.Postgres
    redis: servers.Redis
    alice: ApiUser

    @property
    def alice_there(self) -> ApiUser:
        return ApiUser(self.second, self.alice.name, self.alice.access, self.alice.refresh)


@dataclass
class Steps:
    """A completion whose deltas wait for the test, and its readers: at the process that makes it, and elsewhere."""

    upstream: PausedUpstream
    prompt: str
    here: Reading
    there: Reading
    # How many of its deltas may have come, beside the first.
    gone: int = 0

    @staticmethod
    def prompt_of(name: str) -> str:
        """Return a prompt for the model `paused`; the name is its own."""
        return PAUSE.join([f"{name} ", *(f"{number} " for number in range(STEPS))])

    def go_on(self, count: int, *, elsewhere: bool = True) -> None:
        """Let so many deltas come, and wait for them."""
        self.gone += count
        expected = "".join(self.prompt.split(PAUSE)[: self.gone + 1])
        self.upstream.go_on(self.prompt, count)
        # Several may come as one event.
        wait_until(lambda: self.here.text == expected)
        wait_until(lambda: self.there.text == expected or not elsewhere)

    def end(self, pair: Pair) -> int:
        """Let it go on when Redis is back: until the reader elsewhere gets events from there again, then to its end.

        Return how many events that reader had then.
        """
        both = [process.client() for process in (pair.first, pair.second)]
        wait_until(lambda: {client.get("/readyz").json()["status"] for client in both} == {"ok"})
        for _step in range(LAST_STEPS // 2):
            self.go_on(1)
            if self.there.events[-1].name == "message":
                break
        count = len(self.there.events)
        self.upstream.go_on(self.prompt, STEPS)
        return count


@contextmanager
def started(postgres: servers.Postgres, folder: Path, **variables: str) -> Iterator[Pair]:
    """Start a pair with these variables on a fresh database of this server."""
    database = postgres.migrated_database()
    with servers.Redis() as redis:
        both = {**variables, "REDIS_URL": redis.url}
        with Product(folder, database, **both) as first, Product(folder, database, is_set_up=True, **both) as second:
            yield Pair(first, second, postgres, redis, first.register("alice"))
