"""Serve an ASGI application on loopback with the product's server and HTTP protocol."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from runtime.http import BoundedProtocol
from runtime.serve import Server


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
