"""REST for staff: words, phrases and lists of words, permissions, and refusals."""

import time
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from chat.models import AllowedPhrase, ListVersion, SensitivePattern, SensitiveWord
from chat.screening import wordlist
from tests import factories
from tests.product import Product

pytestmark = pytest.mark.django_db

WORDS, PHRASES = "/api/admin/sensitive-words/", "/api/admin/allowed-phrases/"
IMPORT = f"{WORDS}import/"


@pytest.fixture
def staff(client: Client, carol: Any) -> Client:
    client.force_login(carol)
    return client


def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    return client.generic(method, path, b"" if body is None else orjson.dumps(body), "application/json")


def brought_in(client: Client, data: bytes | str, kind: str = "text/plain", query: str = "") -> Any:
    raw = data.encode() if isinstance(data, str) else data
    answer = client.generic("POST", IMPORT + query, raw, kind)
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.contract("staff: sensitive-words")
def test_words(staff: Client) -> None:
    """A word is added, listed, read, changed and deleted; omitted fields have defaults."""
    made = call(staff, "POST", WORDS, {"word": "walnuts"})
    wanted = {"word": "walnuts", "action": "block", "scope": "both", "category": "", "enabled": True}
    wanted |= {"replacement": "", "groups": []}
    assert made.status_code == 201
    row = made.json()
    assert row == {"id": row["id"], **wanted}
    assert staff.get(WORDS).json() == [row]
    one = f"{WORDS}{row['id']}/"
    changed = call(staff, "PATCH", one, {"action": "mask", "category": "nuts", "enabled": False, "word": "hazelnuts"})
    assert changed.status_code == 200
    row |= {"action": "mask", "category": "nuts", "enabled": False, "word": "hazelnuts"}
    assert changed.json() == staff.get(one).json() == row
    assert SensitiveWord.objects.get().key == "hazelnuts"
    assert call(staff, "DELETE", one).status_code == 204
    assert staff.get(WORDS).json() == []
    assert staff.get(one).status_code == 404


@pytest.mark.contract("staff: allowed-phrases")
def test_phrases(staff: Client) -> None:
    """Allowed phrases are managed in the same way."""
    made = call(staff, "POST", PHRASES, {"phrase": "站台独立"})
    assert made.status_code == 201
    row = made.json()
    assert row == {"id": row["id"], "phrase": "站台独立"}
    one = f"{PHRASES}{row['id']}/"
    assert call(staff, "PATCH", one, {"phrase": "电台独播"}).json()["phrase"] == "电台独播"
    assert [staff.get(one).json()] == staff.get(PHRASES).json()
    assert call(staff, "DELETE", one).status_code == 204
    assert not AllowedPhrase.objects.exists()


@pytest.mark.contract("staff: sensitive-patterns")
def test_patterns(staff: Client) -> None:
    """Patterns are managed in the same way; what cannot be used is refused with its reason."""
    Group.objects.create(name="pupils")
    path = "/api/admin/sensitive-patterns/"
    body = {"title": "Phones", "kind": "phone", "action": "replace", "replacement": "[phone]", "groups": ["pupils"]}
    made = call(staff, "POST", path, body)
    assert made.status_code == 201, made.content
    row = made.json()
    assert row == {"id": row["id"], "expression": "", "scope": "both", "category": "", "enabled": True, **body}
    one, version = f"{path}{row['id']}/", ListVersion.current()
    assert call(staff, "PATCH", one, {"groups": []}).json() == {**row, "groups": []}
    assert ListVersion.current() > version
    for change, field in (
        ({"expression": "a"}, "expression"),
        ({"kind": "expression"}, "expression"),
        ({"kind": "expression", "expression": "(a|b)*a(a|b){14}"}, "expression"),
        ({"kind": "expression", "expression": "(?=a)"}, "expression"),
        ({"replacement": " "}, "action"),
        ({"groups": ["nobody"]}, "groups"),
        ({"kind": "iban"}, "kind"),
    ):
        answer = call(staff, "PATCH", one, change)
        assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, [field]), change
    changed = call(staff, "PATCH", one, {"kind": "expression", "expression": r"ID-\d{3}"})
    assert changed.json()["expression"] == r"ID-\d{3}"
    assert call(staff, "DELETE", one).status_code == 204
    assert not SensitivePattern.objects.exists()


