"""`manage.py serve`: this process from its first signal to its last. Owns the listening socket, signals, timers, drain.

uvicorn speaks HTTP inside; it is told when to end and handles no signal itself.
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

import structlog
import uvicorn
import uvloop
from django.conf import settings
from django.db import DatabaseError
from django.utils.module_loading import import_string
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime import database, drain, process

log = structlog.get_logger("runtime")

# What may follow DRAIN_SECONDS: storing the last ends, and closing connections.
LAST_SECONDS = 10.0
STARTING_POLL_SECONDS = 0.01
# Longer than a proxy in front keeps its idle connections, so that it never writes into one we are closing.
KEEP_ALIVE_SECONDS = 75
SIGN_OFF_SECONDS = 3.0
# A request's head: how large, and how soon after the connection the first one must be whole.
MAX_HEAD_BYTES, HEAD_SECONDS = 64 * 1024, 30.0


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with an end to heads that never end, and to connections that never say anything."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes: int | None = 0
        self._silence = self.loop.call_later(HEAD_SECONDS, self._give_up)

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

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self.transport.close()


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield


def serve() -> None:
    """Serve until a signal comes, then drain and return; exit with one line when the address cannot be had."""
    listener = _listen(settings.HOST, settings.PORT)
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
    uvloop.run(_serve(Server(config), listener))
    database.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that hangs in the database would keep the interpreter from ending.
    os._exit(0)


def _raise_file_limit() -> None:
    """Each stream is two sockets; what the system allows at most is seldom what it gives at first."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(4096)
    except OSError as error:
        name = "HOST" if isinstance(error, socket.gaierror) else "PORT"
        raise SystemExit(f"{name}: cannot listen on {host}:{port} ({error.strerror})") from error
    return listener


async def _serve(server: Server, listener: socket.socket) -> None:
    # The first signal drains; a second one waits for nothing.
    told_to_stop, told_twice = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: told_twice.set() if told_to_stop.is_set() else told_to_stop.set())
    await _sign_on()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(STARTING_POLL_SECONDS)
    _say_where(listener)
    _settle_garbage_collector()
    await asyncio.wait(
        [serving, stopping := asyncio.create_task(told_to_stop.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    stopping.cancel()
    draining = asyncio.create_task(_drain())
    await asyncio.wait(
        [draining, hurried := asyncio.create_task(told_twice.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    hurried.cancel()
    draining.cancel()
    server.should_exit, server.force_exit = True, told_twice.is_set()
    await serving
    await _sign_off()


async def _sign_on() -> None:
    try:
        await process.start()
    except DatabaseError as error:
        raise SystemExit(f"DATABASE_URL: the database cannot be used ({type(error).__name__})") from error


async def _sign_off() -> None:
    """Take our row away if the database answers; if not, the row grows stale, and that is what it is for."""
    try:
        await asyncio.wait_for(process.stop(), SIGN_OFF_SECONDS)
    except (DatabaseError, TimeoutError) as error:
        log.warning("left without signing off", error=type(error).__name__)


async def _drain() -> None:
    drain.begin()
    log.info("draining", seconds=settings.DRAIN_SECONDS)
    try:
        await asyncio.wait_for(drain.finish(), settings.DRAIN_SECONDS + LAST_SECONDS)
    except (DatabaseError, TimeoutError):
        log.error("not everything was stored before the end; the reaper of the next process will end it")


def _say_where(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"Rivulet is ready: http://{shown}:{port}/", flush=True)  # noqa: T201


def _settle_garbage_collector() -> None:
    """What was loaded at the start stays for good: looking through it again and again only delays streams."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
