"""How generations end: stopped, killed, failed, drained; what is kept and what it costs."""

import signal
import time
from pathlib import Path

import pytest

from tests.paused import PAUSE, PausedUpstream
from tests.product import ApiUser, Product, connected, text_of
from tests.readers import until_below, wait_until
from tests.upstreams import FakeOpenAI

CLOSED_WITHIN_SECONDS = 0.05
# What a killed process may lose: a second of deltas that come every 50 ms.
LAST_SECOND_OF_DELTAS = 20
# The dead are found out soon.
SHORT_LEASE = {"PROCESS_LEASE_SECONDS": "2"}


@pytest.mark.contract("POST /api/generations/{generation_id}/stop/")
def test_stop_closes_the_upstream_and_keeps_the_text(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """`stop` closes the upstream, keeps the text so far, charges it, and ends with `cancelled`."""
    delays: list[float] = []
    for number in until_below(CLOSED_WITHIN_SECONDS, delays):
        with api_user.asking(f"stop in the middle {number}", "endless") as stream:
            seen = [next(stream) for _ in range(4)]
            since = time.monotonic()
            row = api_user.stop(seen[0].data["generation"])
            seen += list(stream)
        delays.append(upstream.closed_at(f"stop in the middle {number}") - since)
    assert min(delays) < CLOSED_WITHIN_SECONDS
    assert (row["status"], row["finish_reason"]) == ("completed", "cancelled")
    assert row["content"] == text_of(seen) != ""
    assert row["charge"] == {"amount": 1, "source": "daily", "reason": "cancelled"}
    assert seen[-1].name == "done"
    assert seen[-1].data["finish_reason"] == "cancelled"
    assert api_user.stop(row["id"]) == row


@pytest.mark.contract("POST /api/generations/{generation_id}/stop/")
@pytest.mark.parametrize("model", ["hang", "hang-after-headers"])
def test_stop_before_the_first_delta(api_user: ApiUser, upstream: FakeOpenAI, model: str) -> None:
    """Stopped before anything could be read, nothing is charged; the upstream is closed all the same."""
    delays: list[float] = []
    for number in until_below(CLOSED_WITHIN_SECONDS, delays):
        prompt = f"stop {model} {number}"
        generation = api_user.ask(prompt, model)["id"]
        wait_until(lambda prompt=prompt: bool(upstream.asked(prompt)))
        since = time.monotonic()
        row = api_user.stop(generation)
        delays.append(upstream.closed_at(prompt) - since)
    assert min(delays) < CLOSED_WITHIN_SECONDS
    assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "cancelled", "")
    assert row["charge"] == {"amount": 0, "source": "none", "reason": "empty"}
    assert api_user.quota()["used_today"] == 0


def test_stop_at_once(api_user: ApiUser) -> None:
    """A stop that comes before the run has taken its first step still ends it."""
    rows = [api_user.stop(api_user.ask("Hello", "endless")["id"]) for _ in range(5)]
    assert {row["finish_reason"] for row in rows} == {"cancelled"}


@pytest.mark.contract("refusal: upstream_error", "event: error")
@pytest.mark.parametrize(
    ("model", "code", "kept"),
    [("cut", "upstream_error", True), ("error", "upstream_error", True), ("http-400", "upstream_error", False)],
)
def test_upstream_failures_cost_nothing(api_user: ApiUser, model: str, code: str, kept: bool) -> None:
    """An upstream that fails ends the stream with `error`: text so far kept, nothing charged."""
    events = api_user.answer("Hello", model)
    assert events[-1].name == "error"
    assert events[-1].data["code"] == code
    assert events[-1].data["message"]
    assert events[-1].data["charge"]["amount"] == 0
    row = api_user.generation(events[0].data["generation"])
    assert (row["status"], row["finish_reason"]) == ("failed", None)
    assert row["error"]["code"] == code
    assert bool(row["content"]) is kept
    assert row["content"] == text_of(events)
    assert api_user.quota()["used_today"] == 0
    assert api_user.follow(row["id"])[-1] == events[-1]