@pytest.mark.contract("staff: refusal-texts")
def test_refusal_texts(staff: Client) -> None:
    """Refusal texts are managed in the same way: one for a category, in one language at least."""
    path = "/api/admin/refusal-texts/"
    made = call(staff, "POST", path, {"category": "nuts", "text_zh": "不谈坚果。"})
    assert made.status_code == 201
    row = made.json()
    assert row == {"id": row["id"], "category": "nuts", "text_zh": "不谈坚果。", "text_en": ""}
    assert call(staff, "POST", path, {"category": "nuts", "text_en": "No."}).status_code == 400
    assert call(staff, "POST", path, {"category": "fruits"}).status_code == 400
    one = f"{path}{row['id']}/"
    assert call(staff, "PATCH", one, {"text_en": "No nuts."}).json()["text_en"] == "No nuts."
    assert call(staff, "DELETE", one).status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "word"),
        ({"word": ""}, "word"),
        ({"word": " \u3000"}, "word"),
        ({"word": "\u200b\u2060\ufe0f"}, "word"),
        ({"word": "\u115f\u3164"}, "word"),
        ({"word": "x" * 33}, "word"),
        ({"word": "a\0b"}, "word"),
        ({"word": None}, "word"),
        ({"word": ["a"]}, "word"),
        ({"word": "a", "action": "delete"}, "action"),
        ({"word": "a", "scope": "everywhere"}, "scope"),
        ({"word": "a", "category": "x" * 51}, "category"),
        ({"word": "a", "enabled": "perhaps"}, "enabled"),
        ({"word": "a", "colour": "red"}, "colour"),
        (["a"], "non_field_errors"),
    ],
)
def test_bad_words(staff: Client, body: Any, field: str) -> None:
    """An invalid word is refused with the name of the field."""
    answer = call(staff, "POST", WORDS, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], list(error["details"])) == ("invalid_request", [field])
    assert not SensitiveWord.objects.exists()


@pytest.mark.contract("words of 32 characters")
def test_thirty_two_characters(staff: Client) -> None:
    """A word of 32 characters is accepted, whatever they fold to."""
    for word in ("x" * 32, "字" * 32, "😀" * 32, "\ufdfa" * 32):
        assert call(staff, "POST", WORDS, {"word": word}).status_code == 201, word


@pytest.mark.parametrize("again", ["台灣", "台\u200b湾", "台 湾", "臺湾"])
def test_the_same_word_in_another_form(staff: Client, again: str) -> None:
    """A word that folds to a known key is refused, also as a change."""
    first = call(staff, "POST", WORDS, {"word": "台湾"}).json()
    refused = call(staff, "POST", WORDS, {"word": again})
    assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["word"])
    second = call(staff, "POST", WORDS, {"word": "other"}).json()
    assert call(staff, "PATCH", f"{WORDS}{second['id']}/", {"word": again}).status_code == 400
    assert call(staff, "PATCH", f"{WORDS}{first['id']}/", {"word": again}).status_code == 200
    assert SensitiveWord.objects.count() == 2


@pytest.mark.parametrize("path", [WORDS, f"{WORDS}1/", IMPORT, PHRASES, f"{PHRASES}1/"])
def test_authentication(client: Client, alice: Any, path: str) -> None:
    """Anonymous callers get 401; users and staff without the permission get 403."""
    method = "POST" if path == IMPORT else "GET"
    assert call(client, method, path).status_code == 401
    client.force_login(alice)
    assert call(client, method, path).json()["error"]["code"] == "forbidden"
    client.force_login(factories.user("clerk", is_staff=True))
    assert call(client, method, path).status_code == 403


def test_each_permission(client: Client) -> None:
    """Each method needs the same permission as in the admin."""
    word = SensitiveWord.objects.create(word="walnuts")
    one = f"{WORDS}{word.pk}/"
    calls = {
        "view": [("GET", WORDS, None), ("GET", one, None)],
        "add": [("POST", WORDS, {"word": "new"})],
        "change": [("PATCH", one, {"enabled": False})],
        "delete": [("DELETE", one, None)],
    }
    for number, right in enumerate(calls):
        clerk = factories.user(f"clerk{number}", is_staff=True)
        clerk.user_permissions.add(Permission.objects.get(codename=f"{right}_sensitiveword"))
        client.force_login(clerk)
        for other, requests in calls.items():
            allowed = other == right or (other, right) == ("view", "change")
            if other == "delete" and allowed:
                continue
            for method, path, body in requests:
                status = call(client, method, path, body).status_code
                assert (status < 300) == allowed, (right, method, path, status)
        assert (client.generic("POST", IMPORT, b"x", "text/plain").status_code == 200) == (right == "add")


