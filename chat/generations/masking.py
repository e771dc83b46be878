"""Mask the earlier turns of a prompt.

Long ones are masked by another thread, before the first attempt. On SQLite there is only one
database thread, and megabytes of text would block all queries for seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

from chat.screening import incoming
from chat.screening.lexicon import Lexicon
from providers.wire.base import PromptMessage

# Characters of a prompt beyond which it is not masked in a database thread.
LARGE_CHARS = 128 * 1024

Messages = tuple[PromptMessage, ...]


def mask(
    lexicon: Lexicon, messages: Messages, executor: Executor | None, *, new: int
) -> tuple[Messages, Callable[[Messages], Awaitable[Messages]] | None]:
    """Return a prompt masked except its last `new` messages.

    A long one comes unmasked, with the function that masks it.
    """
    work = partial(incoming.mask_earlier, lexicon, new=new)
    if lexicon.empty or sum(len(message.content) for message in messages) <= LARGE_CHARS:
        return work(messages), None

    async def later(unmasked: Messages) -> Messages:
        return await asyncio.get_running_loop().run_in_executor(executor, work, unmasked)

    return messages, later
