"""Requests to a serving process, from signals or its supervisor.

SIGTERM and SIGINT mean stop (drain), and once more hurry (end at once). SIGHUP means reload; from a terminal, which
sends it when it is closed, it means stop. The supervisor writes to a worker's standard input, a Unix socket: STOP, and
once more for hurry; RETIRE; or GIVE_LISTENER, to which the worker sends the file descriptor of its listening socket.
The end of the input means that the supervisor is dead.
"""

import asyncio
import os
import signal
import socket

STOP, RETIRE, GIVE_LISTENER = b".", b"r", b"l"


class Requests:
    """Requests to stop, hurry, reload or retire.

    A terminal or systemd may signal a worker while the supervisor also stops it. Together these count as one "stop".
    """

    def __init__(self, supervisor: socket.socket | None = None, listener: socket.socket | None = None) -> None:
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self.reload, self.retire = asyncio.Event(), asyncio.Event()
        # Set together with each of the others except `hurry`.
        self.any = asyncio.Event()
        self._supervisor, self._listener = supervisor, listener
        self._stops = 0

    def listen(self) -> None:
        """Install the signal handlers and start to read from the supervisor."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        if self._supervisor:
            loop.add_reader(self._supervisor, self._on_message, self._supervisor)
            loop.add_signal_handler(signal.SIGHUP, lambda: None)
        else:
            closes = os.isatty(0)
            loop.add_signal_handler(signal.SIGHUP, self._on_signal if closes else self._note, self.reload)

    def _note(self, event: asyncio.Event) -> None:
        event.set()
        self.any.set()

    def _on_signal(self, *_event: asyncio.Event) -> None:
        if self.stop.is_set() and not self._supervisor:
            self.hurry.set()
        self._note(self.stop)

    def _on_message(self, supervisor: socket.socket) -> None:
        data = supervisor.recv(1024)
        if not data:
            asyncio.get_running_loop().remove_reader(supervisor)
        self._stops += data.count(STOP)
        if self._stops > 1:
            self.hurry.set()
        if not data or self._stops:
            self._note(self.stop)
        if RETIRE in data:
            self._note(self.retire)
        if GIVE_LISTENER in data and self._listener:
            socket.send_fds(supervisor, [GIVE_LISTENER], [self._listener.fileno()])