@pytest.mark.contract("POST /api/admin/sensitive-words/import/")
def test_import_text(staff: Client) -> None:
    """A plain list has one word per line; invalid lines are reported, known words counted."""
    SensitiveWord.objects.create(word="known", action="mask")
    lines = ["walnuts", "", "Known", "  pecans ", "台湾", "臺灣", "x" * 33, "\u200b", "walnuts", "last"]
    report = brought_in(staff, "\r\n".join(lines))
    assert (report["created"], report["duplicates"]) == (4, 3)
    assert [row["line"] for row in report["rejected"]] == [2, 7, 8]
    assert all(row["reason"] for row in report["rejected"])
    rows = SensitiveWord.objects.order_by("id").values_list("word", "action", "scope", "category")
    assert list(rows) == [
        ("known", "mask", "both", ""),
        *((word, "block", "both", "") for word in ("walnuts", "pecans", "台湾", "last")),
    ]
    again = brought_in(staff, "\n".join(lines) + "\n", query="?action=mask&scope=output&category=nuts")
    assert (again["created"], again["duplicates"], len(again["rejected"])) == (0, 7, 3)


@pytest.mark.contract("POST /api/admin/sensitive-words/import/")
def test_import_csv(staff: Client) -> None:
    """A CSV header names the columns; omitted ones have the defaults of a single word."""
    rows = ["walnuts,mask,output,nuts", '"a,b",BLOCK,,', "", "x,delete,,", "y,,nowhere,", "z,,,,9", "pecans", ""]
    text = "\n".join(["word,action,scope,category", *rows])
    report = brought_in(staff, text, "text/csv; charset=utf-8")
    assert (report["created"], report["duplicates"]) == (3, 0)
    assert [row["line"] for row in report["rejected"]] == [4, 5, 6, 7]
    stored = SensitiveWord.objects.order_by("id").values_list("word", "action", "scope", "category")
    assert list(stored) == [
        ("walnuts", "mask", "output", "nuts"),
        ("a,b", "block", "both", ""),
        ("pecans", "block", "both", ""),
    ]


def test_what_is_exported_can_be_imported(staff: Client) -> None:
    """Importing an exported list gives the same list."""
    brought_in(staff, "one\ntwo\n", query="?action=mask&category=c")
    SensitiveWord.objects.create(word='a "quoted", one', scope="input", enabled=False)
    text = wordlist.as_csv(SensitiveWord.objects.order_by("id"))
    fields = ("word", "key", "action", "scope", "category", "enabled")
    before = list(SensitiveWord.objects.order_by("id").values(*fields))
    SensitiveWord.objects.all().delete()
    assert brought_in(staff, text, "text/csv")["created"] == 3
    assert list(SensitiveWord.objects.order_by("id").values(*fields)) == before


def test_groups_of_a_list(staff: Client) -> None:
    """Words that are limited to groups stay so in an exported list; an unknown group rejects its line."""
    groups = [Group.objects.create(name=name) for name in ("pupils", 'staff; "new"', "=others")]
    for count, word in enumerate(("general", "one", "two", "three")):
        SensitiveWord.objects.create(word=word).groups.set(groups[:count])
    text = wordlist.as_csv(SensitiveWord.objects.order_by("id"))
    SensitiveWord.objects.all().delete()
    version = ListVersion.current()
    assert brought_in(staff, text, "text/csv")["created"] == 4
    assert ListVersion.current() > version
    for count, word in enumerate(("general", "one", "two", "three")):
        assert set(SensitiveWord.objects.get(word=word).groups.all()) == set(groups[:count])
    groups[0].delete()
    report = brought_in(staff, text + 'four,,,,,,"pupils"\nfive,,,,,, =others ;\none,,,,,,=others', "text/csv")
    assert (report["created"], report["duplicates"]) == (1, 2)
    assert [row["line"] for row in report["rejected"]] == [3, 4, 5, 6]
    assert "pupils" in report["rejected"][0]["reason"]
    assert [group.name for group in SensitiveWord.objects.get(word="five").groups.all()] == ["=others"]
    assert not SensitiveWord.objects.get(word="one").groups.exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(staff: Client, encoding: str) -> None:
    """Lists may be UTF-8 or in the encodings of spreadsheets."""
    assert brought_in(staff, "word,action\n核桃,mask\n碧根果,mask\n".encode(encoding), "text/csv")["created"] == 2
    assert SensitiveWord.objects.filter(word__in=["核桃", "碧根果"]).count() == 2


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"\xff\xff\xff", "text/plain", 400),
        (b"a\nb", "text/csv", 400),
        (b"word,colour\na,red", "text/csv", 400),
        (b'word,action\n"' + b"x" * 200_000, "text/csv", 400),
        (b"\n" * 20_002, "text/plain", 400),
        (b'{"word": "a"}', "application/json", 415),
        (b"a", "application/octet-stream", 415),
    ],
)
def test_invalid_files(staff: Client, data: bytes, kind: str, status: int) -> None:
    """A file that is not a list is refused as a whole."""
    answer = staff.generic("POST", IMPORT, data, kind)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "invalid_request")
    assert not SensitiveWord.objects.exists()


