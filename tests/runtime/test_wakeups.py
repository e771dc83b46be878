"""Wake-ups: heard here at once, in other processes through Redis, and made good after Redis was away."""

import asyncio
import contextvars
import os
from collections.abc import AsyncGenerator, Callable

import pytest
from redis.asyncio import Redis as Client

from runtime import pubsub, redis_clients
from tests.servers import Redis, environment, in_processes

Heard = asyncio.Queue[bytes]

# What takes a hundredth of a second on an idle machine; nothing here is about speed.
PATIENCE_SECONDS = 30


@pytest.fixture
async def redis(redis_server: Redis, settings: pytest.FixtureRequest) -> AsyncGenerator[Redis, None]:
    """Redis as this process's; all connections are closed in the end."""
    settings.REDIS_URL = redis_server.url
    yield redis_server
    await pubsub.aclose()
    await redis_clients.aclose()


def hear(topic: str) -> tuple[Heard, Callable[[], None]]:
    heard: Heard = asyncio.Queue()
    return heard, pubsub.listen(topic, heard.put_nowait)


async def wait_for(heard: Heard, payload: bytes) -> list[bytes]:
    """Return all that was heard up to this payload."""
    seen = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (last := await heard.get()) != payload:
            seen.append(last)
    return [*seen, last]


def wake_elsewhere(topic: str, payload: str) -> bool:
    """Wake a topic from the process that this runs in."""

    async def wake() -> None:
        await pubsub.wake(topic, payload.encode())
        await redis_clients.aclose()

    asyncio.run(wake())
    return True


async def elsewhere(topic: str, *payloads: str) -> None:
    variables = environment(f"sqlite:///{os.environ['VAR_DIR']}/unused.sqlite3", "", REDIS_URL=current_url())
    variables["VAR_DIR"] = os.environ["VAR_DIR"]
    rows = [(topic, payload) for payload in payloads]
    await asyncio.to_thread(in_processes, wake_elsewhere, rows, variables)


def current_url() -> str:
    from django.conf import settings

    return str(settings.REDIS_URL)


async def test_it_works() -> None:
    """Without Redis, listeners of this process are called before `wake` returns, until they unlisten."""
    heard, unlisten = hear("topic")
    other, unlisten_other = hear("other")
    await pubsub.wake("topic", b"1")
    assert heard.get_nowait() == b"1"
    unlisten()
    unlisten()
    await pubsub.wake("topic", b"2")
    assert heard.empty()
    assert other.empty()
    unlisten_other()


