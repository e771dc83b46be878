"""The words of the vendors' error tables, and what each of them means for the reader, the keys and the charge.

A row is asked twice: with an only key, and with a good one beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.chat.outcomes import Outcome, Question, Rest, Seconds, outcomes_of
from tests.scenarios import PLAIN

HOUR = 3600.0
DAY = 24 * HOUR
THREE = "one two three "
# Earlier turns, enough of them for a prompt that can be cut.
HISTORY = tuple(f"{number} {'word ' * 60}" for number in range(8))


@dataclass(frozen=True)
class Verdict:
    """The consequences of a refusal, when a neutral probe meets the same.

    `pauses`: those before an only key is tried again, as bounds in seconds. `rest`: how the key is left out in the end.
    `others`: whether another key is tried, at once. `opens`: whether the circuit opens, unless another key works.
    """

    pauses: tuple[tuple[float, float], ...] = ()
    rest: Rest | None = None
    others: bool = False
    opens: bool = False
    alerts: bool = False


def again(attempts: int = 2) -> tuple[tuple[float, float], ...]:
    """Return the pauses before the same key is tried again: they double, a quarter more or less."""
    return tuple((0.75 * 0.5 * 2**n, 1.25 * 0.5 * 2**n) for n in range(attempts))


def wait(attempts: int = 2, *, others: bool = True) -> Verdict:
    """The upstream fails: another key now, else the same one again after pauses; the circuit opens."""
    return Verdict(again(attempts), others=others, opens=True)


def switch(seconds: Any, *, waits: Sequence[float] | None = None) -> Verdict:
    """The key is limited: another one now while it rests; without another a short rest is waited for, twice."""
    if waits is None:
        waits = (seconds, seconds) if seconds <= 10 else ()
    return Verdict(tuple((s, s) for s in waits), Rest(pytest.approx(seconds, abs=3), True), others=True)


def deny(seconds: Any, *, only_model: bool = True) -> Verdict:
    """The key is denied: another one now, while this one rests; an operator hears of it."""
    rest = Rest(pytest.approx(seconds, abs=3) if isinstance(seconds, (int, float)) else seconds, only_model)
    return Verdict(rest=rest, others=True, alerts=True)


def disable(*, only_model: bool = False) -> Verdict:
    """Another key now; this one is out until an operator clears it, and hears of it."""
    return Verdict(rest=Rest(None, only_model), others=True, alerts=True)


# The request is at fault: nothing follows for others.
USER = Verdict()
# Our configuration is at fault: the circuit opens, and an operator hears of it.
OPS = Verdict(opens=True)
# As long as a circuit is open at first.
OPEN = Rest(pytest.approx(10, abs=4), True)


class UntilNewDay:
    """Equal to a time span that ends at the next 00:05 in Shanghai."""

    def __eq__(self, seconds: object) -> bool:
        if not isinstance(seconds, Seconds):
            return False
        until = seconds.until.astimezone(ZoneInfo("Asia/Shanghai"))
        return (until.hour, until.minute) == (0, 5) and 0 < seconds <= DAY

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Row:
    """One row of a table: the upstream's act, its meaning, the code that the reader receives.

    `resends`: how often the request is sent anew at once; `closes`: the vendor wants no more of the conversation.
    `upstream`: fields of that row that differ from the usual; `reached` is False when no request can arrive.
    """

    does: str
    verdict: Verdict
    vendor_code: str = ""
    code: str = "upstream_error"
    request_id: str = ""
    upstream: Mapping[str, Any] = field(default_factory=dict)
    reached: bool = True
    resends: int = 0
    closes: bool = False
    # Whether the upstream refuses before it gets a prompt, so that the probe counts like a request.
    unread: bool = False

    @property
    def probes(self) -> int:
        """How many requests of the key were really probes."""
        return int(self.unread and (self.verdict.opens or self.verdict.alerts))

    @property
    def calls(self) -> int:
        """How many requests the key gets on the way to the failure."""
        return self.reached * (1 + self.resends + len(self.verdict.pauses)) + self.probes


@dataclass(frozen=True)
class Ending:
    """An act of the upstream after some text, the generation's end, and the text that was shown.

    `withdrawn`: it does not stay; `closes`: the vendor wants no more of the conversation. `charged`: the units, if they
    do not follow from the end; `moderated`: it counts as a refusal of the vendor's moderation.
    """

    does: str
    ending: str
    content: str = ""
    reasoning: str = ""
    charged: int | None = None
    moderated: bool = False
    withdrawn: bool = False
    closes: bool = False
    upstream: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resend:
    """A request that the upstream wants otherwise: how it ends, after how many requests, and what is learned from it.

    `model`: fields of that row; `history`: earlier turns.
    """

    does: str
    ending: str
    calls: int = 2
    model: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[str] = ()
    learned: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The table of one protocol: `kind` and the fake's attribute `address` are the upstream's.

    `beside`: whether rows are asked with another key as well.
    """

    fake: Callable[[], Any]
    kind: str
    rows: Mapping[str, Row]
    endings: Mapping[str, Ending]
    resends: Mapping[str, Resend] = field(default_factory=dict)
    address: str = "base_url"
    upstream_model: str = "m"
    beside: bool = True

    def asked(self, blocker: Any) -> dict[str, Outcome]:
        """Ask everything."""
        server = self.fake()
        return outcomes_of(server, lambda: dict(self._questions(server)), blocker)

    def _questions(self, server: Any) -> Iterator[tuple[str, Question]]:
        upstream = {"kind": self.kind, "base_url": getattr(server, self.address)}
        for name, row in self.rows.items():
            to = {**upstream, **row.upstream}
            yield f"{name}, alone", Question(to, [server.key(row.does)], self.upstream_model)
            if self.beside:
                yield f"{name}, beside", Question(to, [server.key(row.does), server.key("plain")], self.upstream_model)
        for name, row in self.endings.items():
            pool = [server.key(row.does), server.key("plain")]
            yield f"{name}, ending", Question({**upstream, **row.upstream}, pool, self.upstream_model)
        for name, row in self.resends.items():
            pool = [server.key(row.does)]
            yield f"{name}, resent", Question(upstream, pool, self.upstream_model, row.model, row.history)


