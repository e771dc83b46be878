"""Ending the generations that dead processes left, and no others."""

from typing import Any

import pytest
from django.db.models.functions import Now

from providers.models import ChatModel
from quotas import ledger
from runtime.apps import runtime
from runtime.models import Process
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(db: None) -> ChatModel:
    return factories.chat_model("glm-4", of=factories.quota(daily_limit=5))


def lives(name: str) -> None:
    Process.objects.create(id=name, host="elsewhere", pid=1, beat_at=Now())


def test_only_generations_of_dead_processes_end(alice: Any, model: ChatModel) -> None:
    """They are interrupted and cost nothing; those of living processes go on."""
    lives("living")
    left, other = (
        factories.generation(alice, model, process="dead"),
        factories.generation(alice, model, process="living"),
    )
    factories.remote().reap(set())
    left.refresh_from_db()
    other.refresh_from_db()
    assert (left.status, left.charge["amount"], other.status) == ("interrupted", 0, "running")  # type: ignore[index]
    assert ledger.overview(alice)[0]["used_today"] == 1


def test_a_process_that_has_just_started_is_alive(
    alice: Any, model: ChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts while another one looks for dead processes does not count as dead."""
    living, started = runtime().process.alive, []

    def looked_up() -> set[str]:
        found = living()
        lives("new")
        started.append(factories.generation(alice, model, process="new"))
        return found

    monkeypatch.setattr(runtime().process, "alive", looked_up)
    factories.remote().reap(set())
    (row,) = started
    row.refresh_from_db()
    assert row.status == "running"
