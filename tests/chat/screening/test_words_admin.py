"""The admin pages for words: lists, import and export, trying a text, and read-only hits."""

from typing import Any

import pytest
from django.contrib.admin import site
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts import deletion
from chat.apps import chat
from chat.models import AllowedPhrase, Hit, SensitiveWord
from chat.screening import admin as words_admin
from chat.screening import audit
from chat.screening.found import Found
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "admin:chat_sensitiveword_changelist"


@pytest.fixture
def admin(client: Client, carol: Any) -> Client:
    client.force_login(carol)
    return client


def page(name: str, *arguments: Any) -> str:
    return reverse(f"admin:chat_{name}", args=arguments)


def shown(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_adding_and_searching_words(admin: Client) -> None:
    """A new word applies at once; the list finds it by folded form and category."""
    chat().words.load()
    values = {"word": "臺灣", "action": "mask", "scope": "both", "category": "places", "enabled": "on"}
    assert admin.post(page("sensitiveword_add"), values).status_code == 302
    assert [hit.start for hit in chat().words.current.incoming.find("看台-湾")] == [1]
    SensitiveWord.objects.create(word="walnuts", category="nuts")
    for query, count in (({"q": "台湾"}, 1), ({"q": "WAL"}, 1), ({"q": "x"}, 0), ({"category": "nuts"}, 1), ({}, 2)):
        assert admin.get(reverse(LIST), query).context["cl"].result_count == count, query


@pytest.mark.parametrize("word", ["", "\u200b", "x" * 33, "walＮUTS", "wal-nuts"[:3] + "nuts"])
def test_bad_words(admin: Client, word: str) -> None:
    """An invalid or known word is refused with an error at its field."""
    SensitiveWord.objects.create(word="walnuts")
    answer = admin.post(page("sensitiveword_add"), {"word": word, "action": "mask", "scope": "both"})
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == ["word"]


def test_actions(admin: Client) -> None:
    """Disabling, enabling and deleting words in bulk applies at once."""
    rows = [SensitiveWord.objects.create(word=word) for word in ("one", "two", "three")]
    chat().words.load()

    def counting() -> int:
        return len(chat().words.current.incoming.find("one two three"))

    def act(action: str, *chosen: SensitiveWord, **more: str) -> None:
        data = {"action": action, "_selected_action": [row.pk for row in chosen], **more}
        assert admin.post(reverse(LIST), data).status_code == 302

    act("disable", *rows[:2])
    assert counting() == 1
    act("enable", rows[0])
    assert counting() == 2
    act("delete_selected", *rows, post="yes")
    assert counting() == 0


def test_edited_in_the_list(admin: Client) -> None:
    """A word's action can be changed in the list itself."""
    row = SensitiveWord.objects.create(word="one")
    chat().words.load()
    form = {
        "form-TOTAL_FORMS": 1,
        "form-INITIAL_FORMS": 1,
        "form-0-id": row.pk,
        "_save": "Save",
    }
    changed = admin.post(reverse(LIST), {**form, "form-0-action": "mask", "form-0-enabled": "on"})
    assert changed.status_code == 302
    assert [hit.term.blocks for hit in chat().words.current.incoming.find("one")] == [False]


def test_import_a_list(admin: Client) -> None:
    """A pasted list takes its other columns from the form; rejected lines are shown."""
    form = {"text": "one\n\nＯＮＥ\ntwo", "action": "mask", "scope": "output", "category": "c"}
    assert admin.get(page("sensitiveword_import")).status_code == 200
    answer = admin.post(page("sensitiveword_import"), form)
    report = answer.context["report"]
    assert (report["created"], report["duplicates"], [each["line"] for each in report["rejected"]]) == (2, 1, [2])
    assert "<td>2</td>" in shown(answer)
    rows = SensitiveWord.objects.values_list("word", "action", "scope", "category")
    assert set(rows) == {("one", "mask", "output", "c"), ("two", "mask", "output", "c")}


@pytest.mark.parametrize("data", ["word,action\none,mask\n", "\ufeffword;x\none,mask"])
def test_import_a_file(admin: Client, data: str) -> None:
    """A file is CSV if its first line is our header, else a plain list."""
    file = SimpleUploadedFile("words.csv", data.encode("gb18030" if data[0] == "w" else "utf-8"))
    answer = admin.post(page("sensitiveword_import"), {"file": file, "action": "block", "scope": "both"})
    words = set(SensitiveWord.objects.values_list("word", "action"))
    assert words == ({("one", "mask")} if data[0] == "w" else {("word;x", "block"), ("one,mask", "block")})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"action": "block", "scope": "both"},
        {"action": "block", "scope": "both", "text": "word,colour\na,red"},
        {"action": "nothing", "scope": "both", "text": "a"},
        {"action": "block", "scope": "both", "file": b"\xff\xff\xff"},
        {"action": "block", "scope": "both", "file": b"a" * (5 * 2**20 + 1)},
    ],
)
def test_invalid_files(admin: Client, form: dict[str, Any]) -> None:
    """A file that is too large or invalid gives a form error and stores nothing."""
    if "file" in form:
        form = {**form, "file": SimpleUploadedFile("words.txt", form["file"])}
    answer = admin.post(page("sensitiveword_import"), form)
    assert answer.context["form"].errors
    assert answer.context["report"] is None
    assert not SensitiveWord.objects.exists()