def check_alone(row: Row, found: Outcome) -> None:
    """With an only key, the reader receives the failure once the pauses are over, and pays nothing."""
    verdict = row.verdict
    _check_failed(row, found)
    _check_pauses(verdict.pauses, found)
    assert found.calls == [row.calls]
    assert found.rests == [verdict.rest]
    assert found.upstream_rests == (OPEN if verdict.opens else None)
    assert found.alerts == (verdict.alerts or verdict.opens)


def check_with_another(row: Row, found: Outcome) -> None:
    """With a good key beside it, that one answers where another key helps, and where none does it is left alone."""
    verdict = row.verdict
    is_down = verdict.opens and not row.reached
    assert found.rests == [verdict.rest, None]
    assert found.upstream_rests == (OPEN if is_down else None)
    assert found.alerts == (verdict.alerts or is_down)
    if not verdict.others:
        _check_failed(row, found)
        assert found.calls == [row.calls, 0]
        return
    _check_pauses((), found)
    assert found.ending == "done stop"
    assert found.row["content"] == PLAIN
    assert (found.row["charge"]["amount"], found.used_today) == (1, 1)
    assert found.calls == [1 + row.resends + row.probes, 1]


def check_ending(row: Ending, found: Outcome) -> None:
    """Text that was read stays unless it is withdrawn; it costs one unless the upstream failed. No key is to blame."""
    assert found.ending == row.ending
    assert "".join(data["content"] for data in found.named("message")) == row.content
    assert found.row["content"] == ("" if row.withdrawn else row.content)
    assert found.row["reasoning"] == row.reasoning
    assert found.named("reset") == [{"content": "", "reasoning": ""}] * row.withdrawn
    amount = int(row.ending.startswith("done")) if row.charged is None else row.charged
    assert found.events[-1][1]["charge"] == found.row["charge"]
    assert (found.row["charge"]["amount"], found.used_today) == (amount, amount)
    assert (found.calls, found.rests, found.pauses) == ([1, 0], [None, None], [])
    assert (found.abuse_count, found.closed) == (int(row.closes or row.moderated), row.closes)


def check_resend(row: Resend, found: Outcome) -> None:
    """A request that the upstream rejects is resent once in another form, and the form it accepts is stored."""
    assert (found.ending, found.calls, found.rests) == (row.ending, [row.calls], [None])
    assert found.learned == row.learned
    assert found.used_today == int(row.ending == "done stop")


def _check_failed(row: Row, found: Outcome) -> None:
    details = {"vendor_code": row.vendor_code, "vendor_request_id": row.request_id}
    details = {name: value for name, value in details.items() if value}
    free = {"amount": 0, "source": "none", "reason": row.code}
    event = found.events[-1][1]
    assert found.ending == f"error {row.code}"
    assert event.get("details", {}) == details
    assert (event["charge"], found.row["charge"], found.used_today) == (free, free, 0)
    assert event["message"] == found.row["error"]["message"] != ""
    assert found.row["error"].get("details", {}) == details
    assert (found.row["status"], found.row["finish_reason"], found.row["content"]) == ("failed", None, "")
    assert (found.abuse_count, found.closed) == (int(row.code == "content_blocked"), row.closes)


def _check_pauses(pauses: Sequence[tuple[float, float]], found: Outcome) -> None:
    assert len(found.pauses) == len(pauses)
    assert all(low <= pause <= high for pause, (low, high) in zip(found.pauses, pauses, strict=True))
    assert [notice["code"] for notice in found.named("notice")] == ["retrying"] * len(pauses)
