"""How far the log of a running generation goes, asked of the process that owns it.

Who has read at the owner may have seen more than has arrived anywhere else. Whether an id beyond that is such a
reader's or nonsense only the owner knows. What it says holds for readers who came before they were asked about, so
every question has a mark of its own. One that is not answered (the owner is dead, Redis is away) may be repeated.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from runtime import pubsub
from runtime.apps import runtime

LastOf = Callable[[str], int | None]
Heard = Callable[[int], None]

# Questions whose answers are still listened to.
MOST_OPEN = 1_000

_marks = itertools.count(1)
_open: OrderedDict[int, Heard] = OrderedDict()


def answer(last_of: LastOf) -> None:
    """Tell who asks: `last_of` returns the number of a log's last event, None where this process has no such log.

    Repeating is safe.
    """
    runtime().broker.serve(_questions(runtime().process.id), partial(_tell, last_of))


async def _tell(last_of: LastOf, question: bytes) -> None:
    asker, mark, generation = question.decode().split(" ")
    last = last_of(generation)
    if last is not None:
        await runtime().broker.publish(_answers(asker), f"{mark} {last}".encode())


def listen() -> None:
    """Be ready for answers, some time before the first question is asked. Repeating is safe."""
    runtime().broker.subscribe(_answers(runtime().process.id), _answered)


async def ask(owner: str, generation: str, heard: Heard) -> None:
    """Let `heard` be called with the number of the last event that its owner had after this call, if that answers."""
    if runtime().redis.away:
        return
    mark = next(_marks)
    _open[mark] = heard
    if len(_open) > MOST_OPEN:
        _open.popitem(last=False)
    await runtime().broker.publish(_questions(owner), f"{runtime().process.id} {mark} {generation}".encode())


def _answered(answer: bytes) -> None:
    if answer != pubsub.MISSED:
        mark, last = map(int, answer.split(b" "))
        if heard := _open.pop(mark, None):
            heard(last)


def _questions(owner: str) -> str:
    return f"extent:{owner}"


def _answers(asker: str) -> str:
    return f"extents:{asker}"