def test_export(admin: Client) -> None:
    """The list, or a selection, is exported as CSV with a byte order mark."""
    rows = [SensitiveWord.objects.create(word=word) for word in ("two", "one")]
    answer = admin.get(page("sensitiveword_export"))
    assert answer["Content-Disposition"].startswith("attachment")
    header = "\ufeffword,action,scope,category,enabled,replacement,groups"
    lines = [header, "one,block,both,,1,,", "two,block,both,,1,,", ""]
    assert shown(answer) == "\r\n".join(lines)
    chosen = {"action": "export_chosen", "_selected_action": [rows[0].pk]}
    assert shown(admin.post(reverse(LIST), chosen)).splitlines()[1:] == ["two,block,both,,1,,"]


def test_try_a_text(admin: Client) -> None:
    """Trying a text shows its hits, and the results as prompt and as completion."""
    SensitiveWord.objects.create(word="walnuts", action="mask", scope="both")
    SensitiveWord.objects.create(word="pecans", action="block", scope="output", category="nuts")
    AllowedPhrase.objects.create(phrase="walnuts street")
    text = "Wal-nuts & <b>PECANS</b>, Walnuts Street"
    answer = admin.post(page("sensitiveword_try"), {"text": text})
    tried = answer.context["tried"]
    assert tried["pieces"] == [("Wal-nuts", True), (" & <b>", False), ("PECANS", True), ("</b>, Walnuts Street", False)]
    assert [(hit["row"].word, hit["text"], hit["start"]) for hit in tried["found"]] == [
        ("walnuts", "Wal-nuts", 0),
        ("pecans", "PECANS", 14),
    ]
    assert [tuple(outcome.values()) for outcome in tried["outcomes"]] == [
        ("input", False, "******** & <b>PECANS</b>, Walnuts Street"),
        ("output", True, "******** & <b>"),
    ]
    assert "<mark>Wal-nuts</mark> &amp; &lt;b&gt;<mark>PECANS</mark>" in shown(answer)
    assert not Hit.objects.exists()
    assert admin.post(page("sensitiveword_try"), {"text": "peanuts"}).context["tried"]["found"] == []
    assert "tried" in shown(admin.post(page("sensitiveword_try"), {"text": "x"}))
    long = {"text": "x" * (words_admin.MOST_TRIED_CHARS + 1)}
    assert admin.post(page("sensitiveword_try"), long).context["tried"] is None


def test_a_user_with_hits_can_be_deleted(admin: Client, alice: Any) -> None:
    """Hits do not prevent deleting their user."""
    audit.record_refusal(alice.pk, {Found("word", 1)})
    deleting = reverse("admin:accounts_user_delete", args=[alice.pk])
    assert "walnuts" not in shown(admin.get(deleting))
    assert admin.post(deleting, {"post": "yes"}).status_code == 302
    deletion._delete_account(alice.pk)  # as the timer does in a moment
    assert not Hit.objects.exists()


@pytest.mark.parametrize("name", ["import", "export", "try"])
def test_permissions(client: Client, name: str) -> None:
    """Staff without the permission for words see none of these pages."""
    client.force_login(factories.user("clerk", is_staff=True))
    assert client.get(page(f"sensitiveword_{name}")).status_code == 403
    client.logout()
    assert client.get(page(f"sensitiveword_{name}")).status_code == 302


def test_lists_are_made_of_few_queries(admin: Client, alice: Any, django_assert_max_num_queries: Any) -> None:
    """The number of queries for a list does not grow with its rows."""
    SensitiveWord.objects.bulk_create(SensitiveWord(word=f"w{number}", key=f"w{number}") for number in range(50))
    audit.record(alice.pk, None, "input", [Found("word", number) for number in range(50)])
    for name in ("sensitiveword", "allowedphrase", "hit"):
        assert site.is_registered({"sensitiveword": SensitiveWord, "allowedphrase": AllowedPhrase, "hit": Hit}[name])
        with django_assert_max_num_queries(12):
            assert admin.get(page(f"{name}_changelist")).status_code == 200
