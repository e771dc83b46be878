"""Django's cache on Redis, with this process's memory to fall back on: counts behind login limits go on without Redis.

Two processes then count apart, so a limit may let through as many attempts in each of them; nobody is refused for it.
"""

from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django_redis.cache import RedisCache
from redis.exceptions import ConnectionError as AwayError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as FrozenError

from runtime.apps import runtime
from runtime.redis_clients import REPLY_SECONDS

# All threads share one connection: with those of clients.py a process has few. Nobody waits long for it.
_POOL = {"max_connections": 1, "timeout": REPLY_SECONDS}
_OPTIONS = {
    "SOCKET_CONNECT_TIMEOUT": REPLY_SECONDS,
    "SOCKET_TIMEOUT": REPLY_SECONDS,
    "CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool",
    "CONNECTION_POOL_KWARGS": _POOL,
    # What is read back is data, never an object to be made.
    "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
}


class FallbackCache(BaseCache):
    """django-redis while Redis answers, Django's local memory cache while it does not; nothing is copied in between."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._shared = RedisCache(location, {**params, "OPTIONS": _OPTIONS})
        self._local = LocMemCache("fallback", {**params, "OPTIONS": {"MAX_ENTRIES": 100_000}})

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        if runtime().redis.may_ask():
            try:
                answer = getattr(self._shared, method)(*arguments, **options)
            except (AwayError, FrozenError, OSError) as error:
                runtime().redis.failed(error)
            except (ResponseError, ValueError):
                runtime().redis.succeeded()  # it is there, and refuses, or holds what we did not put there
            else:
                runtime().redis.succeeded()
                return answer
        return getattr(self._local, method)(*arguments, **options)

    def add(self, *arguments: Any, **options: Any) -> bool:
        return bool(self._ask("add", *arguments, **options))

    def get(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("get", *arguments, **options)

    def set(self, *arguments: Any, **options: Any) -> None:
        self._ask("set", *arguments, **options)

    def touch(self, *arguments: Any, **options: Any) -> bool:
        return bool(self._ask("touch", *arguments, **options))

    def delete(self, *arguments: Any, **options: Any) -> bool:
        return bool(self._ask("delete", *arguments, **options))

    def incr(self, *arguments: Any, **options: Any) -> int:
        return int(self._ask("incr", *arguments, **options))

    def has_key(self, *arguments: Any, **options: Any) -> bool:
        return bool(self._ask("has_key", *arguments, **options))

    def clear(self) -> None:
        """Take away what is the cache's own: others keep things in the same Redis, which django-redis would flush."""
        self._local.clear()
        if runtime().redis.may_ask():
            self._shared.delete_pattern("*")
            runtime().redis.succeeded()
