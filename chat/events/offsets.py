"""Ask the owner process for the last event of a running generation's log.

A reader who was connected to the owner may have more events than have arrived at any other process. Only the owner
knows whether a high event id belongs to such a reader or was made up. Its reply holds only for readers who came before
the question was sent, so each question has a number of its own. A question may be repeated when no reply comes, because
the owner is dead or Redis is away.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable

from runtime.process import ServingProcess
from runtime.pubsub import MISSED, Broker
from runtime.redis_clients import RedisClients

LastOf = Callable[[str], int | None]

# Questions that wait for their replies; the oldest is given up for the next one.
MAX_OPEN_QUESTIONS = 1_000


class Offsets:
    """Asks other processes for the last events of their logs, and serves their questions."""

    def __init__(self, broker: Broker, redis: RedisClients, process: ServingProcess) -> None:
        self._broker, self._redis, self._process = broker, redis, process
        self._numbers = itertools.count(1)
        self._open: OrderedDict[int, Callable[[int], None]] = OrderedDict()

    def serve(self, last_of: LastOf) -> None:
        """Reply to other processes. Repeating is safe.

        `last_of` returns the number of a log's last event, None for a log that this process does not have.
        """

        async def reply(question: bytes) -> None:
            asker, number, generation = question.decode().split(" ")
            last = last_of(generation)
            if last is not None:
                await self._broker.publish(_replies(asker), f"{number} {last}".encode())

        self._broker.serve(_questions(self._process.id), reply)

    def open(self) -> None:
        """Subscribe to replies, some time before the first question. Repeating is safe."""
        self._broker.subscribe(_replies(self._process.id), self._take)

    async def ask(self, owner: str, generation: str, reply: Callable[[int], None]) -> None:
        """Call `reply` with the number of the owner's last event, if the owner replies."""
        if self._redis.away:
            return
        number = next(self._numbers)
        self._open[number] = reply
        if len(self._open) > MAX_OPEN_QUESTIONS:
            self._open.popitem(last=False)
        await self._broker.publish(_questions(owner), f"{self._process.id} {number} {generation}".encode())

    def _take(self, payload: bytes) -> None:
        if payload != MISSED:
            number, last = map(int, payload.split(b" "))
            if reply := self._open.pop(number, None):
                reply(last)


def _questions(owner: str) -> str:
    return f"last-event:{owner}"


def _replies(asker: str) -> str:
    return f"last-event-reply:{asker}"
