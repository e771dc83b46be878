"""`manage.py serve`: this process from its first signal to its last. Owns the listening socket, signals, timers, drain.

uvicorn speaks HTTP inside; it is told when to end and handles no signal itself. With several `WORKERS` this is one of
them, or the supervisor (supervisor.py) that starts them.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import NoReturn, TextIO

import structlog
import uvicorn
import uvloop
from django.conf import settings
from django.db import DatabaseError
from django.utils.module_loading import import_string

from runtime import database, logs, supervisor
from runtime.apps import runtime
from runtime.http import BoundedProtocol

log = structlog.get_logger("runtime")

# What may follow DRAIN_SECONDS: storing the last ends, and closing connections.
LAST_SECONDS = 10.0
STARTING_POLL_SECONDS = 0.01
# Longer than a proxy in front keeps its idle connections, so that it never writes into one we are closing.
KEEP_ALIVE_SECONDS = 75
SIGN_OFF_SECONDS = 3.0


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield


def serve() -> None:
    """Serve until a signal comes, then drain and return; exit with one line when the address cannot be had."""
    listener = _listen(settings.HOST, settings.PORT)
    if settings.WORKERS == 1:
        _run(listener, _Orders())
    # Nobody else has the address. With sockets of their own, workers get equal shares of the connections; one more that
    # does not listen keeps the port while there is no worker.
    port = listener.getsockname()[1]
    listener.close()
    logs.detach()
    with _bind(settings.HOST, port, shared=True) as kept:
        raise SystemExit(supervisor.supervise(port, _where(kept)))


def work(port: int) -> None:
    """Serve as one of several workers at this port; the supervisor says when to stop."""
    _run(_listen(settings.HOST, port, shared=True), _Orders(sys.stdin))


class _Orders:
    """Being told to stop, and to hurry: by signals, or by who supervises this process.

    A supervised process may get a signal beside its order, from a terminal or from systemd: then it counts for nothing.
    """

    def __init__(self, supervision: TextIO | None = None) -> None:
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self._supervision = supervision
        self._orders = 0

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        if self._supervision:
            loop.add_reader(self._supervision, self._told, self._supervision)

    def _signalled(self) -> None:
        if self.stop.is_set() and not self._supervision:
            self.hurry.set()
        self.stop.set()

    def _told(self, supervision: TextIO) -> None:
        """Take orders; when the supervisor is gone, end too: nobody would."""
        orders = os.read(supervision.fileno(), 1024)
        if not orders:
            asyncio.get_running_loop().remove_reader(supervision)
        self._orders += len(orders)
        if self._orders > 1:
            self.hurry.set()
        self.stop.set()


def _run(listener: socket.socket, orders: _Orders) -> NoReturn:
    logs.detach()
    _raise_file_limit()
    config = uvicorn.Config(
        import_string(settings.ASGI_APPLICATION),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=bool(settings.TRUSTED_PROXIES),
        forwarded_allow_ips=settings.TRUSTED_PROXIES or [],
        timeout_graceful_shutdown=round(LAST_SECONDS),
    )
    try:
        uvloop.run(_serve(Server(config), listener, orders))
        database.close()
    finally:
        logs.finish()  # the last line is the reason
    sys.stdout.flush()
    # A thread that hangs in the database would keep the interpreter from ending.
    os._exit(0)


def _raise_file_limit() -> None:
    """Each stream is two sockets; what the system allows at most is seldom what it gives at first."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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


async def _serve(server: Server, listener: socket.socket, orders: _Orders) -> None:
    orders.listen()
    await _sign_on()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(STARTING_POLL_SECONDS)
    print(_where(listener), flush=True)  # noqa: T201
    settle_garbage_collector()
    await asyncio.wait(
        [serving, stopping := asyncio.create_task(orders.stop.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    stopping.cancel()
    draining = asyncio.create_task(_drain())
    await asyncio.wait(
        [draining, hurried := asyncio.create_task(orders.hurry.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    hurried.cancel()
    draining.cancel()
    server.should_exit, server.force_exit = True, orders.hurry.is_set()
    await serving
    await _sign_off()


async def _sign_on() -> None:
    try:
        await runtime().process.start()
    except DatabaseError as error:
        raise SystemExit(f"DATABASE_URL: the database cannot be used ({type(error).__name__})") from error


async def _sign_off() -> None:
    """Take our row away if the database answers; if not, the row grows stale, and that is what it is for."""
    try:
        await asyncio.wait_for(runtime().process.stop(), SIGN_OFF_SECONDS)
    except (DatabaseError, TimeoutError) as error:
        log.warning("left without signing off", error=type(error).__name__)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_hang_up(), SIGN_OFF_SECONDS)


async def _hang_up() -> None:
    await runtime().broker.aclose()
    await runtime().redis.aclose()


async def _drain() -> None:
    runtime().drain.begin()
    log.info("draining", seconds=settings.DRAIN_SECONDS)
    try:
        await asyncio.wait_for(runtime().drain.finish(), settings.DRAIN_SECONDS + LAST_SECONDS)
    except (DatabaseError, TimeoutError):
        log.error("not everything was stored before the end; the reaper of the next process will end it")


def _where(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"Rivulet is ready: http://{shown}:{port}/"


def settle_garbage_collector() -> None:
    """What was loaded at the start stays for good: looking through it again and again only delays streams."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
