"""Module functions for the `DatabaseExecutor` of the process: how the event loop uses the database.

They are global for the same reason as `django.db.connections`: there is one database, and nearly all code uses it.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from runtime.apps import runtime
from runtime.writer import Order

P = ParamSpec("P")
R = TypeVar("R")


async def run(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function in a database thread; see `DatabaseExecutor.run`."""
    return await runtime().database.run(function, *args, **kwargs)


async def write(order: Order, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function that writes, in a transaction that others may share; see `Writer.run`."""
    return await runtime().writer.run(order, function, *args, **kwargs)


def inside() -> bool:
    """Return whether the current thread is a database thread."""
    return runtime().database.inside()


def close() -> None:
    """End the database threads and close their connections. Repeating is safe."""
    runtime().database.close()
