"""Early refusals: confirmed by the ledger, in due order, and before anything is written."""

import time
from contextlib import contextmanager

import pytest
from django.db import connection

from chat.apps import chat
from chat.errors import Conflict, PromptTooLong
from chat.generations.request import GenerationRequest
from chat.models import Generation
from providers.apps import providers_app
from providers.wire.base import Delta, Finished
from quotas import ledger
from quotas.apps import quotas_app
from quotas.errors import QuotaExhausted
from quotas.models import DailyUsage
from runtime import database
from runtime.apps import runtime
from tests import factories
from web.refusals import InvalidRequest, NotFound, ServiceUnavailable, TooManyRequests

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model():
    return factories.chat_model("demo", of=factories.quota("standard", daily_limit=1), to=factories.upstream())


async def short_answer(self):
    yield Delta("Hi")
    yield Finished("stop")


@pytest.fixture
def exhausted(counters, alice, model, monkeypatch):
    """Alice has used her one unit, under the key "k", and her counter shows it."""
    monkeypatch.setattr("providers.routing.Attempts.run", short_answer)
    quotas_app().snapshot.current()
    started = counters.run(chat().generations.start(ask(alice, idempotency_key="k")))
    ended(started.row.id)
    counters.pass_a_moment()
    ledger.overview(alice)
    assert counters.run(quotas_app().hints.exhausted(alice.pk, "demo"))
    yield alice
    database.close()


def ended(generation_id):
    until = time.monotonic() + 60
    while Generation.objects.get(id=generation_id).status == "running":
        assert time.monotonic() < until
        time.sleep(0.01)


def ask(user, **values):
    return GenerationRequest(user.pk, **{"model": "demo", "prompt": "Hello", **values})


@contextmanager
def reading_only(monkeypatch):
    """Fail on every statement that is not a SELECT, and on every transaction."""
    admission = chat().generations._admission
    early = admission.refuse_early

    def watch(execute, statement, *arguments):
        assert statement.lstrip().startswith("SELECT"), statement
        return execute(statement, *arguments)

    def watched(*arguments):
        with connection.execute_wrapper(watch):
            return early(*arguments)

    def never(asked):
        raise AssertionError("a transaction was started")

    with monkeypatch.context() as patched:
        patched.setattr(admission, "refuse_early", watched)
        patched.setattr(admission, "start", never)
        yield


def test_refused_without_a_write(counters, exhausted, monkeypatch):
    """One read of the counter and one of the ledger refuse, without a transaction."""
    with reading_only(monkeypatch), pytest.raises(QuotaExhausted) as refused:
        counters.run(chat().generations.start(ask(exhausted)))
    assert 0 < refused.value.retry_after <= 86_400 + 3600
    assert Generation.objects.count() == 1


def test_the_counter_alone_refuses_nobody(counters, exhausted, model):
    """A unit that only the ledger knows of is given."""
    quota_id = model.quota_link.quota_id
    DailyUsage.objects.update(used=0)  # as by a process that dies before it can delete the counter
    started = counters.run(chat().generations.start(ask(exhausted)))
    assert started.reservation.remaining == 0
    ended(started.row.id)
    assert ledger.state(exhausted.pk, quota_id)["used_today"] == 1


def test_a_known_key_comes_first(counters, exhausted, monkeypatch):
    """The same key finds its generation, another body under it a conflict."""
    first = Generation.objects.get()
    with reading_only(monkeypatch):
        assert counters.run(chat().generations.start(ask(exhausted, idempotency_key="k"))).row.id == first.id
        with pytest.raises(Conflict):
            counters.run(chat().generations.start(ask(exhausted, prompt="x", idempotency_key="k")))
        with pytest.raises(QuotaExhausted):
            counters.run(chat().generations.start(ask(exhausted, idempotency_key="other")))


@pytest.mark.contract("the order of refusals")
def test_what_comes_before_the_quota(counters, exhausted, monkeypatch, settings):
    """Size, model, conversation and running generations are refused before the quota."""
    with reading_only(monkeypatch):
        with pytest.raises(PromptTooLong):
            counters.run(chat().generations.start(ask(exhausted, prompt="x" * 32_001)))
        with pytest.raises(NotFound):
            counters.run(chat().generations.start(ask(exhausted, conversation=10**6)))
        Generation.objects.update(status="running")
        settings.MAX_ACTIVE_GENERATIONS = 1
        with pytest.raises(TooManyRequests):
            counters.run(chat().generations.start(ask(exhausted)))
        Generation.objects.update(status="completed")
    factories.chat_model("other")
    providers_app().configuration.forget()
    with pytest.raises(InvalidRequest) as refused:
        counters.run(chat().generations.start(ask(exhausted, model="nothing")))
    assert "model" in refused.value.details


def test_draining_comes_before_the_quota(counters, exhausted, monkeypatch):
    """A draining process refuses users with nothing left as it refuses all others."""
    monkeypatch.setattr(runtime().drain, "active", True)
    with pytest.raises(ServiceUnavailable):
        counters.run(chat().generations.start(ask(exhausted)))


def test_a_join_comes_first(counters, exhausted, monkeypatch):
    """A repeated GET joins the generation that took the last unit."""
    Generation.objects.update(status="running", idempotency_key=None)
    joins = ask(exhausted, joins_running=True)
    Generation.objects.update(request_digest=joins.digest())
    with reading_only(monkeypatch):
        assert counters.run(chat().generations.start(joins)).reservation is None


def test_regenerating_when_nothing_is_left(counters, exhausted):
    """Regenerating is refused likewise."""
    answer = Generation.objects.get().message_id
    with pytest.raises(QuotaExhausted):
        counters.run(chat().generations.start(ask(exhausted, prompt="", regenerate=answer)))
    with pytest.raises(NotFound):
        counters.run(chat().generations.start(ask(exhausted, prompt="", regenerate=10**6)))


def test_a_grant_is_felt_at_once(counters, exhausted, model):
    """After an admin gives a credit, the next prompt is accepted."""
    ledger.grant(exhausted.pk, model.quota_link.quota_id, 1, "gift")
    started = counters.run(chat().generations.start(ask(exhausted)))
    assert started.reservation.remaining == 0
    assert ledger.state(exhausted.pk, model.quota_link.quota_id)["credits"] == 0
    ended(started.row.id)


def test_refused_without_redis_too(counters, exhausted, settings):
    """Without Redis the transaction itself refuses."""
    settings.REDIS_URL = ""
    with pytest.raises(QuotaExhausted):
        counters.run(chat().generations.start(ask(exhausted)))
