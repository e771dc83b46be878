"""chat/pages.py: the branch that is shown, the page of text tools, and that of one's own data."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.conversations import branches
from chat.models import Conversation, Message, TextTool
from chat.sources import encode
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def tree(alice: Any) -> dict[str, Message]:
    """Two first questions; the earlier has two answers, the first of which goes on."""
    conversation = Conversation.objects.create(user=alice, title="Tree", system_prompt="Be kind.")
    rows: dict[str, Message] = {}
    for name, parent in (
        *(("q1", ""), ("a1", "q1"), ("q2", "a1"), ("a2", "q2")),
        *(("a1b", "q1"), ("other", ""), ("answer", "other")),
    ):
        role = "user" if name.startswith(("q", "o")) else "assistant"
        rows[name] = Message.objects.create(
            conversation=conversation, parent=rows.get(parent), role=role, content=name, model=""
        )
    return rows


@pytest.mark.parametrize(
    ("seconds", "through", "beside"),
    [
        ((0, 5, 1, None), "", "a1"),
        ((0, None, 1, 2), "", "a1"),
        ((0, 0.1, 0.2, 1), "", "a1"),
        ((0, 1, 3, 4), "", None),
        ((0, 5, 1, None), "a1", None),
        ((0, 5, 1, None), "a1b", None),
    ],
    ids=["second runs", "first runs", "short ones", "one after the other", "first was chosen", "second was chosen"],
)
def test_what_stands_beside_the_last_completion(
    tree: dict[str, Message], seconds: tuple[float | None, ...], through: str, beside: str | None
) -> None:
    """Completions that two models made at the same time stand side by side until the user chooses one."""
    conversation, quota = tree["q1"].conversation, factories.quota()
    for name in ("a2", "q2", "answer", "other"):
        tree[name].delete()
    began = timezone.now() - timedelta(minutes=1)
    times = [None if second is None else began + timedelta(seconds=second) for second in seconds]
    for name, start, end in (("a1", *times[:2]), ("a1b", *times[2:])):
        factories.generation(
            conversation.user, factories.chat_model(of=quota), message=tree[name], at=start, finished_at=end
        )
    chosen = tree[through].pk if through else None
    branch, versions = branches.shown(conversation, chosen)
    assert branches.beside(branch, versions, chosen) == (beside and tree[beside].pk)


@pytest.fixture
def visitor(client: Client, alice: Any) -> Client:
    client.force_login(alice)
    return client


@pytest.mark.parametrize(
    ("through", "shown"),
    [
        ("", ["other", "answer"]),
        ("q1", ["q1", "a1b"]),
        ("a1", ["q1", "a1", "q2", "a2"]),
        ("q2", ["q1", "a1", "q2", "a2"]),
        ("a1b", ["q1", "a1b"]),
        ("other", ["other", "answer"]),
    ],
)
def test_the_branch_goes_through_the_wanted_message(tree: dict[str, Message], through: str, shown: list[str]) -> None:
    """The branch goes through the message that is asked for and on to what was said last below it."""
    conversation = tree["q1"].conversation
    branch, versions = branches.shown(conversation, tree[through].pk if through else None)
    assert [message.content for message in branch] == shown
    siblings = {"q1": ["q1", "other"], "other": ["q1", "other"], "a1": ["a1", "a1b"], "a1b": ["a1", "a1b"]}
    expected = {tree[name].pk: [tree[each].pk for each in siblings.get(name, [name])] for name in shown}
    assert {key: list(value) for key, value in versions.items()} == expected


@pytest.mark.parametrize("odd", ["0", "-1", "x", "9" * 30, "٣", "999999", ""])
def test_an_odd_address(visitor: Client, tree: dict[str, Message], odd: str) -> None:
    """Whatever else the address asks for, the branch of what was said last is shown."""
    page = visitor.get(f"/c/{tree['q1'].conversation_id}/?message={odd}")
    assert re.findall(r'data-part="content"(?: dir="auto")?>(\w+)<', page.content.decode()) == ["other", "answer"]


@pytest.mark.parametrize(
    ("address", "is_link"),
    [
        ("https://example.org/", True),
        ("http://testserver:81/", True),
        ("https://例子.example/", True),
        ("http://testserver/api/chat/", False),
        ("https://TESTSERVER:443/", False),
        ("http://u:p@testserver:80", False),
        ("http://%74estserver/", False),
        ("http://ｔestserver/", False),
        ("https://chat.example/x", False),
        (f"https://{'a' * 64}.example/", False),
    ],
)
def test_no_cited_page_of_ours_is_a_link(
    visitor: Client, tree: dict[str, Message], settings: Any, address: str, is_link: bool
) -> None:
    """A page at an address of this service, as browsers read it, is shown as text."""
    settings.PUBLIC_URL = "https://chat.example"
    tree["answer"].sources = encode([{"url": address, "title": "The page"}])
    tree["answer"].save()
    page = visitor.get(f"/c/{tree['q1'].conversation_id}/").content.decode()
    (start,) = re.findall(r"<li>(<[^>]*>)The page<", page)
    assert start.startswith("<a href=" if is_link else "<span"), start


def test_foreign_branches(visitor: Client, tree: dict[str, Message], bob: Any) -> None:
    """A message of another user's conversation opens nothing."""
    theirs = Conversation.objects.create(user=bob, title="Theirs")
    secret = Message.objects.create(conversation=theirs, role="user", content="secret")
    page = visitor.get(f"/c/{tree['q1'].conversation_id}/?message={secret.pk}")
    assert "secret" not in page.content.decode()
    assert visitor.get(f"/c/{theirs.pk}/?message={secret.pk}").status_code == 404


