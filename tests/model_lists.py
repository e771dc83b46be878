"""The model lists of the fake upstreams, one function per scenario, as in `tests.scenarios`.

`upstream.keys["sk-..."] = name` chooses one for a key.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tests.loopback import Exchange

MODELS = ["gpt-4o", "echo", "org/model:free", "名字", "paced"]
CONTEXT_TOKENS = 131_072

ListScenario = Callable[[Exchange], Awaitable[None]]
LISTS: dict[str, ListScenario] = {}


def listing(run: ListScenario) -> ListScenario:
    LISTS[run.__name__] = run
    return run


async def run_list(exchange: Exchange, name: str, models: Iterable[str] = MODELS) -> None:
    """Reply as `name` demands; for names that are no scenario list `models`."""
    exchange.request.scenario = name
    if name in LISTS:
        await LISTS[name](exchange)
    else:
        await _answer(exchange, {"object": "list", "data": [{"id": model, "object": "model"} for model in models]})


async def _answer(x: Exchange, value: Any, status: int = 200) -> None:
    await x.respond(status, json.dumps(value).encode())


@listing
async def few(x: Exchange) -> None:
    """Five models, one of them with the size of its context."""
    rows: list[dict[str, Any]] = [{"id": name, "object": "model"} for name in MODELS]
    rows[1]["context_length"] = CONTEXT_TOKENS
    await _answer(x, {"object": "list", "data": rows})


@listing
async def bare(x: Exchange) -> None:
    """A bare array of names."""
    await _answer(x, ["b", "a", "a"])


@listing
async def odd(x: Exchange) -> None:
    """Entries without a sensible name among one that has one."""
    rows = [{"id": "good"}, {"id": ""}, {"id": 7}, {"id": "x" * 300}, {"id": "a\nb"}, {}, None, 3, ["c"]]
    await _answer(x, {"data": rows})


@listing
async def empty(x: Exchange) -> None:
    """No model at all."""
    await _answer(x, {"object": "list", "data": []})


@listing
async def many(x: Exchange) -> None:
    """Two thousand models."""
    await _answer(x, {"data": [{"id": f"m{n:04}"} for n in range(2_000)]})


@listing
async def no_list(x: Exchange) -> None:
    """An object without a list."""
    await _answer(x, {"data": {"id": "m"}})


@listing
async def failed(x: Exchange) -> None:
    """An error envelope under the status 200."""
    await _answer(x, {"error": {"message": "sk-secret is no good", "code": "invalid_api_key"}})


@listing
async def refused(x: Exchange) -> None:
    """401, and the key in the message."""
    await _answer(x, {"error": {"message": f"Bad key {x.request.key}", "code": "invalid_api_key"}}, 401)


@listing
async def missing(x: Exchange) -> None:
    """404 with a page."""
    await x.respond(404, b"<html>nothing here</html>", "text/html")


@listing
async def moved(x: Exchange) -> None:
    """A redirect, which is not followed."""
    await x.respond(302, b"", "text/html", location="http://127.0.0.1:9/v1/models")


@listing
async def html(x: Exchange) -> None:
    """200 with a login page."""
    await x.respond(200, b"<html><form>log in</form></html>", "text/html")


@listing
async def huge(x: Exchange) -> None:
    """A list that does not end."""
    await x.start("application/json")
    await x.send(b'{"data": [')
    while True:
        await x.send(b'{"id": "m"},' * 10_000)


@listing
async def hang(x: Exchange) -> None:
    """Silence."""
    await asyncio.Event().wait()


@listing
async def drip(x: Exchange) -> None:
    """A byte now and then, for ever."""
    await x.start("application/json")
    while True:
        await x.send(b" ")
        await asyncio.sleep(0.02)


@listing
async def cut(x: Exchange) -> None:
    """Half a list, then the end of the connection."""
    await x.start("application/json")
    await x.send(b'{"data": [{"id": "m"},')
    x.cut()
