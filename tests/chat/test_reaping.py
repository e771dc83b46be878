"""Ending what dead processes left: theirs and nobody else's."""

from typing import Any

import pytest
from django.db.models.functions import Now

from chat.generations import remote
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


def test_what_a_dead_process_ran_is_interrupted(alice: Any, model: ChatModel) -> None:
    """What a dead process ran is interrupted and costs nothing; what a living one runs goes on."""
    lives("living")
    left, other = (
        factories.generation(alice, model, process="dead"),
        factories.generation(alice, model, process="living"),
    )
    remote.reap(set())
    left.refresh_from_db()
    other.refresh_from_db()
    assert (left.status, left.charge["amount"], other.status) == ("interrupted", 0, "running")  # type: ignore[index]
    assert ledger.overview(alice)[0]["used_today"] == 1


def test_who_has_just_begun_is_alive(alice: Any, model: ChatModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that starts and answers while another one looks for the dead is not taken for one of them."""
    living, begun = runtime().process.alive, []

    def looked_up() -> set[str]:
        found = living()
        lives("new")
        begun.append(factories.generation(alice, model, process="new"))
        return found

    monkeypatch.setattr(runtime().process, "alive", looked_up)
    remote.reap(set())
    (row,) = begun
    row.refresh_from_db()
    assert row.status == "running"
