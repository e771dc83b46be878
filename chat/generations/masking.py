"""Screen the new texts of a prompt, and mask its earlier turns.

Long turns are masked by another thread, before the first attempt. On SQLite there is only one
database thread, and megabytes of text would block all queries for seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

from django.conf import settings

from chat.generations.request import GenerationRequest
from chat.screening import incoming
from chat.screening.incoming import Screened
from chat.screening.lexicon import Lexicon
from providers.wire.base import PromptMessage

# Characters of a prompt beyond which it is not masked in a database thread.
LARGE_CHARS = 128 * 1024
# The same where there are patterns, which cost several times as much.
LONG_CHARS = 8 * 1024

Messages = tuple[PromptMessage, ...]


def is_long(request: GenerationRequest) -> bool:
    """Return whether its new texts are too long for patterns in a database thread.

    Texts that will be refused for their length need not be screened.
    """
    lengths = len(request.prompt), len(request.system_prompt or "")
    return sum(lengths) > LONG_CHARS and (request.is_api_call or max(lengths) <= settings.MAX_PROMPT_CHARS)


def screen_new(lexicon: Lexicon, request: GenerationRequest) -> Screened:
    """Screen the caller's new texts; the system prompt of a preset is only masked."""
    system_prompt = request.system_prompt or ""
    if not request.has_preset_prompt:
        return incoming.screen(lexicon, request.prompt, system_prompt)
    own = incoming.screen(lexicon, request.prompt)
    return replace(own, texts=(*own.texts, *incoming.screen(lexicon, system_prompt).texts))


def mask(
    lexicon: Lexicon, messages: Messages, executor: Executor | None, *, new: int
) -> tuple[Messages, Callable[[Messages], Awaitable[Messages]] | None]:
    """Return a prompt masked except its last `new` messages.

    A long one comes unmasked, with the function that masks it.
    """
    work = partial(incoming.mask_earlier, lexicon, new=new)
    most = LONG_CHARS if lexicon.has_patterns else LARGE_CHARS
    if lexicon.empty or sum(len(message.content) for message in messages) <= most:
        return work(messages), None

    async def later(unmasked: Messages) -> Messages:
        return await asyncio.get_running_loop().run_in_executor(executor, work, unmasked)

    return messages, later
