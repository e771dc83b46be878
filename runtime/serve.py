"""`manage.py serve`: this process from its first signal to its last. Owns the listening socket, signals, timers, drain.

uvicorn speaks HTTP inside; it is told when to end and handles no signal itself.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn
import uvloop
from django.conf import settings
from django.utils.module_loading import import_string

from runtime import database, drain, process

log = structlog.get_logger("runtime")

# What may follow DRAIN_SECONDS: storing the last ends, and closing connections.
LAST_SECONDS = 10.0
STARTING_POLL_SECONDS = 0.01
# Longer than a proxy in front keeps its idle connections, so that it never writes into one we are closing.
KEEP_ALIVE_SECONDS = 75


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to us."""
        yield


def serve() -> None:
    """Serve until a signal comes, then drain and return; exit with one line when the address cannot be had."""
    listener = _listen(settings.HOST, settings.PORT)
    config = uvicorn.Config(
        import_string(settings.ASGI_APPLICATION),
        http="httptools",
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
    await process.start()
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
    await process.stop()


async def _drain() -> None:
    drain.begin()
    log.info("draining", seconds=settings.DRAIN_SECONDS)
    try:
        await asyncio.wait_for(drain.finish(), settings.DRAIN_SECONDS + LAST_SECONDS)
    except TimeoutError:
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
