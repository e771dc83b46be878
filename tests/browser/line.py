"""The cable between a browser and the product, which can be pulled out.

The browser's own offline mode refuses new requests but lets a response that has begun flow on; real networks do not.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit


class Line:
    """A loopback address that passes everything on to another one, and back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._connected = True
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @classmethod
    @contextlib.contextmanager
    def to(cls, url: str) -> Iterator[Self]:
        """Connect; everything is closed in the end."""
        line = cls(url)
        line._start(line._listen)
        try:
            yield line
        finally:
            line._listener.shutdown(socket.SHUT_RDWR)
            line.cut()
            for thread in line._threads:
                thread.join(10)
            line._listener.close()

    def cut(self) -> None:
        """End all connections at once, and every new one."""
        self._connected = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let new connections through."""
        self._connected = True

    def _start(self, run: object, *arguments: socket.socket) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # the listener is shut down in the end
            while True:
                browser, _address = self._listener.accept()
                if self._connected:
                    self._start(self._carry, browser)
                else:
                    browser.close()

    def _carry(self, browser: socket.socket) -> None:
        with browser, socket.create_connection(self._target) as product:
            self._ends += [browser, product]
            if not self._connected:  # it was cut while this connection was made
                return
            back = threading.Thread(target=_pump, args=(product, browser), daemon=True)
            back.start()
            _pump(browser, product)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
