"""Ask the owner process for a copy of a generation's log, and its last event.

An owner that is asked writes the log to Redis from then on. Most logs have no reader elsewhere, so nothing of them goes
to Redis. Only the owner knows whether a high event id belongs to a reader who was connected to it, or was made up. Its
reply holds only for readers who came before the question was sent, so each question has a number of its own. A question
may be repeated when no reply comes, because the owner is dead or Redis is away.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable

from runtime.process import ServingProcess
from runtime.pubsub import MISSED, Broker
from runtime.redis_clients import RedisClients

# Topics: questions to a process, and the replies to its own.
_QUESTIONS, _REPLIES = "last-event:{}", "last-event-reply:{}"
# Questions that wait for their replies; the oldest is given up for the next one.
MAX_OPEN_QUESTIONS = 1_000


class Offsets:
    """Asks other processes for the last events of their logs, and serves their questions."""

    def __init__(self, broker: Broker, redis: RedisClients, process: ServingProcess) -> None:
        self._broker, self._redis, self._process = broker, redis, process
        self._numbers = itertools.count(1)
        self._open: OrderedDict[int, Callable[[int], None]] = OrderedDict()

    def serve(self, last_of: Callable[[str], int | None]) -> None:
        """Reply to other processes with `last_of` a log, which it shares. Repeating is safe."""

        async def reply(question: bytes) -> None:
            asker, number, generation = question.decode().split(" ")
            if (last := last_of(generation)) is not None:
                await self._broker.publish(_REPLIES.format(asker), f"{number} {last}".encode())

        self._broker.serve(_QUESTIONS.format(self._process.id), reply)

    def open(self) -> None:
        """Subscribe to replies, some time before the first question. Repeating is safe."""
        self._broker.subscribe(_REPLIES.format(self._process.id), self._take)

    def owns(self, process: str) -> bool:
        """Return whether a process is this one."""
        return process == self._process.id

    async def ask(self, owner: str, generation: str, reply: Callable[[int], None]) -> bool:
        """Call `reply` with the number of the owner's last event, if the owner replies.

        Returns False when there is no such process any more, or no Redis to reach it.
        """
        if self._redis.away:
            return False
        number = next(self._numbers)
        self._open[number] = reply
        if len(self._open) > MAX_OPEN_QUESTIONS:
            self._open.popitem(last=False)
        question = f"{self._process.id} {number} {generation}".encode()
        return await self._broker.publish(_QUESTIONS.format(owner), question)

    def _take(self, payload: bytes) -> None:
        if payload != MISSED:
            number, last = map(int, payload.split(b" "))
            if reply := self._open.pop(number, None):
                reply(last)
