"""Something between clients and a server that stops to pass anything, like a network that is cut in two."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self


class Gate:
    """Passes connections to a port of this machine. While it is shut nothing passes, and nothing is refused."""

    def __init__(self, to: int) -> None:
        self._to, self._is_open = to, threading.Event()
        self._is_open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Let nothing pass during the block; what came meanwhile passes afterwards."""
        self._is_open.clear()
        try:
            yield
        finally:
            self._is_open.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the gate was closed
            while True:
                threading.Thread(target=self._pass, args=self._listening.accept()[:1], daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        self._is_open.wait()
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as far:
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # one side has closed
            while data := source.recv(1 << 16):
                self._is_open.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
