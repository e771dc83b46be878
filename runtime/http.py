"""uvicorn's HTTP/1.1 with bounds: on heads that never end, on connections that never say anything, on slow readers."""

import asyncio
import fcntl
import sys
import termios

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# A request's head: how large, and how soon after the connection the first one must be whole.
MAX_HEAD_BYTES, HEAD_SECONDS = 64 * 1024, 30.0
# Whoever takes nothing for so long although something waits is let go; what is lost can be resumed.
SLOW_SECONDS = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A response is written only while the client takes it: what waits here is bounded by uvicorn."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes: int | None = 0
        self._silence = self._slowness = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                self.transport.close()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        self._silence.cancel()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self._waiting())

    def resume_writing(self) -> None:
        self._slowness.cancel()
        super().resume_writing()

    def _watch(self, waiting: int) -> None:
        self._slowness = self.loop.call_later(SLOW_SECONDS, self._look, waiting)

    def _look(self, waited: int) -> None:
        """Let a client go that took nothing since the last look."""
        waiting = self._waiting()
        if waiting < waited:
            self._watch(waiting)
        else:
            self.transport.abort()

    def _waiting(self) -> int:
        """Return how many bytes the client has not taken: ours, and those that the system holds for it."""
        ours = self.transport.get_write_buffer_size()
        try:
            held = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:  # not every system tells
            return ours
        return ours + int.from_bytes(held, sys.byteorder)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence.cancel()
        self._slowness.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self.transport.close()