@pytest.mark.contract("refusal: interrupted")
def test_killed_in_the_middle(database_url: str, tmp_path: Path, upstream: FakeOpenAI) -> None:
    """`kill -9` in the middle, then a new start: `interrupted`, text kept but for a second, nothing charged."""
    with Product(tmp_path, database_url, **connected(upstream), **SHORT_LEASE) as product:
        api_user = product.register("alice")
        lost: list[float] = []
        for _ in until_below(LAST_SECOND_OF_DELTAS + 1, lost, most=5):
            with api_user.asking("Hello", "endless") as stream:
                seen = [next(stream) for _ in range(40)]
                product.kill()
            generation = seen[0].data["generation"]
            product.start()
            row = api_user.ended(generation, seconds=60)
            assert (row["status"], row["finish_reason"]) == ("interrupted", None)
            assert row["error"]["code"] == "interrupted"
            assert row["charge"]["amount"] == 0
            assert api_user.quota()["used_today"] == 0
            text = text_of(seen)
            assert text.startswith(row["content"])
            lost.append(len(text.split()) - len(row["content"].split()))
        assert min(lost) <= LAST_SECOND_OF_DELTAS
        rest = api_user.follow(generation, seen[-1].id)
        assert [event.name for event in rest] == ["reset", "error"]
        assert rest[0].data["content"] == row["content"]
        assert rest[1].data["code"] == "interrupted"
        assert rest[0].number > seen[-1].number + 1000
        with api_user.following(generation, rest[-1].id) as (status, _rest):
            assert status == 204
        assert api_user.messages(row["conversation"])[1]["content"] == row["content"]


@pytest.mark.contract("GET /readyz", "refusal: service_unavailable", "drain")
def test_drained(tmp_path: Path, upstream: PausedUpstream) -> None:
    """SIGTERM lets generations end; a new question is refused with `service_unavailable`; exit code 0."""
    prompt = f"one {PAUSE}two"
    with Product(tmp_path, **connected(upstream), DRAIN_SECONDS="60") as product:
        api_user = product.register("alice")
        with api_user.asking(prompt, "paused") as stream:
            seen = [next(stream) for _ in range(2)]
            product.stop_soon(signal.SIGTERM)
            wait_until(lambda: '"draining"' in product.output)
            other = product.client(api_user.access)
            refused = other.post("/api/chat/", json={"model": "plain", "prompt": "x"})
            ready = other.get("/readyz")
            upstream.go_on(prompt)
            seen += list(stream)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert "Retry-After" in refused.headers
        assert ready.status_code == 503
        assert (seen[-1].name, text_of(seen)) == ("done", "one two")
        assert product.stop() == 0


@pytest.mark.contract("refusal: interrupted", "setting: DRAIN_SECONDS")
def test_drain_has_an_end(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """A generation that does not end within DRAIN_SECONDS becomes `interrupted`, keeps its text and costs nothing."""
    with Product(tmp_path, **connected(upstream), DRAIN_SECONDS="1") as product:
        api_user = product.register("alice")
        with api_user.asking("Hello", "endless") as stream:
            seen = [next(stream) for _ in range(3)]
            product.stop_soon(signal.SIGTERM)
            seen += list(stream)
        assert (seen[-1].name, seen[-1].data["code"]) == ("error", "interrupted")
        assert product.stop() == 0
        product.start()
        row = api_user.generation(seen[0].data["generation"])
        assert (row["status"], row["content"], row["charge"]["amount"]) == ("interrupted", text_of(seen), 0)


@pytest.mark.contract("DELETE /api/conversations/{conversation_id}/")
def test_deleting_the_conversation_stops_its_answer(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """With its conversation deleted, a generation ends and the upstream is closed."""
    delays: list[float] = []
    for number in until_below(CLOSED_WITHIN_SECONDS, delays):
        with api_user.asking(f"delete me {number}", "endless") as stream:
            start = next(stream).data
            next(stream)
            since = time.monotonic()
            gone = api_user.product.client(api_user.access).delete(f"/api/conversations/{start['conversation']}/")
            assert gone.status_code == 204
            assert [event.name for event in stream][-1] == "done"
        delays.append(upstream.closed_at(f"delete me {number}") - since)
    assert min(delays) < 0.5
    row = api_user.generation(start["generation"])
    assert (row["conversation"], row["message"]) == (None, None)


def test_a_second_signal_waits_for_nothing(tmp_path: Path, upstream: FakeOpenAI) -> None:
    """After a second signal the process ends at once; the next process ends the generations it left behind."""
    with Product(tmp_path, **connected(upstream), DRAIN_SECONDS="3600", **SHORT_LEASE) as product:
        api_user = product.register("alice")
        generation = api_user.ask("Hello", "hang")["id"]
        product.stop_soon()
        wait_until(lambda: '"draining"' in product.output)
        product.stop_soon()
        product.stop()
        product.start()
        assert api_user.ended(generation, 60)["status"] == "interrupted"
