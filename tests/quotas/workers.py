"""The work of the processes in `test_parallel_credits.py`. Arguments and results are plain JSON values."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from quotas import invitations, ledger, redeem_codes
from quotas.errors import InvalidCode
from tests.quotas.race import reserve


def redeem_each(user_ids: list[int], code: str, threads: int) -> list[int]:
    """Try the code for each user; return the users that got its credits."""

    def attempt(user_id: int) -> bool:
        try:
            redeem_codes.redeem(user_id, code)
        except InvalidCode:
            return False
        return True

    return [user_id for user_id, got in zip(user_ids, _in_threads(attempt, user_ids, threads), strict=True) if got]


def answer_each(user_ids: list[int], model_id: int, name: str, threads: int) -> int:
    """Reserve and settle a unit for each user; return how many were charged."""

    def answer(number: int) -> int:
        reference = f"{name}-{number}"
        assert reserve(user_ids[number], model_id, reference)
        with transaction.atomic():
            return settle(reference)

    return sum(_in_threads(answer, range(len(user_ids)), threads))


def settle(reference: str) -> int:
    charge = ledger.settle(reference, "stop")
    if charge.invitation:
        invitations.reward(charge.invitation)
    return charge.amount


def die_while_settling(reference: str) -> None:
    """Settle and reward, and be killed before any of it is committed."""
    with transaction.atomic():
        settle(reference)
        os.kill(os.getpid(), signal.SIGKILL)


def settle_each(references: list[str]) -> list[int]:
    charges = []
    for reference in references:
        with transaction.atomic():
            charges.append(settle(reference))
    return charges


def _in_threads(call: Callable[[Any], Any], values: Any, threads: int) -> list[Any]:
    def once(value: Any) -> Any:
        try:
            return call(value)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(once, values))
