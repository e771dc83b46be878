"""The payment example: what a shop would push to a waiting page, in two seconds."""

import asyncio
import time
from collections.abc import Iterator

import structlog

from chat.channels import push
from runtime.tasks import TaskSet
from web.refusals import Refusal

log = structlog.get_logger("chat")

STEPS = ("created", "paying", "paid")
# Seconds between two events, so that the whole example takes two seconds.
PAUSE_SECONDS = 2.0 / len(STEPS)


def play(username: str, key: str) -> Iterator[str]:
    """Push step by step and yield the id of each event; blocks between the steps."""
    for step in STEPS:
        yield push.send(username, key, {"status": step}, step)
        time.sleep(PAUSE_SECONDS)
    yield push.complete(username, key)


class PaymentDemo:
    """Play the payment example in the background and own the tasks that do."""

    def __init__(self) -> None:
        self._tasks = TaskSet()

    async def start(self, username: str, key: str) -> None:
        """Push the first step, then play the others in a task; raises ChannelEnded."""
        await push.asend(username, key, {"status": STEPS[0]}, STEPS[0])
        self._tasks.start(_play_rest(username, key))

    async def finish(self) -> None:
        """Wait for the running examples, because a deployment must not leave a payment half paid."""
        await self._tasks.wait()


async def _play_rest(username: str, key: str) -> None:
    try:
        for step in STEPS[1:]:
            await asyncio.sleep(PAUSE_SECONDS)
            await push.asend(username, key, {"status": step}, step)
        await asyncio.sleep(PAUSE_SECONDS)
        await push.acomplete(username, key)
    except Refusal as refusal:  # another publisher ended the channel, or the user was disabled
        log.info("payment example stopped", code=refusal.code)
