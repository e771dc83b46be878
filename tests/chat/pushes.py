"""Reading push channels in tests: a strict parser of event streams, and background readers."""

import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import httpx

from tests.product import ApiUser


@dataclass(frozen=True)
class Pushed:
    """One event as an EventSource dispatches it."""

    id: str
    name: str
    data: str

    @property
    def number(self) -> int:
        return int(self.id.rpartition(":")[2])


def dispatched(pieces: Iterable[bytes]) -> Iterator[Pushed]:
    """Parse an event stream as WHATWG defines it; lines end with LF, CR or CRLF only."""
    rest, last_id, name, data = b"", "", "", []
    for piece in pieces:
        *lines, rest = re.split(rb"\r\n|\n|\r(?!$)", rest + piece)
        for line in lines:
            field, _colon, value = line.decode().partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                last_id = value
            elif not line:
                if data:
                    yield Pushed(last_id, name or "message", "\n".join(data))
                name, data = "", []


def new_key() -> str:
    return f"pay:{secrets.token_hex(6)}"


@contextmanager
def reading(api_user: ApiUser, key: str, after: str = "", path: str = "") -> Iterator[tuple[int, Iterator[Pushed]]]:
    """Connect to a user's channel; return the status and the events."""
    headers = {"Last-Event-ID": after} if after else {}
    with api_user.client.stream("GET", path or f"/sse/{key}/", headers=headers) as response:
        if response.status_code == 200:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        yield response.status_code, dispatched(response.iter_raw())


def read(api_user: ApiUser, key: str, after: str = "") -> list[Pushed]:
    """Read a channel until it closes."""
    with reading(api_user, key, after) as (status, events):
        assert status == 200
        return list(events)


def status_of(api_user: ApiUser, key: str, after: str = "") -> int:
    with reading(api_user, key, after) as (status, _events):
        return status


class Reader:
    """Read a channel in the background; store the events and their arrival times."""

    def __init__(self, api_user: ApiUser, key: str, after: str = "") -> None:
        self._api_user, self._key, self._after = api_user, key, after
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.client = api_user.product.client(api_user.access)
        self.events: list[Pushed] = []
        self.arrivals: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._opened.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the stream did not end"

    def _read(self) -> None:
        headers = {"Last-Event-ID": self._after} if self._after else {}
        with self.client.stream("GET", f"/sse/{self._key}/", headers=headers) as response:
            for event in dispatched(self._pieces(response)):
                self.events.append(event)
                self.arrivals.append(time.monotonic())

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        for piece in response.iter_raw():
            self._opened.set()
            yield piece

    def wait_for(self, count: int, seconds: float = 60) -> list[Pushed]:
        """Wait until `count` events have arrived."""
        deadline = time.monotonic() + seconds
        while len(self.events) < count:
            assert time.monotonic() < deadline, self.events
            time.sleep(0.01)
        return self.events
