"""Announcements: who sees which, for how long, in which language, safely, and without a query."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chat.announcements.tags import COOKIE
from chat.apps import chat
from chat.models import Announcement
from tests import factories
from tests.staff import calling, send
from web import limited_markdown

pytestmark = pytest.mark.django_db

API, ROWS, LOGIN = "/api/announcements/", "/api/admin/announcements/", "/accounts/login/"
ENGLISH = {"Accept-Language": "en"}


def announce(text: str, **values: Any) -> Announcement:
    """Store an announcement that holds now, as another process would."""
    row = Announcement.objects.create(text_en=text, **values)
    chat().announcements.forget()
    return row


def texts(client: Client, **headers: str) -> list[str]:
    """Return the texts that the API has for a caller."""
    return [row["text"] for row in client.get(API, headers={**ENGLISH, **headers}).json()]


@pytest.mark.contract("GET /api/announcements/")
def test_each_audience_sees_its_own(client: Client, alice: Any, bob: Any) -> None:
    """Visitors see what is for all, users also what is for members, and members of a group what is for it."""
    announce("all")
    announce("members", audience="members")
    announce("group", audience="groups").groups.add(factories.group("class", alice))
    assert texts(client) == ["all"]
    assert texts(calling(bob)) == ["members", "all"]
    assert texts(calling(alice)) == ["group", "members", "all"]
    shown = client.get(API).json()[0]
    assert set(shown) == {"id", "key", "severity", "text", "html", "starts_at", "ends_at"}


def test_times_and_severity(client: Client) -> None:
    """Only what has begun and has not ended is shown, the most urgent first, on the second in each process."""
    now = timezone.now()
    announce("later", starts_at=now + timedelta(minutes=1))
    announce("over", starts_at=now - timedelta(days=2), ends_at=now - timedelta(seconds=1))
    announce("note")
    announce("critical", severity="critical")
    announce("warning", severity="warning", ends_at=now + timedelta(minutes=1))
    assert texts(client) == ["critical", "warning", "note"]


def test_the_language_is_the_readers(client: Client) -> None:
    """Each reader gets the text in their language, or the only one there is."""
    announce("English only")
    announce("Both", text_zh="两种语言")
    assert texts(client) == ["Both", "English only"]
    assert texts(client, **{"Accept-Language": "zh-hans"}) == ["两种语言", "English only"]


def test_pages_show_it_until_the_browser_has_closed_it(client: Client, alice: Any) -> None:
    """Login and chat show it; a browser that closed it gets it no more, until its text changes."""
    row = announce("We move **tonight**, see [the plan](https://example.org/plan).", severity="warning")
    [shown] = client.get(API).json()
    page = client.get(LOGIN, headers=ENGLISH).content.decode()
    assert "We move <strong>tonight</strong>" in page
    assert '<a href="https://example.org/plan" target="_blank" rel="noopener noreferrer">the plan</a>' in page
    client.force_login(alice)
    assert "tonight" in client.get("/").content.decode()
    client.cookies[COOKIE] = f"7-0.{shown['key']}"
    assert "tonight" not in client.get("/").content.decode()
    assert "tonight" not in client.get(LOGIN).content.decode()
    row.text_en = "We moved tonight"
    row.save()
    chat().announcements.forget()
    assert "tonight" in client.get("/").content.decode()


def test_a_page_costs_no_query_more(client: Client, alice: Any) -> None:
    """The chat page costs the same queries with announcements as without, for groups too."""
    client.force_login(alice)
    client.get("/")
    with CaptureQueriesContext(connection) as without:
        client.get("/")
    announce("all")
    announce("group", audience="groups").groups.add(factories.group("class", alice))
    assert "group" in client.get("/").content.decode()
    with CaptureQueriesContext(connection) as with_them:
        client.get("/")
    assert len(with_them) == len(without)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("[x](//evil.example.org)", "<p>[x](//evil.example.org)</p>"),
        ('[x](https://e.org/"onclick=)', "<p>[x](https://e.org/&quot;onclick=)</p>"),
        ("[<b>](/usage/)", '<p><a href="/usage/">&lt;b&gt;</a></p>'),
        ("`**<i>**` and *it*", "<p><code>**&lt;i&gt;**</code> and <em>it</em></p>"),
        ("**a `b` c**", "<p><strong>a <code>b</code> c</strong></p>"),
        ("one\r\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
        ("2 * 3 * 4 ** 5", "<p>2 <em> 3 </em> 4 ** 5</p>"),
    ],
)
def test_only_a_part_of_markdown_becomes_elements(text: str, html: str) -> None:
    """Bold, italic, code, safe links and line breaks become elements; all else stays text."""
    assert limited_markdown.render(text) == html


@pytest.mark.contract("staff: announcements")
def test_staff_announce_by_api(carol: Any, client: Client) -> None:
    """Staff add, change and delete announcements; one without a text, or that ends first, is refused."""
    staff = calling(carol)
    group = factories.group("class")
    made = send(staff, "POST", ROWS, {"text_en": "Hello", "severity": "critical", "groups": [group.name]}).json()
    assert texts(client) == ["Hello"]
    assert (made["groups"], made["audience"], made["ends_at"]) == (["class"], "all", None)
    refused = send(staff, "PATCH", f"{ROWS}{made['id']}/", {"text_en": " "})
    assert refused.status_code == 400
    early = {"text_en": "x", "starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}
    assert "ends_at" in send(staff, "POST", ROWS, early).json()["error"]["details"]
    send(staff, "PATCH", f"{ROWS}{made['id']}/", {"text_en": "Bye"})
    assert texts(client) == ["Bye"]
    assert send(staff, "DELETE", f"{ROWS}{made['id']}/").status_code == 204
    assert texts(client) == []


def test_staff_announce_in_the_admin(client: Client, carol: Any) -> None:
    """A saved form takes effect at once, and the list shows the text without its marks."""
    client.force_login(carol)
    form = {"text_en": "**Soon** down", "text_zh": "", "severity": "info", "audience": "all"}
    moments = {"starts_at": "2026-01-01T08:30:00", "ends_at": ""}
    add = reverse("admin:chat_announcement_add")
    assert client.post(add, {**form, **moments}).status_code == 302
    assert texts(Client()) == ["**Soon** down"]
    assert timezone.localtime(Announcement.objects.get().starts_at).hour == 8, "in TIME_ZONE"
    page = client.get(reverse("admin:chat_announcement_changelist"), headers=ENGLISH).content.decode()
    assert "Soon down" in page
    assert client.post(add, {**form, **moments, "text_en": ""}).status_code == 200
