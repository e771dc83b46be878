"""The payment example: what a shop's server would push to the page that waits for a payment, played in two seconds."""

import asyncio
import time
from collections.abc import Iterator

import structlog

from chat.channels import push
from web.refusals import Refusal

log = structlog.get_logger("chat")

STEPS = ("created", "paying", "paid")
SECONDS = 2.0
PAUSE_SECONDS = SECONDS / len(STEPS)

_playing: set[asyncio.Task[None]] = set()


def play(username: str, key: str) -> Iterator[str]:
    """Push step by step and yield the id of each event; waits between them."""
    for step in STEPS:
        yield push.send(username, key, {"status": step}, step)
        time.sleep(PAUSE_SECONDS)
    yield push.complete(username, key)


async def start(username: str, key: str) -> None:
    """Push the first step and play on when this has returned; raises ChannelEnded."""
    await push.asend(username, key, {"status": STEPS[0]}, STEPS[0])
    task = asyncio.create_task(_play_on(username, key))
    _playing.add(task)
    task.add_done_callback(_playing.discard)


async def _play_on(username: str, key: str) -> None:
    try:
        for step in STEPS[1:]:
            await asyncio.sleep(PAUSE_SECONDS)
            await push.asend(username, key, {"status": step}, step)
        await asyncio.sleep(PAUSE_SECONDS)
        await push.acomplete(username, key)
    except Refusal as refusal:  # somebody else ended the channel, or the person was disabled
        log.info("payment example stopped", code=refusal.code)


async def play_out() -> None:
    """Wait until all that was begun here has ended: a deployment must not leave a payment half paid."""
    await asyncio.gather(*_playing, return_exceptions=True)
