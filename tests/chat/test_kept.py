"""chat/openai/kept.py and keyed.py: what is kept for retries is bounded, and recordings have many readers."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.generations import finish
from chat.models import Generation, KeptResponse
from chat.openai import kept
from chat.openai.kept import Response
from chat.openai.keyed import Recording
from chat.openai.relay import Chunks, Whole
from tests import factories

FAILURE = {"code": "upstream_error", "message": "Sorry"}


@pytest.fixture
def ended(db: None) -> Any:
    """Return a function that makes generations of one user, which have ended with a key."""
    user, model = factories.user("alice"), factories.chat_model("m", of=factories.quota(daily_limit=None))

    def make(status: str = Generation.Status.COMPLETED, *, seconds_ago: float = 0.0) -> Generation:
        row = factories.generation(user, model, idempotency_key=f"k{Generation.objects.count()}")
        failed = status != Generation.Status.COMPLETED
        how: dict[str, Any] = {"error": {"code": "interrupted"}} if failed else {"finish_reason": "stop"}
        finish.store(finish.of_stored(row, status, **how))
        Generation.objects.filter(pk=row.pk).update(finished_at=timezone.now() - timedelta(seconds=seconds_ago))
        return row

    return make


def key_of(row: Generation) -> str | None:
    return Generation.objects.get(pk=row.pk).idempotency_key


def test_a_response_is_kept_for_its_time(ended: Any) -> None:
    """A response is found for ten minutes, then deleted; then a retry learns that it is gone."""
    row = ended()
    assert kept.find(row.id) is None
    for _ in range(2):
        kept.keep(row.id, Response(b"\x00whole"), frees_key=False)
    assert kept.find(row.id) == Response(b"\x00whole")
    kept.expire()
    assert KeptResponse.objects.count() == 1
    KeptResponse.objects.update(kept_at=timezone.now() - kept.LIFETIME)
    Generation.objects.update(finished_at=timezone.now() - kept.LIFETIME)
    gone = kept.find(row.id)
    assert gone
    assert gone.failure
    assert gone.failure["code"] == "conflict"
    kept.expire()
    assert KeptResponse.objects.count() == 0
    assert key_of(row)


def test_a_failure_frees_its_key(ended: Any) -> None:
    """A failure is found by those who wait for it, and its key is free."""
    row = ended(Generation.Status.FAILED)
    kept.keep(row.id, Response(b"", FAILURE), frees_key=True)
    assert kept.find(row.id) == Response(b"", FAILURE)
    assert key_of(row) is None


def test_the_process_died(ended: Any) -> None:
    """A generation of a dead process frees its key, once its response cannot come any more."""
    fresh, old = ended(Generation.Status.INTERRUPTED), ended(Generation.Status.INTERRUPTED, seconds_ago=60)
    assert kept.find(fresh.id) is None
    found = kept.find(old.id)
    assert found
    assert found.failure
    assert found.failure["code"] == "interrupted"
    assert (key_of(fresh), key_of(old)) == ("k0", None)


def test_a_response_that_is_too_long(ended: Any) -> None:
    """A response that is too long is not kept, and its retry is refused at once."""
    row = ended()
    kept.keep(row.id, None, frees_key=False)
    found = kept.find(row.id)
    assert found
    assert found.failure
    assert (found.body, found.failure["code"], key_of(row)) == (b"", "conflict", "k0")


def test_the_responses_of_a_user_are_bounded(ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest responses give way to new ones."""
    monkeypatch.setattr(kept, "MOST_BYTES_OF_USER", 25)
    rows = [ended() for _ in range(4)]
    for row in rows:
        kept.keep(row.id, Response(b"0123456789"), frees_key=False)
    assert set(KeptResponse.objects.values_list("pk", flat=True)) == {row.id for row in rows[-2:]}


def test_a_deleted_generation(db: None) -> None:
    """Nothing is kept for a generation that was deleted together with its user."""
    kept.keep("0" * 32, Response(b"x"), frees_key=True)
    assert KeptResponse.objects.count() == 0


