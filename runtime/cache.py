"""Django's cache on Redis, with a fallback to this process's memory.

Login limits are counted in this cache, and go on being counted while Redis is down. Each process then counts by itself,
so a limit lets through its full number of attempts in every process; no user is refused for it.
"""

from functools import partialmethod
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django_redis.cache import RedisCache
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.apps import runtime
from runtime.redis_clients import REPLY_SECONDS

_OPTIONS = {
    "SOCKET_CONNECT_TIMEOUT": REPLY_SECONDS,
    "SOCKET_TIMEOUT": REPLY_SECONDS,
    # All threads share one connection, so that a process has few in total; a caller waits `timeout` seconds for it.
    "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
    "CONNECTION_POOL_KWARGS": {"max_connections": 1, "timeout": REPLY_SECONDS},
    # JSON instead of pickle: reading a value from Redis must not create Python objects.
    "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
}


class FallbackCache(BaseCache):
    """Use django-redis while Redis replies, else the local memory cache; copy nothing between them."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._shared = RedisCache(location, {**params, "OPTIONS": _OPTIONS})
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
            self._shared.delete_pattern("*")
            runtime().redis.succeeded()