def test_number_of_queries(visitor: Client, tree: dict[str, Message]) -> None:
    """A page costs the same queries however many turns and versions there are."""
    address = f"/c/{tree['q1'].conversation_id}/"
    visitor.get(address)
    with CaptureQueriesContext(connection) as few:
        visitor.get(address)
    parent = tree["answer"]
    for number in range(20):
        parent = Message.objects.create(
            conversation=parent.conversation, parent=parent, role="user", content=str(number)
        )
    with CaptureQueriesContext(connection) as many:
        visitor.get(address)
    assert len(many) == len(few)


def test_tools(visitor: Client) -> None:
    """The page of text tools has the tools in the reader's language, and the caller's models and quotas."""
    TextTool.objects.create(
        slug="shout", title_en="Shout", title_zh="大喊", instruction_en="Shout in {target_language}."
    )
    factories.chat_model("plain", of=factories.quota("standard"), to=factories.upstream())
    page = visitor.get("/tools/", headers={"Accept-Language": "zh-hans"}).content.decode()
    assert re.search(r'value="shout"[^>]*data-needs-language[^>]*><span>大喊<', page)
    found = re.search(r'<script id="page-data" type="application/json">(.*?)</script>', page)
    assert found
    data = json.loads(found[1])
    assert [model["slug"] for model in data["models"]] == ["plain"]
    assert [quota["slug"] for quota in data["quotas"]] == ["standard"]


def test_no_tools(visitor: Client) -> None:
    """Where there are no tools, or no model, the page says so and needs no script."""
    page = visitor.get("/tools/", headers={"Accept-Language": "en"}).content.decode()
    assert "There are no text tools at the moment." in page
    TextTool.objects.create(slug="shout", instruction_en="Shout.")
    page = visitor.get("/tools/", headers={"Accept-Language": "en"}).content.decode()
    assert "No model can answer at the moment." in page
    assert "tools.js" not in page


@pytest.mark.parametrize("path", ["/tools/", "/accounts/data/"])
def test_strangers(client: Client, path: str) -> None:
    """A visitor who is not logged in is sent to the login page; only looking is possible here."""
    assert client.get(path)["Location"] == f"/accounts/login/?next={path}"
    assert client.post(path).status_code == 405
