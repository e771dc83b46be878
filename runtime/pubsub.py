"""Wake-ups: "look again at this topic", heard by listeners of this process at once, and of others through Redis.

A wake-up carries no truth and may be lost or come twice: what it is about stands in the database or in a log. Whoever
may have missed one is called with `MISSED`: when the listening in Redis begins, and after each time Redis was away. One
connection per process hears for all listeners. Without `REDIS_URL` there is only this process.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from runtime import process, redis_clients

log = structlog.get_logger("runtime")

Callback = Callable[[bytes], None]
Work = Callable[[bytes], Coroutine[Any, Any, None]]

# What a listener is called with that may have missed something: look at the truth.
MISSED = b""
PREFIX = "rivulet:wake:"
# A connection that hears nothing for so long is asked whether it still lives, and given up after as long again.
SILENCE_SECONDS = 2.0
# Between attempts to reach a Redis that is away, and to say again what it did not take.
RETRY_SECONDS = 0.5
# Topics that are said again when Redis is back; past that, listeners learn it from their own reconnecting.
MOST_UNSAID = 10_000

_listeners: dict[str, set[Callback]] = {}
_answerers: dict[str, Callback] = {}
_answering: set[asyncio.Task[None]] = set()
_unsaid: set[str] = set()
_changed = asyncio.Event()
_loop: asyncio.AbstractEventLoop | None = None
_hearing: asyncio.Task[None] | None = None
_repeating: asyncio.Task[None] | None = None


def listen(topic: str, callback: Callback) -> Callable[[], None]:
    """Call `callback` on the event loop with the payload of each wake-up; return what ends that. Repeating is safe."""
    _ensure_hearing()
    if topic not in _listeners:
        _changed.set()
    _listeners.setdefault(topic, set()).add(callback)

    def unlisten() -> None:
        callbacks = _listeners.get(topic, set())
        callbacks.discard(callback)
        if not callbacks and _listeners.pop(topic, None) is not None:
            _changed.set()

    return unlisten


def answer(topic: str, work: Work) -> None:
    """Do `work` with the payload of each wake-up, in a task that belongs to nobody. Repeating is safe.

    It is not called with `MISSED`: whoever asked while this process could not hear asks again.
    """
    listen(topic, _answerers.setdefault(topic, partial(_begin, work)))


def _begin(work: Work, payload: bytes) -> None:
    if payload != MISSED:
        task = asyncio.get_running_loop().create_task(work(payload), context=contextvars.Context())
        _answering.add(task)
        task.add_done_callback(_answering.discard)


async def wake(topic: str, payload: bytes = b"") -> None:
    """Call the listeners of all processes: those here before this returns, those elsewhere once Redis is there."""
    loop = asyncio.get_running_loop()
    if _loop is not None and _loop is not loop and _loop.is_running():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(wake(topic, payload), _loop))
        return
    _deliver(topic, payload)
    if settings.REDIS_URL and not await _say(topic, payload):
        _say_again_later(topic)


async def aclose() -> None:
    """Stop hearing; listeners of this process go on being called."""
    global _hearing, _repeating
    tasks = [task for task in (_hearing, _repeating) if task]
    _hearing = _repeating = None
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _deliver(topic: str, payload: bytes) -> None:
    for callback in list(_listeners.get(topic, ())):
        try:
            callback(payload)
        except Exception:  # one listener's fault is not the others'
            log.exception("wake-up failed", topic=topic)


# --- to other processes ----------------------------------------------------------------------------------------------


async def _say(topic: str, payload: bytes) -> bool:
    message = process.id.encode() + payload
    return await redis_clients.ask(lambda redis: redis.publish(PREFIX + topic, message), None) is not None


def _say_again_later(topic: str) -> None:
    global _repeating
    if len(_unsaid) < MOST_UNSAID:
        _unsaid.add(topic)
    if _repeating is None or _repeating.done():
        _repeating = asyncio.get_running_loop().create_task(_say_again())


async def _say_again() -> None:
    while _unsaid:
        await asyncio.sleep(RETRY_SECONDS)
        while _unsaid and await _say(topic := next(iter(_unsaid)), MISSED):
            _unsaid.discard(topic)


# --- from other processes --------------------------------------------------------------------------------------------


def _ensure_hearing() -> None:
    global _loop, _hearing, _changed
    loop = asyncio.get_running_loop()
    if loop is not _loop:
        _loop, _hearing, _changed = loop, None, asyncio.Event()
    if settings.REDIS_URL and (_hearing is None or _hearing.done()):
        _hearing = loop.create_task(_hear(), name="wake-ups")


async def _hear() -> None:
    """Hear for all listeners, for ever: a connection that fails is followed by the next one."""
    away = False
    while True:
        try:
            async with _connect() as redis, redis.pubsub() as connection:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await connection.subscribe(PREFIX)  # a connection that hears nothing at all cannot be read
                away = False
                await _follow(connection)
        except* (RedisError, OSError, TimeoutError) as errors:
            if not away:
                log.warning("wake-ups from other processes are away", error=type(errors.exceptions[0]).__name__)
            away = True
        except* Exception:  # a fault of ours or of redis-py's must not leave this process deaf
            log.exception("wake-ups failed")
        await asyncio.sleep(RETRY_SECONDS)


def _connect() -> Redis:
    """Return a client for hearing.

    It has no time limit of redis-py's own: that is made with `wait_for`, which can swallow a cancellation. Nor does it
    connect again by itself after any error: both of our tasks would, and one of the two connections would stay behind,
    subscribed to all topics and closed by nobody.
    """
    return redis_clients.connect(connections=1, socket_timeout=None, retry=Retry(NoBackoff(), 0, supported_errors=()))


async def _follow(connection: PubSub) -> None:
    async with asyncio.TaskGroup() as both:
        both.create_task(_receive(connection))
        both.create_task(_subscribe(connection))


async def _subscribe(connection: PubSub) -> None:
    """Keep the topics that are subscribed to those that somebody listens to."""
    subscribed: set[str] = set()
    while True:
        _changed.clear()
        wanted = set(_listeners)
        if added := wanted - subscribed:
            await connection.subscribe(*(PREFIX + topic for topic in added))
        if removed := subscribed - wanted:
            await connection.unsubscribe(*(PREFIX + topic for topic in removed))
        subscribed = wanted
        await _changed.wait()


async def _receive(connection: PubSub) -> None:
    own = process.id.encode()
    silences = 0
    while True:
        message = await connection.get_message(timeout=SILENCE_SECONDS)
        silences = silences + 1 if message is None else 0
        if silences > 1:
            raise RedisConnectionError("silent")
        if message is None:
            await connection.ping()
        elif message["type"] == "subscribe":
            _deliver(_topic(message), MISSED)
        elif message["type"] == "message" and not message["data"].startswith(own):
            _deliver(_topic(message), message["data"][len(own) :])


def _topic(message: dict[str, bytes]) -> str:
    return message["channel"].decode().removeprefix(PREFIX)
