"""Stages between a provider's events and the channel: async generators from events to events, composed like pipes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from providers.wire.base import Delta, Event, Finished, Reasoning, ToolCallDelta, Withdrawn


async def limited(events: AsyncGenerator[Event, None], max_chars: int) -> AsyncGenerator[Event, None]:
    """End an answer that reaches `max_chars` characters, reasoning included, with `length`; the upstream is closed."""
    left = max_chars
    async with aclosing(events) as source:
        async for event in source:
            if isinstance(event, Delta | Reasoning):
                # NUL is text to nobody, and PostgreSQL would refuse the whole answer for it.
                text = event.text.replace("\0", "")
                if not text:
                    continue
                if len(text) >= left:
                    yield type(event)(text[:left])
                    yield Finished("length")
                    return
                left -= len(text)
                yield event if len(text) == len(event.text) else type(event)(text)
            else:
                if isinstance(event, ToolCallDelta):
                    left -= len(event.json)
                    if left <= 0:  # a piece of JSON cannot be cut
                        yield Finished("length")
                        return
                elif isinstance(event, Withdrawn):
                    left = max_chars
                yield event
