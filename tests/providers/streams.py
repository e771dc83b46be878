"""Helpers shared by the tests of providers: a request, reading a stream to its end, and waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from providers.wire.base import ChatRequest, Clocks, Delta, Event, PromptMessage, Reasoning

# Seconds for what takes milliseconds on an idle machine.
PATIENCE_SECONDS = 60
# Clocks that no busy machine runs into; a test of one of them shortens only that one.
PATIENT = Clocks(connect=60, first=60, idle=60, total=120)

HELLO = (PromptMessage("user", "hello"),)


def request(model: str = "plain", *messages: PromptMessage, **fields: Any) -> ChatRequest:
    """Return a request for the scenario `model`."""
    return ChatRequest(model, messages or HELLO, fields.pop("parameters", {}), "0123abcd", **fields)


async def collect(stream: AsyncIterator[Event], into: list[Event] | None = None) -> list[Event]:
    """Read a stream to its end; what came before a failure is in `into`."""
    events = [] if into is None else into
    async for event in stream:
        events.append(event)
    return events


def text(events: Iterable[Event]) -> str:
    """Return the completion."""
    return "".join(event.text for event in events if isinstance(event, Delta))


def reasoning(events: Iterable[Event]) -> str:
    """Return the thinking text."""
    return "".join(event.text for event in events if isinstance(event, Reasoning))


async def some_turns() -> None:
    """Let the event loop turn some times, however slow the machine is."""
    for _turn in range(20):
        await asyncio.sleep(0.001)


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)
