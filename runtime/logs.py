"""Logs: JSON lines on standard error, through structlog; the standard library's records take the same way.

Never a prompt, an answer, a key, a token or a ticket: callers pass fields, not texts, and no queries of URLs.
"""

import atexit
import logging.config
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import structlog

# What waits for whoever reads the log; when it is more, lines are lost.
MOST_WAITING = 10_000
# Lines that come within so long are written together.
GATHER_SECONDS = 0.005
# What is still to be written when the process ends gets so long.
LAST_SECONDS = 1.0


def configure(level: str = "INFO") -> None:
    """Send everything to standard error as JSON lines. Repeating is safe."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.JSONRenderer(),
                    ],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # Django logs each refused request; our own line for the request says it already.
                "django.request": {"level": "ERROR"},
                "django.security": {"level": "CRITICAL"},
                # At DEBUG it logs the values of each statement: prompts, answers, password hashes.
                "django.db.backends": {"level": "INFO"},
                "httpx": {"level": "WARNING"},
                "uvicorn": {"level": "WARNING"},
                "asyncio": {"level": "WARNING"},
            },
        }
    )


def detach() -> None:
    """Let a thread write from now on: a terminal or a collector that stands still must not stop those who serve."""
    root = logging.getLogger()
    (attached,) = root.handlers
    detached = Detached(sys.stderr.fileno())
    detached.setFormatter(attached.formatter)
    root.handlers[:] = [detached]
    atexit.register(detached.finish)


def finish() -> None:
    """Write what waits, for a process that ends without Python's own end."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Detached):
            handler.finish()


class Detached(logging.Handler):
    """Lines on their way to a file descriptor. Any thread adds them; one of its own writes them, in their order."""

    def __init__(self, to: int) -> None:
        super().__init__()
        self._to = to
        self._guard = threading.Lock()
        self._lines: list[str] = []
        self._lost = 0
        self._news = threading.Event()
        self._ending = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as all handlers do: what cannot be told must not stop who tells it
            self.handleError(record)
            return
        with self._guard:
            if len(self._lines) < MOST_WAITING:
                self._lines.append(line)
            else:
                self._lost += 1
        self._news.set()

    def finish(self) -> None:
        """Return when all is written, or when nobody has read it for a while. Repeating is safe."""
        self._ending = True
        self._news.set()
        self._writer.join(LAST_SECONDS)

    def _write(self) -> None:
        while not (self._ending and not self._lines):
            self._news.wait()
            time.sleep(GATHER_SECONDS)
            self._news.clear()
            for piece in _pieces(self._taken()):
                if not self._put(piece):
                    return

    def _put(self, data: bytes) -> bool:
        """Write all of it; False when nobody will ever read it, and there is nobody else to tell."""
        while data:
            try:
                data = data[os.write(self._to, data) :]
            except BlockingIOError:  # somebody made it so, for all who share it
                time.sleep(GATHER_SECONDS)
            except OSError:
                return False
        return True

    def _taken(self) -> list[str]:
        with self._guard:
            lines, self._lines = self._lines, []
            lost, self._lost = self._lost, 0
        if lost:
            message = f"{lost} lines lost: nobody read them"
            lines.append(self.format(logging.LogRecord("runtime", logging.ERROR, "", 0, message, None, None)))
        return lines


def _pieces(lines: list[str]) -> Iterator[bytes]:
    """Join lines to pieces that a pipe takes whole: other workers write into the same one."""
    piece = b""
    for line in lines:
        data = f"{line}\n".encode(errors="backslashreplace")
        if piece and len(piece) + len(data) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += data
    if piece:
        yield piece
