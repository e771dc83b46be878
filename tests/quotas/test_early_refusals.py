"""Who has nothing left is refused before anything is written, once the ledger has confirmed it, and in due order."""

import time
from contextlib import contextmanager

import pytest
from django.db import connection

from chat.errors import Conflict, PromptTooLong
from chat.generations import service, start
from chat.generations.request import Ask
from chat.models import Generation
from providers.apps import providers_app
from providers.wire.base import Delta, Finished
from quotas import hints, ledger
from quotas import snapshot as table
from quotas.errors import QuotaExhausted
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
def exhausted(counting, alice, model, monkeypatch):
    """Alice has used her one answer of today, under the key "k"; the counter says so."""
    monkeypatch.setattr("providers.routing.Attempts.run", short_answer)
    table.current()
    begun = counting.run(service.start(ask(alice, idempotency_key="k")))
    ended(begun.row.id)
    assert counting.run(hints.seems_exhausted(alice.pk, "demo"))
    yield alice
    database.close()


def ended(generation_id):
    until = time.monotonic() + 10
    while Generation.objects.get(id=generation_id).status == "running" or hints.untold():
        assert time.monotonic() < until
        time.sleep(0.01)


def ask(person, **values):
    return Ask(person.pk, **{"model": "demo", "prompt": "Hello", **values})


@contextmanager
def reading_only(monkeypatch):
    """Fail on every statement behind the door that is not a SELECT, and on every transaction."""
    early = start.refused_early

    def watch(execute, statement, *arguments):
        assert statement.lstrip().startswith("SELECT"), statement
        return execute(statement, *arguments)

    def watched(*arguments):
        with connection.execute_wrapper(watch):
            return early(*arguments)

    def never(asked):
        raise AssertionError("a transaction was begun")

    with monkeypatch.context() as patched:
        patched.setattr(start, "refused_early", watched)
        patched.setattr(start, "begin", never)
        yield


def test_it_works(counting, exhausted, monkeypatch):
    """Nothing left: refused by one look at the counter and one at the ledger, without a transaction or a write."""
    with reading_only(monkeypatch), pytest.raises(QuotaExhausted) as refused:
        counting.run(service.start(ask(exhausted)))
    assert 0 < refused.value.retry_after <= 86_400 + 3600
    assert Generation.objects.count() == 1


def test_the_counter_alone_refuses_nobody(counting, exhausted, model):
    """What the counter has not heard of yet is found in the ledger, and the question is answered."""
    quota_id = model.quota_link.quota_id
    with connection.cursor() as cursor:  # as a process does that dies before it can tell Redis
        cursor.execute("UPDATE quotas_dailyusage SET used = 0, revision = revision + 1")
    begun = counting.run(service.start(ask(exhausted)))
    assert begun.held.remaining == 0
    ended(begun.row.id)
    assert ledger.state(exhausted.pk, quota_id)["used_today"] == 1


def test_a_known_key_comes_first(counting, exhausted, monkeypatch):
    """The same key finds its generation, another body under it a conflict, whatever is left."""
    first = Generation.objects.get()
    with reading_only(monkeypatch):
        assert counting.run(service.start(ask(exhausted, idempotency_key="k"))).row.id == first.id
        with pytest.raises(Conflict):
            counting.run(service.start(ask(exhausted, prompt="x", idempotency_key="k")))
        with pytest.raises(QuotaExhausted):
            counting.run(service.start(ask(exhausted, idempotency_key="other")))


def test_what_comes_before_the_quota(counting, exhausted, monkeypatch, settings):
    """Size, model, conversation and running answers are refused first, as they are when something is left."""
    with reading_only(monkeypatch):
        with pytest.raises(PromptTooLong):
            counting.run(service.start(ask(exhausted, prompt="x" * 32_001)))
        with pytest.raises(NotFound):
            counting.run(service.start(ask(exhausted, conversation=10**6)))
        with pytest.raises(InvalidRequest) as refused:
            counting.run(service.start(ask(exhausted, parent=1)))
        assert "parent" in refused.value.details
        Generation.objects.update(status="running")
        settings.MAX_ACTIVE_GENERATIONS = 1
        with pytest.raises(TooManyRequests):
            counting.run(service.start(ask(exhausted)))
        Generation.objects.update(status="completed")
    factories.chat_model("other")
    providers_app().configuration.forget()
    with pytest.raises(InvalidRequest) as refused:
        counting.run(service.start(ask(exhausted, model="nothing")))
    assert "model" in refused.value.details


def test_draining_comes_before_the_quota(counting, exhausted, monkeypatch):
    """A process that takes no more work says so, also to who has nothing left."""
    monkeypatch.setattr(runtime().drain, "active", True)
    with pytest.raises(ServiceUnavailable):
        counting.run(service.start(ask(exhausted)))


def test_a_join_comes_first(counting, exhausted, monkeypatch):
    """A repeated GET joins the answer that took the last unit."""
    Generation.objects.update(status="running", idempotency_key=None)
    joins = ask(exhausted, joins_running=True)
    Generation.objects.update(request_digest=joins.digest())
    with reading_only(monkeypatch):
        assert counting.run(service.start(joins)).held is None


def test_regenerating_when_nothing_is_left(counting, exhausted):
    """Asking for another answer to the same question is refused likewise."""
    answer = Generation.objects.get().message_id
    with pytest.raises(QuotaExhausted):
        counting.run(service.start(ask(exhausted, prompt="", regenerate=answer)))
    with pytest.raises(NotFound):
        counting.run(service.start(ask(exhausted, prompt="", regenerate=10**6)))


def test_a_grant_is_felt_at_once(counting, exhausted, model):
    """Given a credit on a page, the very next question is answered."""
    ledger.grant(exhausted.pk, model.quota_link.quota_id, 1, "gift")
    begun = counting.run(service.start(ask(exhausted)))
    assert (begun.held.remaining, begun.held.quota["credits"]) == (0, 0)
    ended(begun.row.id)


def test_refused_without_redis_too(counting, exhausted, settings):
    """Without Redis the transaction itself refuses."""
    settings.REDIS_URL = ""
    with pytest.raises(QuotaExhausted):
        counting.run(service.start(ask(exhausted)))
