"""Draining: before the process ends, it refuses new work and finishes the work it has."""

from collections.abc import Awaitable, Callable


class Drain:
    """Whether the process drains, and the work that it waits for."""

    def __init__(self) -> None:
        self.active = False
        self._callbacks: list[Callable[[], Awaitable[object]]] = []

    def on_drain(self, callback: Callable[[], Awaitable[object]]) -> None:
        """Await `callback` while the process drains, in the order of registration."""
        self._callbacks.append(callback)

    def begin(self) -> None:
        """Refuse new work from now on."""
        self.active = True

    async def finish(self) -> None:
        """Await all callbacks; each returns when its part of the work has ended."""
        for callback in self._callbacks:
            await callback()
