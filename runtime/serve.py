"""`manage.py serve`: the serving process with its socket, signals, timers and drain.

uvicorn only speaks HTTP; this module handles the signals and stops it. With `WORKERS` above 1 the process is one of the
workers, or the supervisor (supervisor.py) that starts them.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import NoReturn, TextIO

import structlog
import uvicorn
import uvloop
from django.conf import settings
from django.db import DatabaseError
from django.utils.module_loading import import_string

from runtime import database, logs, schema
from runtime.apps import runtime
from runtime.http import BoundedProtocol, TrustedProxies
from runtime.supervisor import Supervisor
from runtime.tasks import wait_for_either

log = structlog.get_logger("runtime")

# Seconds added to DRAIN_SECONDS for storing the last generations and closing connections.
AFTER_DRAIN_SECONDS = 10.0
# Seconds between two checks of whether uvicorn has started.
START_POLL_SECONDS = 0.01
# Seconds an idle connection stays open: longer than in a proxy in front, which else writes into a closing connection.
KEEP_ALIVE_SECONDS = 75
# Bytes from which glibc returns a freed block to the system. By itself it raises this limit up to 32 MiB, and many
# bodies at once leave gaps in the heap that are several times their size. -3 is its name for this option.
MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 64 * 1024
# Seconds to wait for each of the last steps: deleting the process's row, and closing connections to Redis.
STOP_SECONDS = 3.0


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `StopRequests` handles the signals."""
        yield


def serve() -> None:
    """Serve until a signal comes, then drain. A taken address is an error."""
    listener = _listen(settings.HOST, settings.PORT)
    if settings.WORKERS == 1:
        _run(listener, StopRequests())
    # The address is free. Each worker listens with its own socket, so that the kernel spreads connections evenly; the
    # supervisor's socket does not listen, it only keeps the port while there is no worker.
    port = listener.getsockname()[1]
    listener.close()
    logs.write_in_background()
    with (
        _bind(settings.HOST, port, shared=True) as reserved,
        tempfile.TemporaryDirectory(prefix="rivulet-metrics-") as metrics,
    ):
        raise SystemExit(asyncio.run(Supervisor(settings.WORKERS, port, metrics).run(_ready_line(reserved))))


def work(port: int) -> None:
    """Serve as one of several workers at this port, until the supervisor stops it."""
    _run(_listen(settings.HOST, port, shared=True), StopRequests(sys.stdin))


class StopRequests:
    """Requests to stop (drain) or hurry (end at once), from signals or the supervisor.

    A terminal or systemd may signal a worker while the supervisor also stops it. Together these count as one "stop".
    """

    def __init__(self, supervisor_pipe: TextIO | None = None) -> None:
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self._supervisor_pipe = supervisor_pipe
        self._bytes_read = 0

    def listen(self) -> None:
        """Install the signal handlers and start to read the supervisor's pipe."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        if self._supervisor_pipe:
            loop.add_reader(self._supervisor_pipe, self._on_pipe, self._supervisor_pipe)

    def _on_signal(self) -> None:
        if self.stop.is_set() and not self._supervisor_pipe:
            self.hurry.set()
        self.stop.set()

    def _on_pipe(self, supervisor_pipe: TextIO) -> None:
        """Stop at the supervisor's first byte or its death; hurry at the second byte."""
        data = os.read(supervisor_pipe.fileno(), 1024)
        if not data:
            asyncio.get_running_loop().remove_reader(supervisor_pipe)
        self._bytes_read += len(data)
        if self._bytes_read > 1:
            self.hurry.set()
        self.stop.set()


def _run(listener: socket.socket, requests: StopRequests) -> NoReturn:
    stop_log = logs.write_in_background()
    # To the maximum, because each stream needs two sockets.
    maximum = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
    application = import_string(settings.ASGI_APPLICATION)
    if settings.TRUSTED_PROXIES:
        application = TrustedProxies(application, settings.TRUSTED_PROXIES)
    config = uvicorn.Config(
        application,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=False,
        timeout_graceful_shutdown=round(AFTER_DRAIN_SECONDS),
    )
    try:
        uvloop.run(_serve(Server(config), listener, requests))
        database.close()
    finally:
        stop_log()  # the last line says why the process ends
    sys.stdout.flush()
    # Without the interpreter's own end, which would wait for a thread that hangs in the database.
    os._exit(0)


def _listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = _bind(host, port, shared=shared)
    listener.listen(4096)
    return listener


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        name = "HOST" if isinstance(error, socket.gaierror) else "PORT"
        raise SystemExit(f"{name}: cannot listen on {host}:{port} ({error.strerror})") from error
    return bound


async def _serve(server: Server, listener: socket.socket, requests: StopRequests) -> None:
    requests.listen()
    try:
        await database.run(schema.require_current)
        await runtime().process.start()
    except schema.IncompatibleSchemaError as error:
        raise SystemExit(str(error)) from error
    except DatabaseError as error:
        raise SystemExit(f"DATABASE_URL: the database cannot be used ({type(error).__name__})") from error
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(START_POLL_SECONDS)
    print(_ready_line(listener), flush=True)  # noqa: T201
    settle_garbage_collector()
    await wait_for_either(serving, requests.stop)
    draining = asyncio.create_task(_drain())
    await wait_for_either(draining, requests.hurry)
    draining.cancel()
    server.should_exit, server.force_exit = True, requests.hurry.is_set()
    await serving
    await _stop_process()


async def _stop_process() -> None:
    """Delete the process's row if the database replies, and close the connections to Redis."""
    try:
        await asyncio.wait_for(runtime().process.stop(), STOP_SECONDS)
    except (DatabaseError, TimeoutError) as error:
        log.warning("process row not deleted; other processes wait for its lease", error=type(error).__name__)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await runtime().broker.aclose()
            await runtime().redis.aclose()


async def _drain() -> None:
    runtime().drain.begin()
    log.info("draining", seconds=settings.DRAIN_SECONDS)
    try:
        await asyncio.wait_for(runtime().drain.finish(), settings.DRAIN_SECONDS + AFTER_DRAIN_SECONDS)
    except (DatabaseError, TimeoutError):
        log.error("drain timed out: the reaper of the next process ends the remaining generations")


def _ready_line(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"Rivulet is ready: http://{f'[{host}]' if ':' in host else host}:{port}/"


def settle_garbage_collector() -> None:
    """Exclude the objects of the start from garbage collection, because scanning them delays streams."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
