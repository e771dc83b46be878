"""Publish and subscribe between processes: "look again at this topic".

A message carries no truth and may be lost or come twice: the database or an event log holds the truth. Subscribers of
the publishing process are called at once, those of other processes through Redis. One connection per process receives
for all subscribers. Without Redis there is only this process.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from runtime.redis_clients import RedisClients
from runtime.tasks import TaskSet

log = structlog.get_logger("runtime")

Callback = Callable[[bytes], None]
Work = Callable[[bytes], Coroutine[Any, Any, None]]

# The payload for a subscriber that may have missed messages: look at the truth.
MISSED = b""
# Before each topic in the names of Redis channels.
PREFIX = "rivulet:wake:"
# Seconds without a message after which the receiving connection is pinged, and after as long again given up.
SILENCE_SECONDS = 2.0
# Seconds between attempts to reach a Redis that is away, and to send what it did not take.
RETRY_SECONDS = 0.5
# Topics sent again when Redis is back. Past that, subscribers learn of it when they connect again themselves.
MAX_UNSENT_TOPICS = 10_000


class Broker:
    """Topics of one process. All on its event loop, but for `publish`, which any loop may call."""

    def __init__(self, redis: RedisClients, process_id: str) -> None:
        self._redis = redis
        # Before each payload in Redis, to recognize own messages; ids have the same length in all processes.
        self._sender = process_id.encode()
        self._subscribers: dict[str, set[Callback]] = {}
        self._servers: dict[str, Callback] = {}
        self._work = TaskSet()
        self._unsent_topics: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._topics_changed = asyncio.Event()
        self._receiver: asyncio.Task[None] | None = None
        self._resender: asyncio.Task[None] | None = None

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with the payload of each message; return what ends that. Repeating is safe.

        The payload is `MISSED` when Redis begins to deliver, and after each time Redis was away.
        """
        self._ensure_receiver()
        if topic not in self._subscribers:
            self._topics_changed.set()
        self._subscribers.setdefault(topic, set()).add(callback)

        def unsubscribe() -> None:
            callbacks = self._subscribers.get(topic, set())
            callbacks.discard(callback)
            if not callbacks and self._subscribers.pop(topic, None) is not None:
                self._topics_changed.set()

        return unsubscribe

    def serve(self, topic: str, work: Work) -> None:
        """Do `work` with the payload of each message, in a detached task. Repeating is safe.

        Not with `MISSED`: a process whose request was lost asks again.
        """
        self.subscribe(topic, self._servers.setdefault(topic, partial(self._start_work, work)))

    def _start_work(self, work: Work, payload: bytes) -> None:
        if payload != MISSED:
            self._work.start(work(payload))

    async def publish(self, topic: str, payload: bytes = b"") -> None:
        """Call the subscribers of all processes: here before this returns, elsewhere once Redis is there."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop and self._loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.publish(topic, payload), self._loop))
            return
        self._deliver(topic, payload)
        if self._redis.url and not await self._send(topic, payload):
            self._send_later(topic)

    async def aclose(self) -> None:
        """Stop receiving from other processes; subscribers here go on being called by this one."""
        tasks = [task for task in (self._receiver, self._resender) if task]
        self._receiver = self._resender = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _deliver(self, topic: str, payload: bytes) -> None:
        for callback in list(self._subscribers.get(topic, ())):
            try:
                callback(payload)
            except Exception:  # a failing subscriber must not keep the others from being called
                log.exception("subscriber failed", topic=topic)

    # --- to other processes ------------------------------------------------------------------------------------------

    async def _send(self, topic: str, payload: bytes) -> bool:
        message = self._sender + payload
        return await self._redis.ask(lambda redis: redis.publish(PREFIX + topic, message), None) is not None

    def _send_later(self, topic: str) -> None:
        if len(self._unsent_topics) < MAX_UNSENT_TOPICS:
            self._unsent_topics.add(topic)
        if self._resender is None or self._resender.done():
            self._resender = asyncio.get_running_loop().create_task(self._send_unsent())

    async def _send_unsent(self) -> None:
        while self._unsent_topics:
            await asyncio.sleep(RETRY_SECONDS)
            while self._unsent_topics and await self._send(topic := next(iter(self._unsent_topics)), MISSED):
                self._unsent_topics.discard(topic)

    # --- from other processes ----------------------------------------------------------------------------------------

    def _ensure_receiver(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._receiver, self._topics_changed = loop, None, asyncio.Event()
        if self._redis.url and (self._receiver is None or self._receiver.done()):
            self._receiver = loop.create_task(self._receive_for_ever(), name="pubsub")

    async def _receive_for_ever(self) -> None:
        """Receive for all subscribers; open a new connection after each failure."""
        away = False
        while True:
            try:
                async with self._connect() as redis, redis.pubsub() as connection:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        await connection.subscribe(PREFIX)  # redis-py cannot read a connection without a subscription
                    away = False
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._receive(connection))
                        both.create_task(self._follow_topics(connection))
            except* (RedisError, OSError, TimeoutError) as errors:
                if not away:
                    log.warning("pubsub is away", error=type(errors.exceptions[0]).__name__)
                away = True
            except* Exception:  # a bug here or in redis-py must not leave this process without messages
                log.exception("pubsub failed")
            await asyncio.sleep(RETRY_SECONDS)

    def _connect(self) -> Redis:
        """Return a client for receiving.

        It has no time limit of redis-py's own, because that uses `wait_for`, which can swallow a cancellation. Nor does
        it connect again by itself after an error: both tasks would, and one of the two connections would stay behind,
        subscribed to all topics and never closed.
        """
        return self._redis.connect(connections=1, socket_timeout=None, retry=Retry(NoBackoff(), 0, supported_errors=()))

    async def _follow_topics(self, connection: PubSub) -> None:
        """Keep the connection subscribed to exactly the topics that have subscribers here."""
        subscribed: set[str] = set()
        while True:
            self._topics_changed.clear()
            wanted = set(self._subscribers)
            if added := wanted - subscribed:
                await connection.subscribe(*(PREFIX + topic for topic in added))
            if removed := subscribed - wanted:
                await connection.unsubscribe(*(PREFIX + topic for topic in removed))
            subscribed = wanted
            await self._topics_changed.wait()

    async def _receive(self, connection: PubSub) -> None:
        silences = 0
        while True:
            message = await connection.get_message(timeout=SILENCE_SECONDS)
            silences = silences + 1 if message is None else 0
            if silences > 1:
                raise RedisConnectionError("silent")
            if message is None:
                await connection.ping()
            else:
                self._received(message)

    def _received(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._deliver(_topic(message), MISSED)
        elif message["type"] == "message" and not message["data"].startswith(self._sender):
            self._deliver(_topic(message), message["data"][len(self._sender) :])


def _topic(message: dict[str, Any]) -> str:
    return str(message["channel"].decode()).removeprefix(PREFIX)
