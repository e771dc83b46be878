"""Send event streams as HTTP responses, with keep-alive comments.

Format and headers follow the WHATWG standard for server-sent events; the header against buffering is that of nginx.
"""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Set
from functools import wraps
from typing import Any, Protocol

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext_lazy as _
from prometheus_client import Gauge

from accounts.auth import Caller, aauthenticate, disabled_among, require_may_chat
from chat.events.log import Follower, encode
from chat.events.writer import Writer
from runtime import database
from runtime.tasks import Flag
from web.methods import View
from web.own_pages import require_own_page
from web.refusals import InvalidRequest, Refusal, TooManyRequests, from_exception

OPEN_STREAMS = Gauge("rivulet_open_streams", "Event streams that are open", multiprocess_mode="livesum")

OPENING = b": open\n\n"
PING = b": ping\n\n"
# The event that makes a reader connect again soon, because this process goes away.
RECONNECT_SOON = b"retry: 500\n\n"
# Names in the query of each event stream.
STREAM_NAMES = frozenset({"ticket", "last_event_id"})
# The id of the event for a refusal; a reconnect with it gets 204.
REFUSED = "refused:0"
# Seconds between looks for streams that need a keep-alive comment.
TICK_SECONDS = 1.0
# Seconds between looks for disabled users: they must be cut off within a minute.
DISABLED_CHECK_SECONDS = 10.0
# Streams that one user may have open in one process; a further one is refused with 429. Without a limit of running
# generations (MAX_ACTIVE_GENERATIONS is 0) the operator trusts the users, and there is none of streams either.
MOST_STREAMS = 100
# Seconds to wait after that refusal.
FULL_RETRY_SECONDS = 10


def last_event_id(request: HttpRequest) -> str | None:
    """Return the reader's last event id: the header of a reconnect, else the query."""
    in_query = request.GET.get("last_event_id") if request.META["QUERY_STRING"] else None
    return request.META.get("HTTP_LAST_EVENT_ID") or in_query or None


class EventStreamResponse(StreamingHttpResponse):
    """A response that sends server-sent events as they come."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        headers: Mapping[str, str] | None = None,
        leave: Callable[[], None] = lambda: None,
        connect: Callable[[Writer | None], None] = lambda _writer: None,
    ) -> None:
        # The server calls `leave` in the end: a generator that was never started does not run its own cleanup. It calls
        # `connect` before it reads the events, where it has a way to the client that needs no task.
        self.events, self.leave, self.connect = events, leave, connect
        super().__init__(
            events,
            content_type="text/event-stream; charset=utf-8",
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **(headers or {})},
        )


def no_more_events() -> HttpResponse:
    """Return the response that stops an EventSource from reconnecting."""
    return HttpResponse(status=204)


def for_event_source(names: Set[str], refused: Callable[[Refusal], Mapping[str, Any]]) -> Callable[[View], View]:
    """Return a decorator of views that get the caller and the last event id.

    The query may have these names, and those of all event streams. A refusal goes out as an `error` event with the data
    of `refused`, because an EventSource shows nothing but events.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded(request: HttpRequest) -> HttpResponseBase:
            last_id = last_event_id(request)
            if last_id == REFUSED:
                return no_more_events()
            try:
                caller = await _reader(request, resumes=last_id is not None)
                _check_names(request, names)
                return await view(request, caller, last_id)
            except Exception as error:
                refusal = from_exception(error)
                if refusal is None:
                    raise
                refusal.count()
                return EventStreamResponse(_refused(refused(refusal)), refusal.headers())

        return guarded

    return decorate


async def _reader(request: HttpRequest, *, resumes: bool) -> Caller:
    caller = await aauthenticate(request, tickets=True)
    if caller.via == "session":
        require_own_page(request)
    if not resumes:
        require_may_chat(caller)
    return caller


def _check_names(request: HttpRequest, names: Set[str]) -> None:
    unknown = request.GET.keys() - names - STREAM_NAMES
    if unknown:
        raise InvalidRequest(details={name: [_("There is no such field.")] for name in unknown})


