"""Keep the evidence of failures of this process: a sliding window, and accusations of keys."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

# Seconds for which a request counts as evidence about its upstream.
WINDOW_SECONDS = 60.0
# Requests that a window holds at most; the oldest are dropped.
WINDOW_REQUESTS = 2_000
# How many requests, of how many users, must have failed before a circuit opens without a failed probe.
MIN_FAILED_REQUESTS, MIN_FAILED_USERS = 5, 2


def monotonic() -> float:
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class Evidence:
    """How many requests failed, of how many users, since when."""

    requests: int
    users: int
    since: datetime

    def values(self) -> dict[str, Any]:
        return {"requests": self.requests, "users": self.users, "since": self.since}


class Window:
    """The latest requests to one upstream model, and which of them failed.

    A generation counts once.
    """

    def __init__(self) -> None:
        self._requests: OrderedDict[str, tuple[float, int, bool]] = OrderedDict()

    def note(self, generation: str, user: int, *, failed: bool) -> None:
        """Note how a request ended; of the attempts of one generation the last one counts."""
        self._requests.pop(generation, None)
        self._requests[generation] = (monotonic(), user, failed)
        if len(self._requests) > WINDOW_REQUESTS:
            self._requests.popitem(last=False)

    def evidence(self) -> Evidence:
        """Return how many requests of how many users failed lately, and since when about."""
        failed = self._failed()
        began = min((at for at, _user in failed), default=monotonic())
        since = timezone.now() - timedelta(seconds=monotonic() - began)
        return Evidence(len(failed), len({user for _at, user in failed}), since)

    def opens_circuit(self) -> bool:
        """Return whether so many requests failed that no single user can be the cause."""
        failed = self._failed()
        users = {user for _at, user in failed}
        enough = len(failed) >= MIN_FAILED_REQUESTS and len(users) >= MIN_FAILED_USERS
        return enough and 2 * len(failed) >= len(self._requests)

    def _failed(self) -> list[tuple[float, int]]:
        oldest = monotonic() - WINDOW_SECONDS
        while self._requests and next(iter(self._requests.values()))[0] < oldest:
            self._requests.popitem(last=False)
        return [(at, user) for at, user, failed in self._requests.values() if failed]


@dataclass(slots=True)
class Accusation:
    """The requests for which a vendor declared a key unusable, since its last good probe."""

    since: datetime = field(default_factory=timezone.now)
    generations: set[str] = field(default_factory=set)
    users: set[int] = field(default_factory=set)

    def evidence(self) -> Evidence:
        return Evidence(len(self.generations), len(self.users), self.since)
