"""When a blocked prompt is refused: after running answers are counted, before a quota is, never for a known key."""

from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from chat.apps import chat
from chat.errors import ContentBlocked
from chat.generations import start
from chat.generations.request import Ask
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
    """Somebody who may ask the scripted model, and a word that blocks."""
    user: User = factories.user("alice")
    model = factories.chat_model("demo")
    factories.route(model, factories.upstream("demo", kind="scripted"))
    ensure_defaults()
    SensitiveWord.objects.create(word="walnuts")
    return user


def begin(user: User, prompt: str, **values: Any) -> Generation:
    return start.begin(Ask(user.pk, "demo", prompt, **values)).row


def test_it_works(asker: User, settings: Any) -> None:
    """Whoever has too many answers running is told so first, whatever they ask."""
    settings.MAX_ACTIVE_GENERATIONS = 1
    begin(asker, "Hello")
    with pytest.raises(TooManyRequests):
        begin(asker, "walnuts")
    assert not Hit.objects.exists()


def test_before_the_quota(asker: User) -> None:
    """A blocked prompt is refused as such although the quota is used up, too."""
    Quota.objects.update(daily_limit=0)
    with pytest.raises(QuotaExhausted):
        begin(asker, "Hello")
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts")
    asker.refresh_from_db()
    assert asker.abuse_count == 1


def test_known_keys(asker: User) -> None:
    """A known key answers with its generation, also after a word of its prompt was listed."""
    SensitiveWord.objects.all().delete()
    first = begin(asker, "walnuts", idempotency_key="k")
    SensitiveWord.objects.create(word="walnuts")
    assert begin(asker, "walnuts", idempotency_key="k") == first
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts", idempotency_key="other")


def test_nothing_is_left_behind(asker: User) -> None:
    """A refusal leaves the conversation as it was, its time of use included."""
    row = Conversation.objects.create(user=asker, title="Old", system_prompt="kept")
    before = Conversation.objects.values().get()
    with pytest.raises(ContentBlocked):
        begin(asker, "walnuts", conversation=row.pk, system_prompt="new")
    assert Conversation.objects.values().get() == before
    assert not Generation.objects.exists()


def test_a_word_counts_at_once(asker: User) -> None:
    """In the process in which a word is listed, changed or removed, the very next question meets it."""
    begin(asker, "pecans")
    word = SensitiveWord.objects.create(word="pecans")
    with pytest.raises(ContentBlocked):
        begin(asker, "pecans")
    SensitiveWord.objects.filter(pk=word.pk).update(action="mask")
    assert begin(asker, "pecans").conversation.title == "******"  # type: ignore[union-attr]
    word.enabled = False
    word.save()
    assert begin(asker, "pecans").conversation.title == "pecans"  # type: ignore[union-attr]


def test_nobody_is_answered_while_the_words_cannot_be_read(asker: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not read its words refuses, as it does while the database is away, until it has."""

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
