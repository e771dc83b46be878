"""The four clocks of a stream: waiting for the upstream ends when one expires."""

import asyncio
from typing import Self

from providers.wire.base import Clocks
from providers.wire.base import gettext_noop as _
from providers.wire.errors import TotalTimeout, UpstreamTimeout


class Deadline:
    """The four clocks of one stream.

    `with deadline:` goes around every wait for the upstream, never around a `yield`. It raises `UpstreamTimeout` from
    the wait in which a clock runs out. `payload()` reports progress. The idle clock then starts anew with the next
    wait, so neither comments of the upstream nor a slow reader move it. `alive()` reports anything else, such as the
    comments of a vendor that queues: it starts the clock for the first payload anew. One timer serves the whole stream,
    and compares the due time only when it fires. A delta therefore needs no timer of its own, as it would with
    `asyncio.timeout`. The timer is set anew only when the idle clock would end before the clock for the first payload.
    """

    __slots__ = (
        *("_cancelling", "_due", "_end", "_expired", "_fires_at", "_loop", "_progress", "_started", "_task", "_timer"),
        *("_heard_at", "clocks"),
    )

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        # When the wait that goes on brought progress, which counts when the timer fires.
        self._heard_at = 0.0
        self._end = now + clocks.total
        self._due = min(now + clocks.first, self._end)
        self._progress = False
        self._started = False
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = self._due

    def payload(self) -> None:
        """Note that the upstream made progress."""
        self._progress = self._started = True

    def payload_in_flow(self) -> None:
        """Start the idle clock anew, within a wait that goes on."""
        self._started = True
        self._due = min(self._loop.time() + self.clocks.idle, self._end)
        if self._due < self._fires_at:
            self.close()
            self._set_timer()

    def hear(self) -> None:
        """Start the idle clock anew, after `payload_in_flow` or a `payload` before this wait."""
        self._heard_at = self._loop.time()

    def alive(self) -> None:
        """Note that the upstream sent something that is no payload."""
        if not self._started:
            self._due = min(self._loop.time() + self.clocks.first, self._end)

    def shorten(self, seconds: float) -> None:
        """Allow at most `seconds` from now, whatever arrives."""
        self._progress, self._heard_at = False, 0.0
        self._end = self._due = min(self._end, self._loop.time() + seconds)
        self.close()

    def settle(self, seconds: float) -> None:
        """Wait at most `seconds` for the next bytes; each call starts them anew."""
        self._progress, self._started, self._heard_at = False, True, 0.0
        self._due = min(self._end, self._loop.time() + seconds)
        self.close()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress = False
            self._due = min(self._loop.time() + self.clocks.idle, self._end)
            if self._due < self._fires_at:
                self.close()
        self._task = task = asyncio.current_task()
        self._cancelling = task.cancelling() if task else 0
        if self._timer is None:
            self._set_timer()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_trace: object) -> None:
        task, self._task = self._task, None
        if not self._expired or task is None:
            return
        self._expired = False
        # When the task is cancelled from outside at the same moment, that cancellation wins, as in asyncio.timeout.
        if task.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
            if self._due >= self._end:
                raise TotalTimeout(_("The upstream took too long."), "wait", vendor_code="total_timeout") from error
            code = "idle_timeout" if self._started else "first_timeout"
            # Try again only once, because the upstream may charge even for a completion that it did not deliver.
            message = _("The upstream stopped answering.")
            raise UpstreamTimeout(message, "wait", attempts=1, vendor_code=code) from error

    def _set_timer(self) -> None:
        self._fires_at = self._due
        self._timer = self._loop.call_at(self._due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._heard_at:
            self._started, self._due = True, max(self._due, min(self._heard_at + self.clocks.idle, self._end))
        if self._loop.time() < self._due:
            self._set_timer()
        else:
            self._expired = True
            self._task.cancel()