def test_bad_defaults(staff: Client) -> None:
    """Default values in the query are validated like a word's fields."""
    answer = staff.generic("POST", IMPORT + "?action=delete", b"a", "text/plain")
    assert (answer.status_code, list(answer.json()["error"]["details"])) == (400, ["action"])


def test_empty_lists(staff: Client) -> None:
    """An empty list is accepted."""
    assert brought_in(staff, b"") == {"created": 0, "duplicates": 0, "rejected": []}


def test_most_words(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that exceeds the maximum number of words is refused as a whole."""
    monkeypatch.setattr(wordlist, "MOST_WORDS", 3)
    assert brought_in(staff, "a\nb")["created"] == 2
    assert staff.generic("POST", IMPORT, b"b\nc\nd", "text/plain").status_code == 400
    assert SensitiveWord.objects.count() == 2
    assert brought_in(staff, "b\nc")["created"] == 1


def test_ten_thousand_lines(staff: Client) -> None:
    """Importing ten thousand lines takes about a second; again, as duplicates, less."""
    text = "".join(f"word{number}\n" for number in range(10_000))
    started = time.thread_time()
    assert brought_in(staff, text)["created"] == 10_000
    first, started = time.thread_time() - started, time.thread_time()
    assert brought_in(staff, text)["duplicates"] == 10_000
    assert first < 3
    assert time.thread_time() - started < 2


def test_every_change_is_a_new_version(staff: Client) -> None:
    """Every way of changing words or phrases increments the version."""
    versions = [ListVersion.current()]

    def changed() -> bool:
        versions.append(ListVersion.current())
        return versions[-1] > versions[-2]

    row = call(staff, "POST", WORDS, {"word": "walnuts"}).json()
    assert changed()
    call(staff, "PATCH", f"{WORDS}{row['id']}/", {"enabled": False})
    assert changed()
    call(staff, "DELETE", f"{WORDS}{row['id']}/")
    assert changed()
    phrase = call(staff, "POST", PHRASES, {"phrase": "walnuts"}).json()
    assert changed()
    call(staff, "DELETE", f"{PHRASES}{phrase['id']}/")
    assert changed()
    brought_in(staff, "a\nb\n")
    assert changed()
    SensitiveWord.objects.filter(word="a").update(enabled=False)
    assert changed()
    SensitiveWord.objects.bulk_create([SensitiveWord(word="c", key="c")])
    assert changed()
    SensitiveWord.objects.all().delete()
    assert changed()


def test_sizes(screening: Product) -> None:
    """Lists over 32 MiB are refused, other bodies over 1 MiB."""
    client = screening.admin().client
    line = "sizes-test-word\n"
    headers = {"Content-Type": "text/plain"}
    taken = client.post(IMPORT, content=line * (5 * 2**20 // len(line)), headers=headers)
    assert (taken.status_code, taken.json()["created"]) == (200, 1)
    refused = client.post(IMPORT, content=b"x" * (32 * 2**20 + 1), headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "prompt_too_long")
    assert client.post(WORDS, content=b"x" * (2**20 + 1), headers=headers).status_code == 413
    (row,) = [word for word in client.get(WORDS).json() if word["word"] == line.strip()]
    assert client.delete(f"{WORDS}{row['id']}/").status_code == 204
