"""The work of the processes in `test_races.py`. Arguments and results are plain JSON values."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from random import Random
from typing import Any

from django.db import connection, transaction

from chat.apps import chat
from chat.generations.request import GenerationRequest
from quotas import ledger
from quotas.apps import quotas_app
from quotas.errors import QuotaExhausted
from quotas.setup import ensure_defaults
from runtime import database
from runtime.apps import runtime
from tests import factories


def reserve_each(user_id: int, model_id: int, references: list[str], threads: int) -> list[str]:
    """Try to reserve for each reference; return those that got a unit."""

    def attempt(reference: str) -> list[str]:
        return [reference] if reserve(user_id, model_id, reference) else []

    return _in_threads(attempt, references, threads)


def end_each(references: list[str], ends: list[str]) -> list[list[Any]]:
    """End each reference in all ways at once; return all charges."""

    def end(how: str) -> list[list[Any]]:
        return [[reference, *_end(how, reference)] for reference in references]

    return _in_threads(end, ends, len(ends))


def live(user_id: int, model_id: int, name: str, count: int) -> int:
    """Reserve and end repeatedly, leaving some open; return how many were refused."""
    random, refused = Random(name), 0
    for number in range(count):
        reference = f"{name}-{number}"
        if not reserve(user_id, model_id, reference):
            refused += 1
        elif random.random() < 0.9:
            _end(random.choice(["settle", "release", "release"]), reference)
    return refused


def ask_each(user_id: int, model_id: int, slug: str, references: list[str], tasks: int) -> list[str]:
    """Try to reserve for each reference with early refusals; return those that got a unit."""

    async def attempt(reference: str) -> list[str]:
        if await quotas_app().hints.exhausted(user_id, slug):
            try:
                await database.run(ledger.confirm_exhausted, user_id, model_id)
            except QuotaExhausted:
                return []
        granted = await database.run(reserve, user_id, model_id, reference)
        return [reference] if granted else []

    async def some(mine: list[str]) -> list[str]:
        return list(chain.from_iterable([await attempt(reference) for reference in mine]))

    async def all_at_once() -> list[str]:
        runtime().process.loop = asyncio.get_running_loop()
        await database.run(quotas_app().snapshot.current)
        granted = await asyncio.gather(*(some(references[first::tasks]) for first in range(tasks)))
        await runtime().redis.aclose()
        return list(chain.from_iterable(granted))

    try:
        return asyncio.run(all_at_once())
    finally:
        database.close()


def generate_each(user_ids: list[int], slug: str, count: int) -> int:
    """Send `count` prompts of each user at once, and wait for their ends; return how many began."""

    async def generated(user_id: int) -> bool:
        try:
            await chat().generations.start(GenerationRequest(user_id, slug, "Hello"))
        except QuotaExhausted:
            return False
        return True

    async def all_at_once() -> int:
        runtime().process.loop = asyncio.get_running_loop()
        began = await asyncio.gather(*(generated(user_id) for user_id in user_ids for _prompt in range(count)))
        await chat().generations.wait()
        return sum(began)

    try:
        return asyncio.run(all_at_once())
    finally:
        database.close()


def reap() -> None:
    """End what dead processes left behind."""
    factories.remote().reap(set())


def set_up() -> None:
    ensure_defaults()


def reserve(user_id: int, model_id: int, reference: str) -> bool:
    """Try to reserve; return whether there was a unit."""
    try:
        with transaction.atomic():
            ledger.reserve(user_id, model_id, reference)
    except QuotaExhausted:
        return False
    return True


def _end(how: str, reference: str) -> tuple[int, str, str]:
    with transaction.atomic():
        charge = ledger.settle(reference, "stop") if how == "settle" else ledger.release(reference, "interrupted")
    return charge.amount, charge.source, charge.reason


def _in_threads(call: Callable[[str], list[Any]], rows: list[str], threads: int) -> list[Any]:
    def some(mine: list[str]) -> list[Any]:
        try:
            return list(chain.from_iterable(map(call, mine)))
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(chain.from_iterable(pool.map(some, [rows[first::threads] for first in range(threads)])))
