"""Event streams on the wire: responses, keep-alive comments, and all streams that are open in this process.

Format and headers: WHATWG server-sent events; the buffering header is nginx's.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from prometheus_client import Gauge

from accounts.auth import disabled_among
from chat.events.log import Log
from runtime import database

OPEN_STREAMS = Gauge("rivulet_open_streams", "Event streams that are open", multiprocess_mode="livesum")

OPENING = b": open\n\n"
PING = b": ping\n\n"
# Tells a reader whose server is going away to come back soon.
RECONNECT_SOON = b"retry: 500\n\n"
TICK_SECONDS = 1.0
# A disabled user is cut off within a minute: this, and the time one look takes.
DISABLED_CHECK_SECONDS = 10.0

_open: "set[Stream]" = set()
_closing = False


class EventStreamResponse(StreamingHttpResponse):
    """A 200 whose body is server-sent events, `events`: bytes that are sent as they come.

    Whoever sends it calls `leave` in the end: a generator that was never begun does not clean up after itself.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: Mapping[str, str] | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.events, self.leave = events, leave
        super().__init__(
            events,
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **(headers or {})},
        )


def no_more_events() -> HttpResponse:
    """The answer that stops an EventSource from reconnecting."""
    return HttpResponse(status=204)


class Stream(ABC):
    """One open event stream: it can be pinged and closed from outside, by timers and when the process ends."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self.idle_since = time.monotonic()
        self._woken = asyncio.Event()
        self._ping = self._cut = False
        self._last_words: bytes | None = RECONNECT_SOON if _closing else None

    def response(self, headers: Mapping[str, str] | None = None) -> EventStreamResponse:
        return EventStreamResponse(self.events(), headers, self._leave)

    def ping(self) -> None:
        self._ping = True
        self._woken.set()

    def close(self, last_words: bytes = b"") -> None:
        """End the response once all that waits was sent; what it reads from goes on."""
        self._last_words = last_words
        self._woken.set()

    def cut_off(self) -> None:
        """End the response without what waits: there could always be more."""
        self._cut = True
        self.close()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield what to send until there is no more, or the stream is closed."""
        _open.add(self)
        OPEN_STREAMS.inc()
        try:
            yield self._opening()
            while True:
                self._woken.clear()
                if not self._cut and (data := await self._take()):
                    self.idle_since = time.monotonic()
                    yield data
                elif not self._cut and self._at_end():
                    return
                elif self._last_words is not None:
                    yield self._last_words
                    return
                elif self._ping:
                    self._ping, self.idle_since = False, time.monotonic()
                    yield PING
                else:
                    await self._wait()
        finally:
            _open.discard(self)
            OPEN_STREAMS.dec()
            self._leave()

    def _opening(self) -> bytes:
        """Return what is sent at once."""
        return OPENING

    @abstractmethod
    async def _take(self) -> bytes:
        """Return what is waiting, empty when nothing is."""

    @abstractmethod
    def _at_end(self) -> bool:
        """Return whether nothing will wait any more."""

    @abstractmethod
    def _leave(self) -> None:
        """Let go of what is read from. Repeating is safe."""

    async def _wait(self) -> None:
        await self._woken.wait()


class LogStream(Stream):
    """A reader of a generation's log, who gets everything that waits in one piece."""

    def __init__(self, user_id: int, log: Log, after: int | None) -> None:
        super().__init__(user_id)
        self._follower = log.follow(after, self._woken.set)

    async def _take(self) -> bytes:
        return self._follower.take()

    def _at_end(self) -> bool:
        return self._follower.at_end

    def _leave(self) -> None:
        self._follower.leave()


async def ping_idle() -> None:
    """Send a comment on every stream that was silent for `STREAM_PING_SECONDS`. A timer."""
    before = time.monotonic() - settings.STREAM_PING_SECONDS
    for stream in list(_open):
        if stream.idle_since <= before:
            stream.ping()


async def cut_off_disabled() -> None:
    """Close the streams of users who may no longer read. A timer; one query whatever the number of streams."""
    users = {stream.user_id for stream in _open}
    if users:
        disabled = await database.run(disabled_among, users)
        for stream in list(_open):
            if stream.user_id in disabled:
                stream.cut_off()


async def close_all() -> None:
    """Send all readers away to come back soon, here or elsewhere; those who still come as well."""
    global _closing
    _closing = True
    for stream in list(_open):
        stream.close(RECONNECT_SOON)
