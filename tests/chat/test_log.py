"""The event log in memory: numbering, replay, snapshots, bounds."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.channels.local import LocalLogs
from chat.channels.log import LOG_BYTES, WRITE_BYTES, Log


def text_log(*texts: str) -> Log:
    said: list[str] = []
    log = Log("g", lambda: {"content": "".join(said), "reasoning": ""})
    for text in texts:
        said.append(text)
        log.publish("message", {"content": text})
    return log


def numbers(data: bytes) -> list[int]:
    return [int(line.rpartition(b":")[2]) for line in data.split(b"\n") if line.startswith(b"id: ")]


def drain(log: Log, after: int | None) -> bytes:
    follower = log.follow(after, lambda: None)
    parts = iter(follower.take, b"")
    taken = b"".join(parts)
    follower.leave()
    return taken


def test_it_works() -> None:
    """Published events are numbered from 1 and come back as they were, after any of them."""
    log = text_log("a", "b", "c")
    whole = drain(log, 0)
    assert numbers(whole) == [1, 2, 3]
    assert whole.endswith(b'id: g:3\nevent: message\ndata: {"content":"c"}\n\n')
    assert [numbers(drain(log, after)) for after in (1, 2, 3)] == [[2, 3], [3], []]


def test_followers_are_woken_and_leave() -> None:
    """Whoever follows is woken by each event until it leaves."""
    log = text_log()
    woken: list[int] = []
    follower = log.follow(0, lambda: woken.append(1))
    log.publish("message", {})
    assert woken == [1]
    follower.leave()
    log.publish("message", {})
    assert woken == [1]


@pytest.mark.parametrize("after", [None, 4, 10**18])
def test_unknown_places_get_a_snapshot(after: int | None) -> None:
    """A place that is unknown or ahead of the log is answered with what was said so far, then what follows."""
    log = text_log("a", "b", "c")
    follower = log.follow(after, lambda: None)
    assert follower.take() == b'id: g:3\nevent: reset\ndata: {"content":"abc","reasoning":""}\n\n'
    log.publish("message", {"content": "d"})
    assert numbers(follower.take()) == [4]


def test_after_the_end_a_snapshot_leaves_room_for_the_end() -> None:
    """A `reset` that stands for an ended log bears the number before the event that ended it."""
    log = text_log("a", "b")
    log.complete("done", {"x": 1})
    assert numbers(drain(log, None)) == [2, 3]
    follower = log.follow(3, lambda: None)
    assert follower.take() == b""
    assert follower.at_end


def test_dropped_events_are_covered() -> None:
    """A reader behind the oldest event that is kept gets a snapshot; one that is not goes on."""
    log = text_log(*"abcdefghij")
    log.drop_oldest(log.size // 2)
    assert numbers(drain(log, 2)) == [10]
    assert numbers(drain(log, 8)) == [9, 10]


def test_numbering_may_jump_but_never_back() -> None:
    """After a jump, earlier readers get a snapshot that bears the number before the next event."""
    log = text_log("a", "b")
    log.forget_until(1000)
    log.complete("error", {})
    assert numbers(drain(log, 2)) == [1000, 1001]


def test_writes_are_bounded() -> None:
    """A reader far behind takes slices, not megabytes at once."""
    log = text_log(*(["x" * 1000] * 500))
    follower = log.follow(0, lambda: None)
    sizes = [len(part) for part in iter(follower.take, b"")]
    assert max(sizes) < WRITE_BYTES + 2000
    assert len(sizes) > 5


@given(st.lists(st.text(), max_size=30), st.data())
def test_every_way_to_read_gives_the_same(texts: list[str], data: st.DataObject) -> None:
    """However publishing and taking are interleaved, a reader gets each event once, in order, one line of data each."""
    said: list[str] = []
    log = Log("g", lambda: {"content": "".join(said), "reasoning": ""})
    follower = log.follow(0, lambda: None)
    got = b""
    for text in texts:
        said.append(text)
        log.publish("message", {"content": text})
        if data.draw(st.booleans()):
            got += follower.take()
    got += b"".join(iter(follower.take, b""))
    assert numbers(got) == list(range(1, len(texts) + 1))
    assert got.count(b"\n\n") == got.count(b"data: ") == len(texts)
    assert b"\r" not in got


def test_finished_logs_leave_when_memory_is_short(settings: pytest.FixtureRequest) -> None:
    """The oldest finished logs go first, and the running ones stay."""
    settings.CHANNEL_MEMORY_BYTES = 100_000
    logs = LocalLogs()
    running = logs.open("running", dict)
    for number in range(20):
        log = logs.open(f"log{number}", dict)
        log.complete("done", {"text": "x" * 10_000})
        logs.finish(log)
    kept = [number for number in range(20) if logs.get(f"log{number}")]
    assert kept == list(range(20 - len(kept), 20))
    assert 5 <= len(kept) <= 10
    assert logs.get("running") is running


def test_finished_logs_leave_in_time(settings: pytest.FixtureRequest) -> None:
    """A finished log replays for CHANNEL_RETENTION_SECONDS, no longer."""
    settings.CHANNEL_RETENTION_SECONDS = 0
    logs = LocalLogs()
    log = logs.open("g", dict)
    log.complete("done", {})
    logs.finish(log)
    logs.bound()
    assert logs.get("g") is None


def test_running_logs_are_bounded_too(settings: pytest.FixtureRequest) -> None:
    """Long running answers keep their newest events only; all of them together stay within the memory given."""
    settings.CHANNEL_MEMORY_BYTES = 10 * LOG_BYTES
    logs = LocalLogs()
    for channel in range(12):
        log = logs.open(str(channel), dict)
        for _ in itertools.repeat(None, 60):
            log.publish("message", {"content": "x" * (LOG_BYTES // 50)})
    logs.bound()
    sizes = [log.size for channel in range(12) if (log := logs.get(str(channel)))]
    assert len(sizes) == 12
    assert sum(sizes) <= settings.CHANNEL_MEMORY_BYTES
