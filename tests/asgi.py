"""Serve an ASGI application on loopback with the product's server and HTTP protocol."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from runtime.http import BoundedProtocol
from runtime.serve import Server


def overlook_stalls(patch: pytest.MonkeyPatch, most: float) -> None:
    """Let the clock of the running loop go on by `most` seconds at most between two looks at it.

    So no timer is due only because the process stood still, in which the client of a test stood still too. All other
    waits in the loop must be shorter than that.
    """
    loop = asyncio.get_running_loop()
    real, seen, now = loop.time, loop.time(), loop.time()

    def time() -> float:
        nonlocal seen, now
        before, seen = seen, real()
        now += min(seen - before, most)
        return now

    patch.setattr(loop, "time", time)


@asynccontextmanager
async def serving(application: Any, **options: Any) -> AsyncGenerator[tuple[str, int], None]:
    """Yield the address of a server for the application, with these options of uvicorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, **options)
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()
    server.should_exit = server.force_exit = True
    await task