async def _refused(data: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    channel, _colon, number = REFUSED.partition(":")
    yield OPENING + encode(channel, int(number), "error", data)


class OpenStreams:
    """All event streams that are open in this process."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        # Responses of each user that have begun, or are about to.
        self._of_user: Counter[int] = Counter()
        # Whether the process ends: streams that still open are closed at once.
        self._closing = False

    def check(self, user_id: int) -> None:
        """Raise TooManyRequests when the user has too many open streams."""
        if settings.MAX_ACTIVE_GENERATIONS and self._of_user[user_id] >= MOST_STREAMS:
            raise TooManyRequests(_("You have too many open streams."), retry_after=FULL_RETRY_SECONDS)

    def count(self, user_id: int, change: int) -> None:
        self._of_user[user_id] += change
        if not self._of_user[user_id]:
            del self._of_user[user_id]

    def add(self, stream: "Stream") -> None:
        self._streams.add(stream)
        OPEN_STREAMS.inc()
        if self._closing:
            stream.close(RECONNECT_SOON)

    def discard(self, stream: "Stream") -> None:
        self._streams.discard(stream)
        OPEN_STREAMS.dec()

    async def ping_idle(self) -> None:
        """Send a comment on every stream that was silent for `STREAM_PING_SECONDS`. A timer."""
        before = time.monotonic() - settings.STREAM_PING_SECONDS
        for stream in list(self._streams):
            if stream.is_idle(before):
                stream.ping()

    async def cut_off_disabled(self) -> None:
        """Close the streams of disabled users, with one query for all. A timer."""
        users = {stream.user_id for stream in self._streams}
        if users:
            disabled = await database.run(disabled_among, users)
            for stream in list(self._streams):
                if stream.user_id in disabled:
                    stream.cut_off()

    async def close_all(self) -> None:
        """Close all streams, and those that still open; their readers reconnect soon."""
        self._closing = True
        for stream in list(self._streams):
            stream.close(RECONNECT_SOON)


class Stream(ABC):
    """One open event stream. Timers ping it, and the end of the process closes it."""

    __slots__ = ("_cut", "_last_data", "_ping", "_streams", "_waits", "_woken", "_writer", "idle_since", "user_id")

    # The comment that keeps a silent connection alive.
    keep_alive = PING

    def __init__(self, streams: OpenStreams, user_id: int) -> None:
        self.user_id = user_id
        self.idle_since = time.monotonic()
        self._streams = streams
        self._woken = Flag()
        self._writer: Writer | None = None
        # Whether all that there was is sent, so that the next piece may be written past the generator.
        self._waits = False
        self._ping = self._cut = False
        self._last_data: bytes | None = None

    def response(self, headers: Mapping[str, str] | None = None) -> EventStreamResponse:
        """Return the response, and count it until the server calls its `leave`."""
        self._streams.count(self.user_id, +1)
        return EventStreamResponse(self.events(), headers, self._end, self._connect)

    def _connect(self, writer: Writer | None) -> None:
        self._writer = writer

    def _end(self) -> None:
        self._streams.count(self.user_id, -1)
        self._leave()

    def is_idle(self, since: float) -> bool:
        """Return whether nothing was sent since this time."""
        if self._writer is not None and self._writer.used:
            self._writer.used, self.idle_since = False, time.monotonic()
        return self.idle_since <= since

    def ping(self) -> None:
        self._ping = True
        self._wake_task()

    def close(self, last_data: bytes = b"") -> None:
        """End the response once all that waits and `last_data` are sent."""
        self._last_data = last_data
        self._wake_task()

    def cut_off(self) -> None:
        """End the response without what waits, because there could always be more."""
        self._cut = True
        self.close()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield what to send until there is no more, or the stream is closed."""
        self._streams.add(self)
        try:
            yield self._opening()
            while True:
                self._woken.clear()
                if not self._cut and (data := await self._take()):
                    self.idle_since = time.monotonic()
                    yield data
                elif not self._cut and self._at_end():
                    return
                elif self._last_data is not None:
                    yield self._last_data
                    return
                elif self._ping:
                    self._ping, self.idle_since = False, time.monotonic()
                    yield self.keep_alive
                else:
                    await self._wait()
        finally:
            self._streams.discard(self)
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
        """Stop reading from the source. Repeating is safe."""

    def _wake_task(self) -> None:
        self._waits = False
        self._woken.set()

    async def _wait(self) -> None:
        self._waits = True
        try:
            await self._woken.wait()
        finally:
            self._waits = False


class Source(Protocol):
    """Holds the bytes for one stream, and calls `wake` when there are more."""

    wake: Callable[[], object]

    def take(self) -> bytes: ...

    @property
    def at_end(self) -> bool: ...

    def leave(self) -> None: ...


def _ignore() -> None:
    """Do nothing for a stream that has left."""


class Writing(Protocol):
    """Writes new bytes to a reader who has all others, while there is a `writer`."""

    writer: Writer | None


class SourceStream(Stream):
    """A reader who gets everything that waits in one piece."""

    __slots__ = ("_reads", "_source", "_writing")

    def __init__(self, streams: OpenStreams, user_id: int, source: Source) -> None:
        super().__init__(streams, user_id)
        self._source = source
        # Whether `_wake` reads the source: one that several read wakes all of them then, this stream too.
        self._reads = False
        self._writing: Writing | None = None
        source.wake = self._wake

    def let_write(self, writing: Writing) -> None:
        """Let the origin of the bytes write past the task, whenever that waits."""
        self._writing = writing

    def _wake(self) -> None:
        """Send new bytes at once; wake the task for slow clients and the end."""
        writer = self._writer
        if self._reads:
            return
        if writer is not None and self._waits:
            self._write_past_task(writer)
            if writer.ready and not self._source.at_end:
                return
        self._wake_task()

    def _write_past_task(self, writer: Writer) -> None:
        self._reads = True
        try:
            while writer.ready and (data := self._source.take()):
                writer.write(data)
        finally:
            self._reads = False

    def _wake_task(self) -> None:
        self._take_writer()
        super()._wake_task()

    async def _wait(self) -> None:
        if self._writing is not None:
            self._writing.writer = self._writer
        try:
            await super()._wait()
        finally:
            self._take_writer()

    def _take_writer(self) -> None:
        if self._writing is not None:
            self._writing.writer = None

    async def _take(self) -> bytes:
        return self._source.take()

    def _at_end(self) -> bool:
        return self._source.at_end

    def _leave(self) -> None:
        self._source.leave()
        self._source.wake = _ignore  # with `_wake`, only the garbage collector would free the two


class LogStream(SourceStream):
    """A reader of an event log, which gives new events to readers who keep up."""

    __slots__ = ()
    _source: Follower

    def __init__(self, streams: OpenStreams, user_id: int, follower: Follower) -> None:
        super().__init__(streams, user_id, follower)
        self.let_write(follower)

    def _opening(self) -> bytes:
        """Return what waits too, such as the `start` event of a new generation."""
        return OPENING + self._source.take()
