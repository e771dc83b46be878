"""Django's cache on Redis, with a fallback to this process's memory.

Login limits are counted in this cache, and go on being counted while Redis is down. Each process then counts by itself,
so a limit lets through its full number of attempts in every process; no user is refused for it.
"""

from functools import partialmethod
from typing import Any

import redis
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django_redis.cache import RedisCache
from django_redis.pool import ConnectionFactory
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.apps import runtime
from runtime.redis_cluster import BlockingClusterClient


class Connections(ConnectionFactory):  # type: ignore[misc]
    """Gives django-redis the client that all threads of the process share."""

    def connect(self, url: str) -> redis.Redis:
        return runtime().redis.for_threads()

    def disconnect(self, connection: redis.Redis) -> None:
        connection.close()


_OPTIONS = {
    "CONNECTION_FACTORY": "runtime.cache.Connections",
    # JSON instead of pickle: reading a value from Redis must not create Python objects.
    "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
}


class FallbackCache(BaseCache):
    """Use django-redis while Redis replies, else the local memory cache; copy nothing between them."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        # A list, because django-redis would cut the URL of a cluster at its commas.
        self._shared = RedisCache([location], {**params, "OPTIONS": _OPTIONS})
        self._local = LocMemCache("fallback", {**params, "OPTIONS": {"MAX_ENTRIES": 100_000}})

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if runtime().redis.may_ask():
            try:
                reply = getattr(self._shared, method)(*arguments, **options)
            except (RedisConnectionError, RedisTimeoutError, OSError) as error:
                runtime().redis.failed(error)
            except (ResponseError, ValueError):
                runtime().redis.succeeded()  # Redis replied, but with an error, or with a value of another program
            else:
                runtime().redis.succeeded()
                return reply
        return getattr(self._local, method)(*arguments, **options)

    add = partialmethod(_call, "add")
    get = partialmethod(_call, "get")
    set = partialmethod(_call, "set")
    touch = partialmethod(_call, "touch")
    delete = partialmethod(_call, "delete")
    incr = partialmethod(_call, "incr")
    has_key = partialmethod(_call, "has_key")

    def clear(self) -> None:
        """Delete the cache's own keys only.

        Because other parts of the product use the same Redis, whose whole database django-redis would flush.
        """
        self._local.clear()
        if runtime().redis.may_ask():
            pattern = self._shared.client.make_pattern("*")
            client = runtime().redis.for_threads()
            for server in client.primaries() if isinstance(client, BlockingClusterClient) else [client]:
                for key in server.scan_iter(match=pattern):
                    server.delete(key)
            runtime().redis.succeeded()
