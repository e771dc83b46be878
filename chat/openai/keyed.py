"""Give all callers of `/v1` with the same idempotency key the same bytes.

The first call with a key starts a generation, and a `Recording` takes its events. Further calls in this process read
the same recording while it runs; all others get what the database keeps (`kept.py`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import translation

from chat.errors import with_text
from chat.events.sink import Sink
from chat.models import Generation
from chat.openai import errors, kept
from chat.openai.relay import Relay, Whole
from runtime import database
from runtime.process import ServingProcess
from runtime.pubsub import Broker
from runtime.tasks import TaskSet

# Topic with the id of a generation: its response is kept now.
_TOPIC = "kept:{}"
# Seconds between looks for the response of another process; with Redis it usually comes at once.
LOOK_SECONDS = 1.0
# Seconds between looks for a generation of this process that is stored and about to run.
BEGIN_SECONDS = 0.1
# How many such looks there are; after them only the database is asked.
BEGIN_LOOKS = 20
# Seconds before each further attempt to keep a response while the database is away.
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)

log = structlog.get_logger("generation")


class Reply(Protocol):
    """The caller's side of a completion, streamed with `take` or whole as `content`."""

    wake: Callable[[], object]

    @property
    def started(self) -> bool: ...

    @property
    def at_end(self) -> bool: ...

    @property
    def failure(self) -> Mapping[str, Any] | None: ...

    @property
    def content(self) -> bytes: ...

    def take(self) -> bytes: ...

    def leave(self) -> None: ...

    def failure_event(self, failure: Mapping[str, Any]) -> bytes: ...

    async def settled(self) -> None: ...