# --- recordings ------------------------------------------------------------------------------------------------------

DONE: dict[str, Any] = {
    "finish_reason": "stop",
    "usage": {"input_tokens": 3, "output_tokens": 4, "estimated": False},
    "charge": {"amount": 1, "source": "daily", "reason": "stop"},
}


class Recorded:
    """A recording that has begun, and what its run was asked for."""

    def __init__(self, *, whole: bool = False) -> None:
        self.stops = 0
        self.ended: list[Recording] = []
        self.recording = Recording(Whole() if whole else Chunks(), lambda _recording: None, self.ended.append)
        self.first = self.recording.reader()
        self.recording.publish("start", {"generation": "0" * 32, "model": "m"})
        self.recording.bind(self.stop)

    def stop(self) -> None:
        self.stops += 1

    def text(self, text: str) -> None:
        self.recording.publish("message", {"content": text})


def test_readers_get_the_same_bytes() -> None:
    """Each reader gets all bytes, also one that comes late; they are what is kept."""
    recorded = Recorded()
    second = recorded.recording.reader()
    first_bytes = recorded.first.take()
    recorded.text("Hel")
    second_bytes = second.take()
    recorded.text("lo")
    first_bytes += recorded.first.take()
    recorded.recording.complete("done", DONE)
    first_bytes += recorded.first.take()
    second_bytes += second.take()
    assert first_bytes == second_bytes == recorded.recording.reader().take()
    assert recorded.recording.response() == Response(first_bytes)
    assert (recorded.ended, recorded.stops, recorded.recording.charged) == ([recorded.recording], 0, True)


def test_a_stream_stops_with_its_last_reader() -> None:
    """A stream stops when the last reader leaves, and its end is a failure after the text."""
    recorded = Recorded()
    second = recorded.recording.reader()
    recorded.text("Hello")
    recorded.first.leave()
    assert recorded.stops == 0
    second.leave()
    assert recorded.stops == 1
    recorded.recording.complete("done", {**DONE, "finish_reason": "cancelled"})
    response = recorded.recording.response()
    assert response
    assert b"Hello" in response.body
    assert b'"error":{' in response.body
    assert b'finish_reason":"stop' not in response.body
    assert recorded.recording.failure


def test_a_retry_reads_while_a_left_stream_ends() -> None:
    """A caller who comes between the stop and the end gets the failure, not the end of a whole completion before it."""
    recorded = Recorded()
    recorded.text("Hello")
    recorded.first.leave()
    retry, taken = recorded.recording.reader(), []
    retry.wake = lambda: taken.append(retry.take())
    recorded.recording.complete("done", {**DONE, "finish_reason": "cancelled"})
    response = recorded.recording.response()
    assert response
    assert b"".join(taken) == response.body
    assert b"[DONE]" not in response.body
    assert b'"error":{' in response.body


def test_a_whole_completion_goes_on() -> None:
    """A whole completion does not stop when its caller leaves, and is kept with its reasoning."""
    recorded = Recorded(whole=True)
    recorded.first.leave()
    assert recorded.recording.sends_reasoning
    recorded.recording.publish("reasoning", {"content": "hm"})
    recorded.text("Hello")
    recorded.recording.complete("done", DONE)
    assert recorded.stops == 0
    response = recorded.recording.response()
    assert response
    assert b'"reasoning_content":"hm"' in response.body


def test_a_reader_that_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that falls behind ends with a failure; such a stream is too long to be kept."""
    monkeypatch.setattr(kept, "MOST_BYTES", 1000)
    recorded = Recorded()
    slow = recorded.recording.reader()
    taken = b""
    for _ in range(20):
        recorded.text("x" * 100)
        taken += recorded.first.take()
    assert taken.count(b"x" * 100) == 20
    assert b'"error":{' in slow.take()
    assert (slow.at_end, slow.take(), recorded.first.at_end) == (True, b"", False)
    recorded.recording.complete("done", DONE)
    assert recorded.recording.response() is None
    assert b"[DONE]" in recorded.first.take()
