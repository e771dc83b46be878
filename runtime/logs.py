"""Logs: JSON lines on standard error, through structlog.

Our own lines make no records of the standard library, which would take three quarters of their time. Records of
libraries are formatted in the same way. No line may contain a prompt, a completion, a key, a
token or a ticket. Callers therefore pass fields instead of texts, and URLs without their query.
"""

import atexit
import json
import logging.config
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import orjson
import structlog
from prometheus_client import Counter

LOST_LINES = Counter("rivulet_log_lines_lost", "Log lines that were dropped because the log was not read")

# Lines that wait in memory while the log is not read; further lines are dropped and counted.
MAX_QUEUED_LINES = 10_000
# Seconds to collect lines before they are written together.
BATCH_SECONDS = 0.02
# Seconds that the end of the process waits for the remaining lines to be written.
FLUSH_SECONDS = 1.0


def configure(level: str = "INFO") -> None:
    """Write all log records to standard error as JSON lines. Repeating is safe."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    as_json = structlog.processors.JSONRenderer(serializer=_as_json)
    structlog.configure(
        processors=[*shared, as_json],
        logger_factory=LineLoggers(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, as_json],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # Django logs each refused request; the "request" line of chatproject/asgi.py has its status already.
                "django.request": {"level": "ERROR"},
                "django.security": {"level": "CRITICAL"},
                # At DEBUG it logs the values of each statement: prompts, completions, password hashes.
                "django.db.backends": {"level": "INFO"},
                "httpx": {"level": "WARNING"},
                "uvicorn": {"level": "WARNING"},
                "asyncio": {"level": "WARNING"},
            },
        }
    )


def _as_json(fields: dict[str, Any], default: Callable[[Any], Any]) -> str:
    """Return fields as JSON in ASCII, because some readers end lines at U+2028.

    The standard library escapes other characters, and takes what orjson refuses, such as huge numbers.
    """
    try:
        if (line := orjson.dumps(fields, default=default)).isascii():
            return line.decode()
    except orjson.JSONEncodeError:
        pass
    try:
        return json.dumps(fields, default=default)
    except (ValueError, RecursionError):  # a failing log call must not stop its caller
        return json.dumps({name: repr(value)[:200] for name, value in fields.items()})


class LineLoggers:
    """Make the loggers behind structlog's; `put` takes each line, and may be replaced."""

    def __init__(self) -> None:
        self.put: Callable[[str], None] = _print

    def __call__(self, name: str = "") -> "LineLogger":
        return LineLogger(name, self)


class LineLogger:
    """Hands finished lines on; `name` is the logger's in each line."""

    def __init__(self, name: str, loggers: LineLoggers) -> None:
        self.name, self._loggers = name, loggers

    def msg(self, line: str) -> None:
        self._loggers.put(line)

    debug = info = warning = error = critical = msg


def _print(line: str) -> None:
    with suppress(OSError, ValueError):  # closed: a failing log call must not stop its caller
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def write_in_background() -> Callable[[], None]:
    """Let a thread write the log from now on; return the function that ends it.

    Because a terminal or a log collector may stop reading, which must not block the event loop. Python's exit handlers
    call the function too.
    """
    root = logging.getLogger()
    (direct,) = root.handlers
    background = BackgroundHandler(sys.stderr.fileno())
    background.setFormatter(direct.formatter)
    root.handlers[:] = [background]
    cast("LineLoggers", structlog.get_config()["logger_factory"]).put = background.put
    return atexit.register(background.stop)


class BackgroundHandler(logging.Handler):
    """Queue lines from any thread, and write them to a file descriptor in one thread."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines_lock = threading.Lock()
        self._lines: list[str] = []
        self._dropped = 0
        self._wake = threading.Event()
        self._ending = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as all handlers do: a failing log call must not stop its caller
            self.handleError(record)
        else:
            self.put(line)

    def put(self, line: str) -> None:
        """Queue one line, from any thread."""
        with self._lines_lock:
            if len(self._lines) < MAX_QUEUED_LINES:
                self._lines.append(line)
            else:
                self._dropped += 1
                LOST_LINES.inc()
        if not self._wake.is_set():
            self._wake.set()

    def stop(self) -> None:
        """Return when all lines are written, or after FLUSH_SECONDS. Repeating is safe."""
        self._ending = True
        self._wake.set()
        self._writer.join(FLUSH_SECONDS)

    def _write(self) -> None:
        lines: list[str] = []
        while not (self._ending and not self._lines):
            # After lines come more, as a rule, and to wake this thread costs more than to make a line.
            if not lines:
                self._wake.wait()
            time.sleep(BATCH_SECONDS)
            self._wake.clear()
            lines = self._take_lines()
            for block in _blocks(lines):
                if not self._write_all(block):
                    return

    def _write_all(self, data: bytes) -> bool:
        """Write all bytes; return False when the log has no reader any more."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process made the shared descriptor non-blocking
                time.sleep(BATCH_SECONDS)
            except OSError:
                return False
        return True

    def _take_lines(self) -> list[str]:
        with self._lines_lock:
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
        if dropped:
            message = f"{dropped} lines lost: the log was not read"
            lines.append(self.format(logging.LogRecord("runtime", logging.ERROR, "", 0, message, None, None)))
        return lines


def _blocks(lines: list[str]) -> Iterator[bytes]:
    """Join lines into blocks that a pipe writes atomically, because workers share one pipe."""
    block = b""
    for line in lines:
        data = f"{line}\n".encode(errors="backslashreplace")
        if block and len(block) + len(data) > select.PIPE_BUF:
            yield block
            block = b""
        block += data
    if block:
        yield block
