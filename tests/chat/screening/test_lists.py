"""Patterns, actions and lists for groups as the process compiles them, and how they reach users."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError
from django.utils import translation

from chat.apps import chat
from chat.errors import ContentBlocked
from chat.models import ListVersion, RefusalText, SensitivePattern, SensitiveWord
from chat.screening import incoming
from chat.screening.expressions import NotAnExpression
from chat.screening.found import Found
from chat.screening.live import LiveWords
from providers.wire.base import PromptMessage
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> LiveWords:
    """The words of this process, not loaded yet."""
    monkeypatch.setattr(chat(), "words", LiveWords())
    return chat().words


def pattern(kind: str = "expression", expression: str = r"ID-\d{3}", **values: Any) -> SensitivePattern:
    own = expression if kind == "expression" else ""
    return SensitivePattern.objects.create(title=kind, kind=kind, expression=own, **values)


def screened(words: LiveWords, text: str, user_id: int = 0) -> str:
    return incoming.screen(words.for_user(user_id).current.incoming, text).texts[0]


def test_actions(words: LiveWords) -> None:
    """Each action shows in the text and in what is recorded; a flag changes nothing."""
    rows = [
        SensitiveWord.objects.create(word="walnuts", action="flag", category="nuts"),
        SensitiveWord.objects.create(word="hazelnuts", action="replace", replacement="[nut]"),
        pattern(action="mask", category="ids"),
        pattern("phone", action="replace", replacement="[phone]", scope="output"),
    ]
    lexicon = words.load().incoming
    result = incoming.screen(lexicon, "walnuts, hazel-nuts, id-123, 13812345678")
    assert result.texts == ("walnuts, [nut], ******, 13812345678",)
    assert result.hits == {
        Found("word", rows[0].pk, "nuts", "flag"),
        Found("word", rows[1].pk, "", "replace"),
        Found("pattern", rows[2].pk, "ids", "mask"),
    }
    assert not result.blocked
    assert [hit.term.id for hit in words.load().outgoing.find("13812345678")] == [rows[3].pk]


def test_replacements_in_parts_and_json(words: LiveWords) -> None:
    """A replacement stays in its part of a message, and is escaped inside JSON."""
    SensitiveWord.objects.create(word="cobalt", action="replace", replacement='"Co"')
    parts: Any = ({"type": "text", "text": "co"}, {"type": "text", "text": "balt and cobalt"})
    message = PromptMessage("user", "cobalt and cobalt", parts=parts)
    (masked,) = incoming.mask_earlier(words.load().incoming, (message,), new=0)
    assert [part["text"] for part in masked.parts] == ['"Co"', ' and "Co"']
    assert masked.content == '"Co" and "Co"'
    tools = {"tools": [{"description": '{"metal": "cobalt"}'}]}
    assert incoming.mask_extras(words.load().incoming, tools) == {"tools": [{"description": '{"metal": "\\"Co\\""}'}]}


def test_lists_of_groups(words: LiveWords, django_assert_num_queries: Any) -> None:
    """Members see the lists of their groups beside the general one, which is compiled once for all."""
    pupils, teachers = (Group.objects.create(name=name) for name in ("pupils", "teachers"))
    alice, bob, carol = (factories.user(name) for name in ("alice", "bob", "carol"))
    alice.groups.add(pupils)
    bob.groups.add(pupils, teachers)
    SensitiveWord.objects.create(word="general", action="mask")
    before = words.load()
    with django_assert_num_queries(0):
        assert words.for_user(alice.pk).current is before
    SensitiveWord.objects.create(word="cheating", action="mask").groups.add(pupils)
    pattern(action="mask").groups.add(pupils, teachers)
    text = "general cheating id-123"
    assert screened(words, text, carol.pk) == "******* cheating id-123"
    assert screened(words, text, alice.pk) == screened(words, text, bob.pk) == "******* ******** ******"
    assert screened(words, text) == "******* cheating id-123"
    with django_assert_num_queries(1):
        own = words.for_user(alice.pk).current
    assert own is words.for_user(bob.pk).current
    assert own.incoming.parts[0] is words.load().incoming.parts[0]
    alice.groups.clear()
    assert screened(words, text, alice.pk) == "******* cheating id-123"


def test_running_completions_follow_changes(words: LiveWords) -> None:
    """What applies to a user changes with the lists, also while a completion runs."""
    pupils = Group.objects.create(name="pupils")
    alice = factories.user("alice")
    alice.groups.add(pupils)
    word = SensitiveWord.objects.create(word="one", action="mask")
    word.groups.add(pupils)
    own = words.for_user(alice.pk)
    assert own.current.outgoing.find("one two")[0].start == 0
    word.word = "two"
    word.save()
    assert own.current.outgoing.find("one two")[0].start == 4
    assert own.current is own.current


def test_the_end_of_a_group(words: LiveWords) -> None:
    """What was limited to a group alone applies to all once the group is deleted, at once."""
    pupils = Group.objects.create(name="pupils")
    pattern(action="mask").groups.add(pupils)
    assert screened(words, "id-123") == "id-123"
    version = ListVersion.current()
    pupils.delete()
    assert ListVersion.current() > version
    assert screened(words, "id-123") == "******"


def test_a_group_that_the_previous_release_deleted(words: LiveWords) -> None:
    """What was limited to it applies to all, though the row that limited it is still there."""
    pattern(action="mask").groups.add(Group.objects.create(name="pupils"))
    Group.objects.filter(name="pupils")._raw_delete("default")  # as a process does that does not know the table
    assert SensitivePattern.groups.through.objects.exists()
    assert screened(words, "id-123") == "******"


def test_what_the_database_refuses() -> None:
    """No catastrophic expression, and no row without what its kind needs, can be stored."""
    for expression in ("(a|b)*a(a|b){14}", ".*x", "a*", "(?=a)"):
        with pytest.raises(NotAnExpression):
            pattern(expression=expression)
    for row in (SensitivePattern(title="x", kind="phone", expression="a"), SensitivePattern(title="x", kind="phone")):
        row.kind = "phone" if row.expression else "expression"
        with pytest.raises(IntegrityError):
            SensitivePattern.objects.bulk_create([row])
    assert not SensitivePattern.objects.exists()


@pytest.mark.parametrize(
    ("language", "category", "text"),
    [
        ("en", "nuts", "No nuts."),
        ("zh-hans", "nuts", "不谈坚果。"),
        ("zh-hans", "ids", "general"),
        ("en", "x", "general"),
    ],
)
def test_refusal_texts(words: LiveWords, language: str, category: str, text: str) -> None:
    """The category's text in the active language explains a refusal, else the general one."""
    RefusalText.objects.create(category="nuts", text_en="No nuts.", text_zh="不谈坚果。")
    RefusalText.objects.create(category="ids", text_en="No ids.")
    SensitiveWord.objects.create(word="walnuts", category=category)
    result = incoming.screen(words.load().incoming, "walnuts")
    refusal = ContentBlocked(words.load().texts.get(result.category))
    with translation.override(language):
        general = str(ContentBlocked().message)
        assert refusal.body()["message"] == (general if text == "general" else text)
        assert refusal.body()["code"] == "content_blocked"
