"""Two processes of the product on one database and one Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.product import ApiUser, Product


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


@contextmanager
def started(postgres: servers.Postgres, folder: Path, **variables: str) -> Iterator[Pair]:
    """Start a pair with these variables on a fresh database of this server."""
    database = postgres.migrated_database()
    with servers.Redis() as redis:
        both = {**variables, "REDIS_URL": redis.url}
        with Product(folder, database, **both) as first, Product(folder, database, is_set_up=True, **both) as second:
            yield Pair(first, second, postgres, redis, first.register("alice"))
