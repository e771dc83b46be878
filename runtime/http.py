"""uvicorn's HTTP/1.1 protocol with limits for endless heads, silent connections and clients that stop reading."""

import asyncio
import fcntl
import sys
import termios

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a request's head; a longer head is refused with 431.
MAX_HEAD_BYTES = 64 * 1024
# Seconds from the connection to the end of the first request's head; then the connection is closed.
HEAD_SECONDS = 30.0
# Seconds in which a client must read some of the bytes that wait for it; else it is disconnected, and may resume.
STALLED_SECONDS = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. uvicorn bounds the bytes that wait here for the client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes: int | None = 0
        self._head_timer = self._progress_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

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
        self._head_timer.cancel()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_progress(sys.maxsize)

    def resume_writing(self) -> None:
        self._progress_timer.cancel()
        super().resume_writing()

    def _check_progress(self, unread_before: int) -> None:
        """Disconnect a client that read nothing since the last check."""
        unread = self._unread_bytes()
        if unread < unread_before:
            self._progress_timer = self.loop.call_later(STALLED_SECONDS, self._check_progress, unread)
        else:
            self.transport.abort()

    def _unread_bytes(self) -> int:
        """Return how many bytes wait for the client, in our buffer and in the kernel's."""
        buffered = self.transport.get_write_buffer_size()
        try:
            in_kernel = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:  # not every system knows
            return buffered
        return buffered + int.from_bytes(in_kernel, sys.byteorder)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self._progress_timer.cancel()
        super().connection_lost(exc)
