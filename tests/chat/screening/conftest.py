"""A product with its own sensitive words, and an upstream with scripted completions."""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.product import ApiUser, Product, connected
from tests.scenarios import ChatExchange
from tests.upstreams import FakeOpenAI

Lister = Callable[..., int]
# The id of a word, the direction, and the generation or None.
Row = tuple[int, str, str | None]
Hits = Callable[[str], tuple[int, list[Row]]]


class Speaker(FakeOpenAI):
    """An upstream that sends `deltas`, `pause` seconds apart; then it ends well, hangs, or disconnects."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.say("Yes.")

    def say(self, *texts: str, reasoning: str = "", pause: float = 0.0, end: str = "stop") -> None:
        """Set the next completions; `reasoning` comes first, a character at a time."""
        self.deltas: list[dict[str, Any]] = [{"reasoning_content": character} for character in reasoning]
        self.deltas += [{"content": text} for text in texts]
        self.pause, self.end = pause, end

    async def handle(self, exchange: Any) -> None:
        chat: ChatExchange = exchange
        await chat.start()
        for delta in self.deltas:
            await chat.delta(**delta)
            await asyncio.sleep(self.pause)
        if self.end in {"stop", "length"}:
            await chat.stop(reason=self.end)
        elif self.end == "cut":
            chat.cut()
        else:
            await asyncio.Event().wait()

    def sent_for(self, prompt: str) -> list[dict[str, Any]]:
        """Return the messages of the request whose last message is this prompt."""
        bodies = [request.body["messages"] for request in self.requests]
        return next(list(messages) for messages in bodies if messages[-1]["content"] == prompt)


@pytest.fixture(scope="session")
def speaker() -> Iterator[Speaker]:
    with Speaker.in_thread() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def screening(speaker: Speaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The product, connected to the scripted upstream."""
    with Product(tmp_path_factory.mktemp("screening"), **connected(speaker)) as running:
        yield running


@pytest.fixture(scope="session")
def staff(screening: Product) -> ApiUser:
    return screening.admin()


@pytest.fixture
def newcomer(screening: Product, speaker: Speaker) -> ApiUser:
    speaker.say("Yes.")
    return screening.register(f"p{secrets.token_hex(5)}")


@pytest.fixture
def listed(staff: ApiUser) -> Iterator[Lister]:
    """Add a word for the duration of this test and return its id."""
    added = []

    def add(word: str, action: str = "block", scope: str = "both", **values: Any) -> int:
        body = {"word": word, "action": action, "scope": scope, **values}
        made = staff.client.post("/api/admin/sensitive-words/", json=body)
        assert made.status_code == 201, made.text
        added.append(made.json()["id"])
        return int(added[-1])

    yield add
    for row in added:
        assert staff.client.delete(f"/api/admin/sensitive-words/{row}/").status_code in {204, 404}


@pytest.fixture
def allowed(staff: ApiUser) -> Iterator[Callable[[str], None]]:
    """Add an allowed phrase for the duration of this test."""
    added = []

    def add(phrase: str) -> None:
        made = staff.client.post("/api/admin/allowed-phrases/", json={"phrase": phrase})
        assert made.status_code == 201, made.text
        added.append(made.json()["id"])

    yield add
    for row in added:
        staff.client.delete(f"/api/admin/allowed-phrases/{row}/")


@pytest.fixture
def hits(screening: Product) -> Hits:
    """Return a user's abuse count and hits, oldest first."""

    def of(name: str) -> tuple[int, list[Row]]:
        with closing(sqlite3.connect(screening.var_dir / "rivulet.sqlite3")) as database:
            user, count = database.execute(
                "SELECT id, abuse_count FROM accounts_user WHERE username = ?", [name]
            ).fetchone()
            rows = database.execute(
                "SELECT word_id, direction, generation_id FROM chat_hit WHERE user_id = ? ORDER BY id", [user]
            )
            return count, rows.fetchall()

    return of