class Recording(Sink):
    """A running generation whose bytes several callers read.

    A whole completion goes on without callers, because its retry will come. A stream stops when its last one leaves.
    """

    def __init__(
        self, relay: Relay, began: Callable[["Recording"], None], ended: Callable[["Recording"], None]
    ) -> None:
        self.relay, self._began, self._ended = relay, began, ended
        relay.wake = self._wake
        self.generation = ""
        self.at_end = self.charged = False
        # Whether the relay has the end, of which nothing is read before `_end` has decided what it is.
        self._is_ending = False
        self.failure: Mapping[str, Any] | None = None
        # Set when the response is kept, or cannot be.
        self.kept = asyncio.Event()
        self.is_whole = isinstance(relay, Whole)
        # The bytes so far, and how many before them were dropped.
        self._bytes, self.dropped = bytearray(), 0
        self._readers: set[Reader] = set()
        self._stop: Callable[[], object] | None = None
        self._stopped = False
        self._language = translation.get_language()

    # --- the run's side ---

    def publish(self, name: str, data: Any) -> None:
        self.relay.publish(name, data)
        if name == "start":
            self.generation = data["generation"]
            self._began(self)

    def rethink(self, snapshot: Mapping[str, str]) -> None:
        self.relay.rethink(snapshot)

    def tool_calls(self, pieces: str) -> bool:
        return self.relay.tool_calls(pieces)

    def reasoning_details(self, pieces: str) -> None:
        self.relay.reasoning_details(pieces)

    def images(self, listed: str) -> bool:
        return self.relay.images(listed)

    def logprobs(self, items: Sequence[Mapping[str, Any]]) -> None:
        self.relay.logprobs(items)

    def embeddings(self, items: Sequence[Mapping[str, Any]]) -> bool:
        return self.relay.embeddings(items)

    @property
    def sends_reasoning(self) -> bool:
        return self.relay.sends_reasoning

    def bind(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._stop_if_left()

    @property
    def full(self) -> bool:
        return self.relay.full

    async def room(self) -> None:
        await self.relay.room()

    def complete(
        self, name: str, data: Mapping[str, Any], *, number: int | None = None, finish_reason: str = ""
    ) -> None:
        self._is_ending = True
        self.relay.complete(name, data, number=number, finish_reason=finish_reason)
        self._end(data)

    def abandon(self) -> None:
        self._is_ending = True
        self.relay.abandon()
        self._end({})

    def _end(self, data: Mapping[str, Any]) -> None:
        self.failure = self.relay.failure
        if self._stopped and data.get("finish_reason") == "cancelled":
            # Not the relay's end, with which part of a completion would look like all of it.
            with translation.override(self._language):
                self.failure = errors.interrupted()
            self._add(self.relay.failure_event(self.failure))
        elif not self.is_whole:
            self._add(self.relay.take())
        elif self.failure is None:
            self._bytes += self.relay.content
        self.at_end = True
        self._stop = None  # it refers to the run, which refers to this
        self.charged = bool(data.get("charge", {}).get("amount"))
        self._ended(self)
        self._wake()

    # --- the callers' side ---

    def reader(self) -> "Reader":
        reader = Reader(self)
        self._readers.add(reader)
        return reader

    def left(self, reader: "Reader") -> None:
        """Note that a caller reads no more. Repeating is safe."""
        self._readers.discard(reader)
        self._stop_if_left()

    def _stop_if_left(self) -> None:
        if self._readers or self.is_whole or self.at_end or self._stop is None:
            return
        self._add(self.relay.take())
        self._stopped = True
        self._stop()

    def read(self, place: int) -> bytes:
        """Return the bytes from a place on that was not dropped."""
        if not self._is_ending:
            self._add(self.relay.take())
        return bytes(self._bytes[place - self.dropped :])

    def _add(self, data: bytes) -> None:
        self._bytes += data
        if data and len(self._bytes) > kept.MOST_BYTES:
            surplus = len(self._bytes) // 2
            del self._bytes[:surplus]
            self.dropped += surplus
        if data:
            self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def response(self) -> kept.Response | None:
        """Return the response for later retries; None when it is too long."""
        # A stream that failed has its failure in its bytes, once it has begun.
        if self.failure and (self.is_whole or not self.relay.started):
            return kept.Response(b"", dict(self.failure))
        return None if self.dropped or len(self._bytes) > kept.MOST_BYTES else kept.Response(self.content)

    @property
    def content(self) -> bytes:
        return bytes(self._bytes)


class Reader:
    """One caller of a recording; a caller that reads too slowly loses the rest."""

    def __init__(self, recording: Recording) -> None:
        self.wake: Callable[[], object] = lambda: None
        self._recording, self._place = recording, 0
        # Whether it reads no more, because it left or was too slow.
        self._gone = False

    @property
    def started(self) -> bool:
        return self._recording.relay.started

    @property
    def at_end(self) -> bool:
        return self._recording.at_end or self._gone

    @property
    def failure(self) -> Mapping[str, Any] | None:
        return errors.interrupted() if self._gone and not self._recording.at_end else self._recording.failure

    @property
    def content(self) -> bytes:
        return self._recording.content

    def take(self) -> bytes:
        recording = self._recording
        if recording.is_whole or self._gone:
            return b""
        if self._place < recording.dropped:
            self._gone = True
            return self.failure_event(errors.interrupted())
        data = recording.read(self._place)
        self._place += len(data)
        return data

    def leave(self) -> None:
        """Read no more. Repeating is safe."""
        self._gone = True
        self._recording.left(self)
        self.wake()

    def failure_event(self, failure: Mapping[str, Any]) -> bytes:
        return self._recording.relay.failure_event(failure)

    async def settled(self) -> None:
        """Return when the next call with the key finds what became of this one."""
        if self._recording.at_end:
            await self._recording.kept.wait()


class Later:
    """One caller of a response that the database keeps, or will keep."""

    def __init__(self, relay: Relay) -> None:
        self.wake: Callable[[], object] = lambda: None
        self.failure_event = relay.failure_event
        self.started = self.at_end = False
        self.failure: Mapping[str, Any] | None = None
        self.content = b""
        self._is_whole = isinstance(relay, Whole)
        self._waits: asyncio.Task[None] | None = None
        self._taken = False

    def wait_in(self, waits: asyncio.Task[None]) -> None:
        self._waits = waits

    def come(self, response: kept.Response) -> None:
        self.content, self.failure = response.body, response.failure
        self.started, self.at_end = bool(response.body), True
        self.wake()

    def take(self) -> bytes:
        if self._is_whole or not self.at_end or self._taken:
            return b""
        self._taken = True
        return self.content

    def leave(self) -> None:
        """Wait no more. Repeating is safe."""
        if self._waits:
            self._waits.cancel()
        if not self.at_end:
            self.come(kept.Response(b"", errors.interrupted()))

    async def settled(self) -> None:
        """Return at once, because the database has the response."""


class KeyedCalls:
    """The recordings of one process."""

    def __init__(self, broker: Broker, process: ServingProcess) -> None:
        self._broker, self._process = broker, process
        self._recordings: dict[str, Recording] = {}
        self._begun = asyncio.Event()
        self._keeping, self._waits = TaskSet(), TaskSet()

    def record(self, relay: Relay) -> Recording:
        return Recording(relay, self._began, self._ended)

    def _began(self, recording: Recording) -> None:
        self._recordings[recording.generation] = recording
        begun, self._begun = self._begun, asyncio.Event()
        begun.set()

    def _ended(self, recording: Recording) -> None:
        self._keeping.start(self._keep(recording))

    async def _keep(self, recording: Recording) -> None:
        """Keep the response, then leave retries to the database."""
        generation, response = recording.generation, recording.response()
        # What failed and cost nothing leaves nothing to give back, so that a retry may succeed.
        frees_key = bool(recording.failure) and not recording.charged
        try:
            for pause in (*RETRY_SECONDS, None):
                try:
                    await database.run(kept.keep, generation, response, frees_key=frees_key)
                    break
                except (OperationalError, InterfaceError) as error:
                    log.error("response not kept yet", generation=generation, error=type(error).__name__)
                    if pause is not None:
                        await asyncio.sleep(pause)
        finally:
            self._recordings.pop(generation, None)
            recording.kept.set()
        await self._broker.publish(_TOPIC.format(generation), b"kept")

    async def join(self, row: Generation, relay: Relay) -> Reply:
        """Return the response to a further call with the key of a generation.

        `relay` is one of the same shape.
        """
        for _look in range(BEGIN_LOOKS):
            if recording := self._recordings.get(row.id):
                return recording.reader()
            begun = self._begun
            if row.process != self._process.id or not await database.run(kept.is_running, row.id):
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(begun.wait(), BEGIN_SECONDS)
        later = Later(relay)
        later.wait_in(self._waits.start(self._fill(later, row.id)))
        return later

    async def _fill(self, later: Later, generation: str) -> None:
        """Wait until the response is kept, or will never be."""
        woken = asyncio.Event()
        unsubscribe = self._broker.subscribe(_TOPIC.format(generation), lambda _payload: woken.set())
        try:
            while (response := await database.run(kept.find, generation)) is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), LOOK_SECONDS)
                woken.clear()
            later.come(response)
        except Exception as error:
            log.exception("kept response not read", generation=generation, error=type(error).__name__)
            later.come(kept.Response(b"", with_text({"code": "internal_error"})))
        finally:
            unsubscribe()

    async def finish(self) -> None:
        """Return when all responses are kept."""
        await self._keeping.wait()
