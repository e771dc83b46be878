"""The outcome of a question for each act of its upstream: events, row, charge, and the health of the keys.

Everything between `generation.start` and the database is real, and so are the fake vendors' sockets; only the pauses
between attempts are noted instead of waited for. Questions run side by side, each by a user, with a model, an
upstream and keys of its own, so that a whole table of them takes seconds.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from prometheus_client import REGISTRY

from chat import representation
from chat.apps import chat
from chat.generations.request import GenerationRequest
from chat.models import Conversation, Generation, Message
from providers import keys
from providers.apps import providers_app
from providers.models import ApiKey, ChatModel, KeyTrouble, Upstream, UpstreamTrouble
from providers.routing import Attempts
from quotas import ledger
from runtime import database
from tests import factories
from tests.loopback import FakeServer

# The configuration is read anew after every verdict: there must not be too much of it at a time.
AT_ONCE = 16
# The prompt of neutral probes, which are no calls of a question.
PROBE = '"Hi"'


@dataclass(frozen=True)
class Question:
    """A prompt and the upstream that gets it; `upstream` and `model` are fields of these rows.

    `keys` are taken in this order. `history`: earlier turns of the conversation, the user's first.
    """

    upstream: Mapping[str, Any]
    keys: Sequence[str]
    upstream_model: str = "m"
    model: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[str] = ()


Questions = Callable[[], Mapping[str, Question]]


class Seconds(float):
    """A time span that ends `until` then."""

    until: datetime


@dataclass(frozen=True)
class Rest:
    """How something is left out: for `seconds` from its failure; None: until an operator clears it."""

    seconds: Any
    only_model: bool = False


@dataclass(frozen=True)
class Outcome:
    """The outcome of a question; `calls` and `rests` are those of its keys."""

    events: list[tuple[str, Any]]
    row: dict[str, Any]
    used_today: int
    pauses: list[float]
    calls: list[int]
    rests: list[Rest | None]
    upstream_rests: Rest | None
    alerts: bool
    learned: dict[str, Any]
    abuse_count: int
    closed: bool
    # All texts that users can read.
    told: str

    @property
    def ending(self) -> str:
        """`done` with its finish reason, or `error` with its code."""
        name, data = self.events[-1]
        return f"{name} {data['finish_reason' if name == 'done' else 'code']}"

    def named(self, name: str) -> list[Any]:
        """Return the data of the events of that name."""
        return [data for event, data in self.events if event == name]


def outcomes_of(
    server: FakeServer, questions: Callable[[], Mapping[str, Question]], blocker: Any
) -> dict[str, Outcome]:
    """Ask everything that `questions` returns once the server runs, and return what came of it by name."""

    async def ask() -> dict[str, Outcome]:
        async with server:
            try:
                return await _ask_all(server, list(questions().items()))
            finally:
                await providers_app().routing.aclose()
                await asyncio.to_thread(database.close)

    with blocker.unblock():
        try:
            return asyncio.run(ask())
        finally:
            providers_app().configuration.forget()
            call_command("flush", verbosity=0, interactive=False)


async def _ask_all(server: FakeServer, questions: list[tuple[str, Question]]) -> dict[str, Outcome]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        pauses = _noting_pauses(patch)
        patch.setattr(keys, "random", SimpleNamespace(choice=lambda usable: min(usable, key=lambda key: key.id)))
        for start in range(0, len(questions), AT_ONCE):
            some = questions[start : start + AT_ONCE]
            rows = [await database.run(_rows, question) for _name, question in some]
            providers_app().configuration.forget()
            ended = await asyncio.gather(*(_ask(*row) for row in rows))
            alerts = _alerts()
            asked = [recorded for recorded in server.requests if PROBE not in json.dumps(recorded.body)]
            for (name, question), row_id in zip(some, ended, strict=True):
                calls = [sum(recorded.came_with(key) for recorded in asked) for key in question.keys]
                found[name] = await database.run(_outcome, row_id, calls, pauses[row_id], alerts)
            await database.run(ChatModel.objects.update, enabled=False)
    return found


def _noting_pauses(patch: pytest.MonkeyPatch) -> defaultdict[str, list[float]]:
    pauses: defaultdict[str, list[float]] = defaultdict(list)
    decide = Attempts._pause

    async def at_once(attempts: Attempts, *args: Any) -> float | None:
        pause = await decide(attempts, *args)
        if pause is not None:
            pauses[attempts.generation].append(pause)
        return pause and 0.0

    patch.setattr(Attempts, "_pause", at_once)
    return pauses


def _rows(question: Question) -> tuple[int, str, int | None]:
    """Create the rows that a question needs; return the user, the model and the conversation."""
    user = factories.user(password=None)
    named = {"base_url": question.upstream["base_url"], "proxy": ""}
    upstream = factories.upstream(environment={"values": named}, **question.upstream)
    for secret in question.keys:
        factories.api_key(upstream, secret)
    model = factories.chat_model(of=factories.quota(), **question.model)
    factories.route(model, upstream, upstream_model=question.upstream_model)
    return user.pk, model.slug, _conversation(user, question.history) if question.history else None


def _conversation(user: Any, history: Sequence[str]) -> int:
    conversation, parent = Conversation.objects.create(user=user, title="Hello"), None
    for place, content in enumerate(history):
        role = Message.Role.ASSISTANT if place % 2 else Message.Role.USER
        parent = Message.objects.create(conversation=conversation, parent=parent, role=role, content=content)
    return int(conversation.pk)


async def _ask(user: int, model: str, conversation: int | None) -> str:
    started = await chat().generations.start(GenerationRequest(user, model, "Hello", conversation))
    if run := chat().generations._runs.get(started.row.id):
        assert run.task
        await asyncio.wait({run.task})
    await providers_app().health.tasks.wait()
    return started.row.id


def _outcome(row_id: str, calls: list[int], pauses: list[float], alerts: Mapping[str, float]) -> Outcome:
    row = Generation.objects.select_related("message", "conversation", "user").get(id=row_id)
    log = chat().generations.readable(row)
    assert log
    assert row.conversation
    said = b"".join(iter(log.follow(0, lambda: None).take, b"")).decode()
    model = ChatModel.objects.get(slug=row.model)
    upstream = Upstream.objects.get(routes__model=model)
    pool = list(upstream.keys.order_by("id"))
    shown = representation.generation(row)
    reasons = [*KeyTrouble.objects.filter(key__in=pool).values_list("status_reason", flat=True)]
    reasons += upstream.troubles.values_list("status_reason", flat=True)
    circuit = upstream.troubles.first()
    return Outcome(
        events=[_event(block) for block in said.split("\n\n") if block],
        row=shown,
        used_today=ledger.state(row.user_id, row.quota_id)["used_today"],
        pauses=pauses,
        calls=calls,
        rests=[_rest(key) for key in pool],
        upstream_rests=_rest_until(circuit) if circuit else None,
        alerts=alerts.get(upstream.slug, 0) > 0,
        learned=model.routes.get(upstream=upstream).learned,
        abuse_count=row.user.abuse_count,
        closed=row.conversation.blocked,
        told=f"{said} {json.dumps(shown)} {row.error} {reasons}",
    )


def _event(block: str) -> tuple[str, Any]:
    _id, name, data = block.split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _rest(key: ApiKey) -> Rest | None:
    trouble = key.troubles.first()
    if trouble and trouble.quarantined_at:
        return Rest(None, bool(trouble.model))
    return _rest_until(trouble) if trouble else None


def _rest_until(trouble: KeyTrouble | UpstreamTrouble) -> Rest | None:
    """Return how long it rests; None when it is only suspected."""
    if trouble.cooldown_until is None or trouble.since is None:
        return None
    seconds = Seconds((trouble.cooldown_until - trouble.since).total_seconds())
    seconds.until = trouble.cooldown_until
    return Rest(seconds, bool(trouble.model))


def _alerts() -> dict[str, float]:
    """Return the number of alerts by upstream, read once for many questions, as reading visits every label."""
    name = "rivulet_upstream_alerts_total"
    counted: dict[str, float] = {}
    for metric in REGISTRY.restricted_registry([name]).collect():
        for sample in metric.samples:
            counted[sample.labels["upstream"]] = counted.get(sample.labels["upstream"], 0) + sample.value
    return counted
