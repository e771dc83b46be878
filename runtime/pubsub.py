"""Publish and subscribe between processes, with messages that only say "read this topic again".

A message may be lost or delivered twice, so subscribers read the state itself from the database or an event log.
Subscribers of the publishing process are called at once, those of other processes through Redis. One connection per
process, on a cluster one to each primary, receives for all its subscribers. Without Redis, messages stay in the
process.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from runtime.redis_clients import RedisClients
from runtime.subscriptions import Subscriptions, subscriptions
from runtime.tasks import TaskSet

log = structlog.get_logger("runtime")

Callback = Callable[[bytes], None]
Work = Callable[[bytes], Coroutine[Any, Any, None]]

# The payload for a subscriber that may have missed messages: it must read the state again.
MISSED = b""
# Prefix of all Redis channels used here, before the topic.
PREFIX = "rivulet:wake:"
# Seconds without a message until the receiving connection is pinged; after as many again it is replaced.
SILENCE_SECONDS = 2.0
# Seconds between attempts to reconnect to Redis, and to send unsent topics.
RETRY_SECONDS = 0.5
# Topics that are sent again when Redis is back. Subscribers of further topics get `MISSED` when they reconnect.
MAX_UNSENT_TOPICS = 10_000


class Broker:
    """Topics of one process; only `publish` may be called outside the serving loop."""

    def __init__(self, redis: RedisClients, process_id: str) -> None:
        self._redis = redis
        # Prefix of each payload in Redis, to recognize own messages; ids have the same length in all processes.
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
        """Call `callback` with each message's payload; return the function that unsubscribes.

        The payload is `MISSED` when Redis begins to deliver, and after each interruption. Repeating is safe.
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

        `MISSED` is ignored, because a process whose request was lost repeats it.
        """

        def start_work(payload: bytes) -> None:
            if payload != MISSED:
                self._work.start(work(payload))

        self.subscribe(topic, self._servers.setdefault(topic, start_work))

    async def publish(self, topic: str, payload: bytes = b"") -> bool:
        """Call the subscribers of this process before returning, and others through Redis.

        Returns False when there is none, as far as Redis knows.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop and self._loop.is_running():
            there = asyncio.run_coroutine_threadsafe(self.publish(topic, payload), self._loop)
            return await asyncio.wrap_future(there)
        subscribers = len(self._subscribers.get(topic, ()))
        self._deliver(topic, payload)
        elsewhere = await self._send(topic, payload) if self._redis.url else 0
        if elsewhere is None:
            if len(self._unsent_topics) < MAX_UNSENT_TOPICS:
                self._unsent_topics.add(topic)
            if self._resender is None or self._resender.done():
                self._resender = loop.create_task(self._send_unsent())
        return bool(subscribers or elsewhere)

    async def aclose(self) -> None:
        """Stop receiving from other processes; `publish` still calls subscribers of this process."""
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

    async def _send(self, topic: str, payload: bytes) -> int | None:
        """Return how many processes subscribe to the topic; None while Redis is away."""
        message = self._sender + payload
        return await self._redis.ask(lambda redis: redis.publish(PREFIX + topic, message), None)

    async def _send_unsent(self) -> None:
        while self._unsent_topics:
            await asyncio.sleep(RETRY_SECONDS)
            while self._unsent_topics:
                topic = next(iter(self._unsent_topics))
                if await self._send(topic, MISSED) is None:
                    break
                self._unsent_topics.discard(topic)

    def _ensure_receiver(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._receiver, self._topics_changed = loop, None, asyncio.Event()
        if self._redis.url and (self._receiver is None or self._receiver.done()):
            self._receiver = loop.create_task(self._receive_for_ever(), name="pubsub")

    async def _receive_for_ever(self) -> None:
        """Receive for all subscribers; open a new connection after each failure."""
        disconnected = False
        while True:
            try:
                # No socket timeout, because redis-py's uses `wait_for`, which can swallow a cancellation. redis-py does
                # not reconnect either: both tasks would, and one of the two connections would never be closed.
                client = self._redis.connect(1, socket_timeout=None, retry=Retry(NoBackoff(), 0, supported_errors=()))
                async with client, AsyncExitStack() as stack:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        receiving = await stack.enter_async_context(subscriptions(client, PREFIX))
                    disconnected = False
                    async with asyncio.TaskGroup() as tasks:
                        for connection in receiving.connections:
                            tasks.create_task(self._receive(receiving, connection))
                        tasks.create_task(self._follow_topics(receiving))
            except* (RedisError, OSError, TimeoutError) as errors:
                if not disconnected:
                    error = type(errors.exceptions[0]).__name__
                    log.warning("pubsub connection lost, reconnecting", error=error)
                disconnected = True
            except* Exception:  # a bug here or in redis-py must not leave this process without messages
                log.exception("pubsub failed, reconnecting")
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_topics(self, receiving: Subscriptions) -> None:
        """Keep the connections subscribed to exactly the topics that have subscribers here."""
        subscribed: set[str] = set()
        while True:
            self._topics_changed.clear()
            wanted = set(self._subscribers)
            if added := wanted - subscribed:
                await receiving.subscribe([PREFIX + topic for topic in added])
            if removed := subscribed - wanted:
                await receiving.unsubscribe([PREFIX + topic for topic in removed])
            subscribed = wanted
            await self._topics_changed.wait()

    async def _receive(self, receiving: Subscriptions, connection: PubSub) -> None:
        silences = 0
        while True:
            message = await connection.get_message(timeout=SILENCE_SECONDS)
            silences = silences + 1 if message is None else 0
            if silences > 1:
                raise RedisConnectionError("no reply to a ping")
            if message is None:
                await connection.ping()
            else:
                receiving.check(connection, message)
                self._handle(message)

    def _handle(self, message: dict[str, Any]) -> None:
        begins = message["type"] in {"subscribe", "ssubscribe"}
        data = message["data"]
        if begins or (message["type"] in {"message", "smessage"} and not data.startswith(self._sender)):
            topic = message["channel"].decode().removeprefix(PREFIX)
            self._deliver(topic, MISSED if begins else data[len(self._sender) :])