async def test_one_faulty_listener(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that fails keeps nobody else from being called."""

    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    unlisten_first = pubsub.listen("topic", fail)
    heard, unlisten = hear("topic")
    await pubsub.wake("topic", b"1")
    assert heard.get_nowait() == b"1"
    assert "wake-up failed" in caplog.text
    unlisten_first()
    unlisten()


async def test_answering(redis: Redis) -> None:
    """Wake-ups are answered once each, however often that was asked for; one that was missed is nobody's question."""
    speaker = contextvars.ContextVar("speaker", default="nobody")
    done: Heard = asyncio.Queue()

    async def work(payload: bytes) -> None:
        await asyncio.sleep(0)
        done.put_nowait(payload + b" for " + speaker.get().encode())

    heard, unlisten = hear("questions")
    speaker.set("somebody")
    pubsub.answer("questions", work)
    pubsub.answer("questions", work)
    assert await heard.get() == pubsub.MISSED
    await pubsub.wake("questions", b"one")
    await elsewhere("questions", "two")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert {await done.get(), await done.get()} == {b"one for nobody", b"two for nobody"}
    await asyncio.gather(*pubsub._answering)
    assert done.empty()
    unlisten()


async def test_from_another_thread() -> None:
    """Woken from another thread's event loop, listeners are called on the one they listen on."""
    loops: list[object] = []
    unlisten = pubsub.listen("topic", lambda _payload: loops.append(asyncio.get_running_loop()))
    await asyncio.to_thread(lambda: asyncio.run(pubsub.wake("topic")))
    assert loops == [asyncio.get_running_loop()]
    unlisten()


async def test_other_processes(redis: Redis) -> None:
    """What another process wakes is heard here; a listener is first told that it may have missed something."""
    heard, unlisten = hear("topic")
    assert await heard.get() == pubsub.MISSED
    await elsewhere("topic", "from elsewhere", "twice")
    assert {await heard.get(), await heard.get()} == {b"from elsewhere", b"twice"}
    await pubsub.wake("topic", b"own")
    await pubsub.wake("topic", b"last")
    await asyncio.sleep(0.2)
    assert await wait_for(heard, b"last") == [b"own", b"last"]
    assert heard.empty()
    unlisten()


async def test_redis_comes_back(redis: Redis) -> None:
    """After Redis was away listeners are told to look again, and hear what is said from then on."""
    heard, unlisten = hear("topic")
    assert await heard.get() == pubsub.MISSED
    await asyncio.to_thread(redis.stop)
    await asyncio.to_thread(redis.start)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await heard.get() == pubsub.MISSED
    await elsewhere("topic", "after")
    assert await wait_for(heard, b"after")
    unlisten()


async def test_what_redis_did_not_take_is_said_again(redis: Redis) -> None:
    """A wake-up that failed while Redis was away reaches other processes when it is back."""
    await asyncio.to_thread(redis.stop)
    await pubsub.wake("topic", b"lost")
    await asyncio.to_thread(redis.start)
    client = redis_clients.connect(connections=1)
    async with client, client.pubsub() as stranger:
        await stranger.subscribe(pubsub.PREFIX + "topic")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (message := await stranger.get_message(timeout=5)) is None or message["type"] != "message":
                pass
    assert message["channel"] == b"rivulet:wake:topic"


async def test_one_connection(redis: Redis) -> None:
    """However many topics are listened to, one connection hears for all of them, and lets go of what nobody wants."""
    others = 1 + len(pubsub._listeners)
    listening = [hear(f"topic{number}") for number in range(1_000)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for heard, _unlisten in listening:
            assert await heard.get() == pubsub.MISSED
    async with redis_clients.connect(connections=1, socket_timeout=PATIENCE_SECONDS) as client:
        assert await subscriptions(client) == [others + 1_000]
        for _heard, unlisten in listening:
            unlisten()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await subscriptions(client) != [others]:
                await asyncio.sleep(0.02)


async def subscriptions(client: Client) -> list[int]:
    """Return how many topics each connection has subscribed to that has subscribed to any."""
    return [count for row in await client.client_list() if (count := int(row["sub"]))]


async def test_cut_while_letting_go(redis: Redis) -> None:
    """A connection that is lost while topics are let go is followed by one, not two, which has none of them."""
    kept, unlisten_kept = hear("kept")
    wanted = 1 + len(pubsub._listeners)
    listening = [hear(f"topic{number}") for number in range(100)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        for heard, _unlisten in [(kept, unlisten_kept), *listening]:
            assert await heard.get() == pubsub.MISSED
    async with redis_clients.connect(connections=1, socket_timeout=PATIENCE_SECONDS) as client:
        await client.client_kill_filter(_type="pubsub")
        for _heard, unlisten in listening:
            unlisten()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await kept.get() == pubsub.MISSED
            while await subscriptions(client) != [wanted]:
                await asyncio.sleep(0.02)
    unlisten_kept()


async def test_a_fault_on_the_way(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of whatever kind leaves nobody deaf."""
    topic, whole = pubsub._topic, iter([1])

    def faulty(message: dict[str, bytes]) -> str:
        if next(whole, None):
            raise ValueError("a fault")
        return topic(message)

    monkeypatch.setattr(pubsub, "_topic", faulty)
    heard, unlisten = hear("topic")
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await heard.get() == pubsub.MISSED
    unlisten()
