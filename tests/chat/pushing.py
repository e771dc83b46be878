"""The functions that processes of `test_push_stored.py` run, with plain JSON arguments and results."""

from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.utils import timezone

from chat.channels import push, store
from chat.channels.models import Channel
from chat.errors import ChannelEnded


def push_in_every_way(username: str, names: list[str], ends: bool, mortal: int) -> dict[str, list[str]]:
    """Push from threads, until the end, and during pruning, to a channel each; return the ids."""
    return {
        "shared": push_each(username, "shared", names, 4),
        "ended": push_until_the_end(username, "ended", len(names), ends),
        "pruned": push_and_prune(username, "pruned", mortal),
    }


def push_each(username: str, key: str, names: list[str], threads: int) -> list[str]:
    """Push each name, from several threads; return the ids."""

    def some(mine: list[str]) -> list[str]:
        try:
            return [push.send(username, key, name) for name in mine]
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return [id_ for ids in pool.map(some, [names[first::threads] for first in range(threads)]) for id_ in ids]


def push_until_the_end(username: str, key: str, count: int, ends: bool) -> list[str]:
    """Push until the channel has ended, or end it half-way; return the ids."""
    ids = []
    try:
        for number in range(count):
            if ends and number == count // 2:
                ids.append(push.complete(username, key))
            ids.append(push.send(username, key, number))
    except ChannelEnded:
        return ids
    return ids


def push_and_prune(username: str, key: str, count: int) -> list[str]:
    """Push to a channel that expires repeatedly and is sometimes pruned; return the ids."""
    ids = []
    for number in range(count):
        ids.append(push.send(username, key, number))
        if number % 3 == 0:
            Channel.objects.filter(key=key).update(expires_at=timezone.now())
        if number % 3 == 1:
            store.prune()
    return ids
