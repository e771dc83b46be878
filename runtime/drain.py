"""Whether this process still takes new work, and what must happen before it ends."""

from collections.abc import Awaitable, Callable

_draining = False
_callbacks: list[Callable[[], Awaitable[object]]] = []


def on_drain(callback: Callable[[], Awaitable[object]]) -> None:
    """Register what is awaited when the process is told to stop, in the order of registration."""
    _callbacks.append(callback)


def begin() -> None:
    """Refuse new work from now on."""
    global _draining
    _draining = True


def draining() -> bool:
    return _draining


async def finish() -> None:
    """Wait until all work that was begun has ended."""
    for callback in _callbacks:
        await callback()
