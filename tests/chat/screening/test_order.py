"""When a blocked prompt is refused: after the limit of active generations, before the quota, never for a known key."""

from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from chat.apps import chat
from chat.errors import ContentBlocked
from chat.generations.request import GenerationRequest
from chat.models import Conversation, Generation, Hit, SensitiveWord
from chat.screening import live
from quotas.errors import QuotaExhausted
from quotas.models import Quota
from quotas.setup import ensure_defaults
from tests import factories
from web.refusals import TooManyRequests

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asker() -> User:
    """A user who may use the scripted model, and a blocking word."""
    user: User = factories.user("alice")
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    SensitiveWord.objects.create(word="walnuts")
    return user


def begin(user: User, prompt: str, **values: Any) -> Generation:
    return factories.admission().start(GenerationRequest(user.pk, "demo", prompt, **values)).row


@pytest.mark.contract("refusal: content_blocked")
def test_after_the_limit_of_active_generations(asker: User, settings: Any) -> None:
    """The limit of active generations is checked before words."""
    settings.MAX_ACTIVE_GENERATIONS = 1
    begin(asker, "Hello")
    with pytest.raises(TooManyRequests):
        begin(asker, "walnuts")
    assert not Hit.objects.exists()


@pytest.mark.contract("the order of refusals")
def test_before_the_quota(asker: User) -> None:
    """A blocked prompt is refused as blocked, even if the quota is used up too."""
    Quota.objects.update(daily_limit=0)
    with pytest.raises(QuotaExhausted):
        begin(asker, "Hello")
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts")
    asker.refresh_from_db()
    assert asker.abuse_count == 1


def test_known_keys(asker: User) -> None:
    """A known key returns its generation, even after a word of its prompt was listed."""
    SensitiveWord.objects.all().delete()
    first = begin(asker, "walnuts", idempotency_key="k")
    SensitiveWord.objects.create(word="walnuts")
    assert begin(asker, "walnuts", idempotency_key="k") == first
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts", idempotency_key="other")


def test_nothing_is_left_behind(asker: User) -> None:
    """A refusal leaves the conversation and its time of last use unchanged."""
    row = Conversation.objects.create(user=asker, title="Old", system_prompt="kept")
    before = Conversation.objects.values().get()
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts", conversation=row.pk, system_prompt="new")
    assert Conversation.objects.values().get() == before
    assert not Generation.objects.exists()


def test_a_change_applies_to_the_next_prompt(asker: User) -> None:
    """A word that is added, changed or disabled applies to this process's next prompt."""
    begin(asker, "pecans")
    word = SensitiveWord.objects.create(word="pecans")
    with pytest.raises(ContentBlocked):
        begin(asker, "pecans")
    SensitiveWord.objects.filter(pk=word.pk).update(action="mask")
    assert begin(asker, "pecans").conversation.title == "******"  # type: ignore[union-attr]
    word.enabled = False
    word.save()
    assert begin(asker, "pecans").conversation.title == "pecans"  # type: ignore[union-attr]


def test_prompts_are_refused_until_the_words_are_loaded(asker: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process refuses prompts until it has loaded the words."""

    def away() -> None:
        raise OperationalError("the database is away")

    chat().words.forget()
    with monkeypatch.context() as patch:
        patch.setattr(live, "read_rows", away)
        with pytest.raises(OperationalError):
            begin(asker, "Hello")
    assert not Generation.objects.exists()
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts")
