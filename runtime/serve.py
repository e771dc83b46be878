"""`manage.py serve`: the serving process with its socket, timers and drain.

uvicorn only speaks HTTP; this module stops it when a signal asks for that (signals.py). With `WORKERS` above 1 the
process is one of the workers, or the supervisor (supervisor.py) that starts them. A process that serves alone
starts, when SIGHUP asks it to reload, a worker in its place, retires, and is its supervisor from then on.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import NoReturn

import structlog
import uvicorn
import uvloop
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils.module_loading import import_string

from runtime import database, logs, schema
from runtime.apps import runtime
from runtime.http import BoundedProtocol, TrustedProxies
from runtime.signals import Requests
from runtime.supervisor import Supervisor, announce
from runtime.tasks import wait_for_either

log = structlog.get_logger("runtime")

# Seconds added to DRAIN_SECONDS for storing the last generations and closing connections.
AFTER_DRAIN_SECONDS = 10.0
# Seconds between two checks of whether uvicorn has started.
START_POLL_SECONDS = 0.01
# Seconds between two checks of whether a retiring process has ended its work.
RETIRE_POLL_SECONDS = 0.2
# Seconds an idle connection stays open: longer than in a proxy in front, which else writes into a closing connection.
KEEP_ALIVE_SECONDS = 75
# Bytes from which glibc returns a freed block to the system. By itself it raises this limit up to 32 MiB, and many
# bodies at once leave gaps in the heap that are several times their size. -3 is its name for this option.
MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES = -3, 64 * 1024
# Seconds to wait for each of the last steps: deleting the process's row, and closing connections to Redis.
STOP_SECONDS = 3.0


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers."""

    def may_get_requests(self) -> bool:
        """Return whether a request may still come, or begin to be carried out."""
        return any(connection.awaits_request() for connection in self.server_state.connections)  # type: ignore[union-attr]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: `Requests` handles the signals."""
        yield


def serve() -> None:
    """Serve until a signal comes, then drain. A taken address is an error."""
    given = None if settings.LISTENER is None else _given(settings.LISTENER)
    listener = given or _listen(settings.HOST, settings.PORT)
    if settings.WORKERS == 1:
        _run(listener, Requests(), alone=True)
    # The address is free. Each worker listens with its own socket, so that the kernel spreads connections evenly; the
    # supervisor's socket does not listen, it only keeps the port while there is no worker.
    port = listener.getsockname()[1]
    if given is None:
        listener.close()
    logs.write_in_background()
    with (
        given or _bind(settings.HOST, port, shared=True) as reserved,
        tempfile.TemporaryDirectory(prefix="rivulet-metrics-") as metrics,
    ):
        supervisor = Supervisor(port, Requests(), metrics, given)
        raise SystemExit(asyncio.run(supervisor.run(settings.WORKERS, _ready_line(reserved))))


def work(port: int, descriptor: int | None = None) -> None:
    """Serve as a worker at this port or socket, until the supervisor stops it."""
    listener = _listen(settings.HOST, port, shared=True) if descriptor is None else _given(descriptor)
    _run(listener, Requests(socket.socket(fileno=os.dup(0)), listener))


def _run(listener: socket.socket, requests: Requests, *, alone: bool = False) -> NoReturn:
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
        code = uvloop.run(_serve(Server(config), listener, requests, alone=alone))
        database.close()
    finally:
        stop_log()  # the last line says why the process ends
    sys.stdout.flush()
    # Without the interpreter's own end, which would wait for a thread that hangs in the database.
    os._exit(code)


def _listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = _bind(host, port, shared=shared)
    listener.listen(4096)
    return listener


def _given(descriptor: int) -> socket.socket:
    """Return the listening socket that another process passed to this one."""
    listener = socket.socket(fileno=descriptor)
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


async def _serve(server: Server, listener: socket.socket, requests: Requests, *, alone: bool) -> int:
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
    announce(_ready_line(listener))
    settle_garbage_collector()
    supervisor = await _leave(serving, listener, requests, alone=alone)
    if supervisor or requests.retire.is_set():
        await _retire(server, requests.stop)
    draining = asyncio.create_task(_drain())
    await wait_for_either(draining, requests.hurry)
    draining.cancel()
    server.should_exit, server.force_exit = True, requests.hurry.is_set()
    await serving
    await _stop_process()
    return await supervisor.finish() if supervisor else 0


async def _leave(
    serving: "asyncio.Task[None]", listener: socket.socket, requests: Requests, *, alone: bool
) -> Supervisor | None:
    """Return when this process must end, with the supervisor of its successor."""
    while True:
        await wait_for_either(serving, requests.any)
        requests.any.clear()
        if serving.done() or requests.stop.is_set() or requests.retire.is_set():
            return None
        if alone and requests.reload.is_set():
            requests.reload.clear()
            log.info("reloading")
            of_systemd = None if settings.LISTENER is None else listener.dup()
            supervisor = Supervisor(listener.getsockname()[1], requests, listener=of_systemd)
            taking = asyncio.create_task(supervisor.take_over(listener))
            await wait_for_either(taking, requests.stop)
            if not taking.done():
                return None  # the new worker is stopped as soon as it is ready
            if taking.result():
                return supervisor
            log.error("reload failed: the new process did not start, this one goes on")


async def _retire(server: Server, stop: asyncio.Event) -> None:
    """Serve connections and generations to their end, but accept no new ones.

    A request to stop ends the wait.
    """
    log.info("retiring", connections=len(server.server_state.connections))
    for accepting in server.servers:
        accepting.close()
    server.server_state.retires = True  # type: ignore[attr-defined]
    while not stop.is_set() and (server.may_get_requests() or runtime().drain.is_busy()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RETIRE_POLL_SECONDS)


async def _stop_process() -> None:
    """Delete the process's row if the database replies, export the last spans, leave Redis."""
    try:
        await asyncio.wait_for(runtime().process.stop(), STOP_SECONDS)
    except (DatabaseError, InterfaceError, TimeoutError) as error:
        log.warning("process row not deleted; other processes wait for its lease", error=type(error).__name__)
    if (tracing := runtime().tracing) is not None:
        await asyncio.to_thread(tracing.stop)
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
