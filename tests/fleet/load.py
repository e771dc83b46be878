"""Users who go on asking through one address, and follow each completion to its end."""

import asyncio
import itertools
import random
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import httpx

from tests.product import ApiUser
from tests.readers import PATIENCE_SECONDS, RETRY_SECONDS, Reading, read


class Asking(ABC):
    """Users who ask, in a thread of their own, until the end of the block."""

    def __init__(self, url: str) -> None:
        self._url, self._ending = url, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._error: BaseException | None = None
        # Every completion that was accepted and read, with the user who asked.
        self.readings: list[tuple[ApiUser, Reading]] = []
        # Refusals with a status of 500 and more; each request was sent again.
        self.refusals: list[str] = []
        # Seconds until a prompt was accepted.
        self.waits: list[float] = []
        # Connections that brought no response.
        self.cut: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        self._thread.join()
        if self._error:
            raise self._error

    @property
    def served(self) -> int:
        """The number of completions so far that were read to their end."""
        self.require_sound()
        return sum(reading.ended for _user, reading in list(self.readings))

    def require_sound(self) -> None:
        """Fail when the users ask no more, because something was wrong."""
        assert self._thread.is_alive(), self._error

    @abstractmethod
    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        """Ask until the end of the block."""

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        options = {"base_url": self._url, "limits": limits, "timeout": 60, "trust_env": False, "verify": False}
        try:
            async with httpx.AsyncClient(**options) as client:  # type: ignore[arg-type]
                await self._ask_on(client)
        except BaseException as error:
            self._error = error
            raise

    async def _accepted(self, client: httpx.AsyncClient, user: ApiUser, model: str, key: str = "") -> str:
        """Send a prompt until it is accepted; return the generation."""
        began, body = time.monotonic(), {"model": model, "prompt": "Hello"}
        response = await self._post(client, user, "/api/chat/", body, key or secrets.token_hex(8))
        self.waits.append(time.monotonic() - began)
        assert response.status_code == 202, response.text
        return str(response.json()["generation"]["id"])

    async def _post(
        self, client: httpx.AsyncClient, user: ApiUser, path: str, body: object = None, key: str = ""
    ) -> httpx.Response:
        """Send a request again until it is neither lost nor refused with 500 or more; return the response."""
        headers = {"Authorization": f"Bearer {user.access}", **({"Idempotency-Key": key} if key else {})}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = await client.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.cut.append(f"{type(error).__name__} {path} of {user.name}")
            else:
                if response.status_code < 500:
                    return response
                self.refusals.append(f"{response.status_code} {response.text}")
            assert time.monotonic() < deadline, (self.cut, self.refusals)
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, user: ApiUser, generation: str, cuts: random.Random | None = None) -> None:
        reading = Reading(generation)
        self.readings.append((user, reading))
        await read(self._url, user.access, generation, cuts=cuts, reading=reading)
        self.refusals += [f"{status} events of {generation}" for status in reading.refused]


class Load(Asking):
    """Streams that follow one another, and short prompts at a steady rate."""

    def __init__(self, url: str, users: Sequence[ApiUser], streams: int, prompts_a_second: float) -> None:
        super().__init__(url)
        self._users, self._streams, self._rate = itertools.cycle(users), streams, prompts_a_second

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            for _stream in range(self._streams):
                group.create_task(self._go_on(client))
            while not self._ending.is_set():
                group.create_task(self._ask(client, "prompt"))
                await asyncio.sleep(1 / self._rate)

    async def _go_on(self, client: httpx.AsyncClient) -> None:
        while not self._ending.is_set():
            await self._ask(client, "stream")

    async def _ask(self, client: httpx.AsyncClient, model: str) -> None:
        user = next(self._users)
        await self._follow(user, await self._accepted(client, user, model))


class Crowd(Asking):
    """Users who read, leave and come back, leave for good, stop, send twice, and ask models that fail."""

    FAILING = ("cut", "error", "reset")

    def __init__(self, url: str, users: Sequence[ApiUser], chance: random.Random, pause: float) -> None:
        super().__init__(url)
        self._users, self._chance, self._pause = users, chance, pause
        # The generations of those who left for good.
        self.left: list[str] = []

    async def _ask_on(self, client: httpx.AsyncClient) -> None:
        async with asyncio.TaskGroup() as group:
            for user in self._users:
                group.create_task(self._live(client, user))

    async def _live(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        acts = [self._read, self._read, self._wander, self._leave, self._stop, self._send_twice, self._fail]
        while not self._ending.is_set():
            await asyncio.sleep(self._chance.uniform(0, self._pause))
            await self._chance.choice(acts)(client, user)

    async def _read(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        model = self._chance.choice(["stream", "prompt"])
        await self._follow(user, await self._accepted(client, user, model))

    async def _wander(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        await self._follow(user, await self._accepted(client, user, "stream"), self._chance)

    async def _leave(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        self.left.append(await self._accepted(client, user, "stream"))

    async def _stop(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        generation = await self._accepted(client, user, "stream")
        await asyncio.sleep(self._chance.uniform(0, 1))
        stopped = await self._post(client, user, f"/api/generations/{generation}/stop/")
        assert stopped.json()["status"] != "running"
        await self._follow(user, generation)

    async def _send_twice(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        key = secrets.token_hex(8)
        first, second = await asyncio.gather(*(self._accepted(client, user, "stream", key) for _post in range(2)))
        assert first == second
        await self._follow(user, first)

    async def _fail(self, client: httpx.AsyncClient, user: ApiUser) -> None:
        await self._follow(user, await self._accepted(client, user, self._chance.choice(self.FAILING)))
