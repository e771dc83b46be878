"""Wake-ups: "look again at this topic", heard by the listeners of this process.

A wake-up carries no truth and may be lost or come twice: what it is about stands in the database or in a log.
"""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger("runtime")

Callback = Callable[[bytes], None]

_listeners: dict[str, set[Callback]] = {}
_loop: asyncio.AbstractEventLoop | None = None


def listen(topic: str, callback: Callback) -> Callable[[], None]:
    """Call `callback` on the event loop with the payload of each wake-up; return what ends that. Repeating is safe."""
    global _loop
    _loop = asyncio.get_running_loop()
    _listeners.setdefault(topic, set()).add(callback)

    def unlisten() -> None:
        callbacks = _listeners.get(topic, set())
        callbacks.discard(callback)
        if not callbacks:
            _listeners.pop(topic, None)

    return unlisten


async def wake(topic: str, payload: bytes = b"") -> None:
    """Call the listeners before this returns."""
    loop = asyncio.get_running_loop()
    if _loop is not None and _loop is not loop and _loop.is_running():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(wake(topic, payload), _loop))
        return
    for callback in list(_listeners.get(topic, ())):
        try:
            callback(payload)
        except Exception:  # one listener's fault is not the others'
            log.exception("wake-up failed", topic=topic)
