"""Sharing: frozen copies at links, who reads them, and how they end."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import Group
from django.test import Client, override_settings
from django.utils import timezone

from chat import housekeeping
from chat.apps import chat
from chat.models import Conversation, Message, Share, StorageUse
from chat.screening.models import SensitiveWord
from chat.sharing import api
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI


@pytest.fixture(scope="module")
def public(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with Product(tmp_path_factory.mktemp("public"), **connected(upstream), SHARE_MODE="public") as running:
        yield running


def share(api_user: ApiUser, conversation: int, **body: Any) -> dict[str, Any]:
    made = api_user.client.post(f"/api/conversations/{conversation}/share/", json=body)
    assert made.status_code == 201, made.text
    return dict(made.json())


@pytest.mark.server
@pytest.mark.contract(
    "POST /api/conversations/{conversation_id}/share/",
    "GET /api/shares/",
    "DELETE /api/shares/{share_id}/",
    "setting: SHARE_MODE",
)
def test_a_link_shows_a_frozen_copy_until_it_is_revoked(public: Product) -> None:
    """All who have the link read the branch as it was; a revoked link is not found."""
    owner = public.register("sharer")
    conversation = owner.ended(owner.ask("First question", "echo")["id"])["conversation"]
    made = share(owner, conversation)
    assert set(made) == {"id", "url", "expires_at"}
    assert made["expires_at"] is None
    owner.answer("Later question", "echo", conversation=conversation)
    reader = httpx.Client(trust_env=False, verify=False)
    page = reader.get(made["url"])
    assert page.status_code == 200
    assert page.text.count("First question") == 4  # the title twice, prompt and completion
    assert "Later question" not in page.text
    assert "sharer" not in page.text
    assert "<textarea" not in page.text
    assert '<meta name="robots" content="noindex' in page.text
    assert "noindex" in page.headers["X-Robots-Tag"]
    assert (page.headers["Cache-Control"], page.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    listed = owner.client.get("/api/shares/").json()
    assert [(row["id"], row["url"], row["conversation"]) for row in listed] == [(made["id"], made["url"], conversation)]
    assert owner.client.delete(f"/api/shares/{made['id']}/").status_code == 204
    assert owner.client.get("/api/shares/").json() == []
    assert reader.get(made["url"]).status_code == 404
    assert reader.get(made["url"].rstrip("/") + "x/").status_code == 404
    reader.close()


@pytest.mark.server
def test_a_copy_says_that_attachments_are_left_out(public: Product) -> None:
    """A prompt of attachments alone is shown as what it had; none of it is in the copy."""
    owner = public.register("attacher")
    file = owner.client.post("/api/attachments/", files={"file": ("secret-name.txt", b"Secret")}).json()["id"]
    started = owner.client.post("/api/chat/", json={"model": "plain", "prompt": "", "attachments": [file]})
    conversation = owner.ended(started.json()["generation"]["id"])["conversation"]
    owner.client.patch(f"/api/conversations/{conversation}/", json={"title": "Title"})
    page = httpx.get(share(owner, conversation)["url"], headers={"Accept-Language": "en"}).text
    assert "1 attachment is not part of this copy." in page
    assert not any(word in page for word in ("Secret", "secret-name"))


@pytest.mark.server
def test_the_branch_and_the_time_are_chosen(public: Product) -> None:
    """`message` chooses the branch, `expires_in_days` the end; wrong values are refused."""
    owner = public.register("chooser")
    first = owner.ended(owner.ask("Root", "echo")["id"])
    conversation = first["conversation"]
    left = owner.ended(owner.ask("Left", "echo", conversation=conversation)["id"])
    owner.answer("Right", "echo", conversation=conversation, parent=first["message"])
    text = httpx.get(share(owner, conversation, message=left["message"])["url"], trust_env=False, verify=False).text
    assert ("Left" in text, "Right" in text) == (True, False)
    made = share(owner, conversation, expires_in_days=7)
    left_time = datetime.fromisoformat(made["expires_at"]) - timezone.now()
    assert timedelta(days=6, hours=23) < left_time <= timedelta(days=7)
    path = f"/api/conversations/{conversation}/share/"
    for body in ({"expires_in_days": 0}, {"expires_in_days": 400}, {"expires_in_days": "7"}, {"unknown": 1}):
        assert owner.client.post(path, json=body).status_code == 400, body
    assert owner.client.post(path, json={"message": 10**9}).status_code == 404
    temporary = owner.ended(owner.ask("Secret", "echo", temporary=True)["id"])["conversation"]
    assert owner.client.post(f"/api/conversations/{temporary}/share/").status_code == 404


@pytest.fixture
def copy(alice: Any) -> Share:
    """A copy that alice made of a conversation of two turns."""
    conversation = Conversation.objects.create(user=alice, title="About gorse")
    prompt = Message.objects.create(conversation=conversation, role="user", content="What is gorse?")
    cited = '[{"url": "https://example.org/gorse", "title": "All about gorse"}]'
    Message.objects.create(
        conversation=conversation, parent=prompt, role="assistant", content="Gorse is a shrub.", sources=cited
    )
    StorageUse.objects.create(user=alice)
    StorageUse.recount(alice.pk)
    return api.make(alice.pk, conversation.pk, None, None)


def status(client: Client, row: Share) -> int:
    return client.get(f"/s/{row.token}/").status_code


def test_who_reads_it(copy: Share, alice: Any, bob: Any) -> None:
    """By default users who are logged in do; no one does when sharing is off, or the owner is disabled."""
    stranger, member = Client(), Client()
    member.force_login(bob)
    refused = stranger.get(f"/s/{copy.token}/")
    assert refused.status_code == 302
    assert refused["Location"].startswith("/accounts/login/?next=")
    assert status(stranger, Share(token="unknown")) == 302
    assert status(member, copy) == 200
    with override_settings(SHARE_MODE="off"):
        assert status(member, copy) == 404
        made = member.post(f"/api/conversations/{copy.conversation_id}/share/")
        assert (made.status_code, made.json()["error"]["code"]) == (403, "forbidden")
    with override_settings(SHARE_MODE="public"):
        assert status(stranger, copy) == 200
    alice.is_active = False
    alice.save()
    assert status(member, copy) == 404


def test_words_of_today_are_masked(copy: Share, bob: Any) -> None:
    """A word that was listed after the copy was made is masked in title, texts and sources."""
    member = Client()
    member.force_login(bob)
    assert b"orse" in member.get(f"/s/{copy.token}/").content
    SensitiveWord.objects.create(word="gorse", action="block", scope="both")
    chat().words.forget()  # in place of the commit, which this test does not reach
    text = member.get(f"/s/{copy.token}/").content.decode()
    assert "gorse" not in text.lower()
    assert "***** is a shrub." in text


def test_lists_of_the_owners_groups_apply(copy: Share, alice: Any, bob: Any) -> None:
    """A word for a group is masked on the pages that its members share, for all readers."""
    member = Client()
    member.force_login(bob)
    pupils = Group.objects.create(name="pupils")
    SensitiveWord.objects.create(word="gorse", action="mask").groups.add(pupils)
    chat().words.forget()
    assert "Gorse is a shrub." in member.get(f"/s/{copy.token}/").content.decode()
    alice.groups.add(pupils)
    text = member.get(f"/s/{copy.token}/").content.decode()
    assert "gorse" not in text.lower()
    assert "***** is a shrub." in text


def test_bytes_are_counted_and_given_back(copy: Share, alice: Any) -> None:
    """A copy counts as storage; revoking, expiry and deleting its conversation give the bytes back."""

    def kept() -> int:
        counted = StorageUse.objects.get(user=alice).conversations
        StorageUse.recount(alice.pk)
        assert StorageUse.objects.get(user=alice).conversations == counted
        return counted

    with_one = kept()
    other = api.make(alice.pk, copy.conversation_id, None, timezone.now() + timedelta(days=1))
    assert kept() > with_one
    Share.objects.filter(pk=other.pk).update(expires_at=timezone.now())
    member = Client()
    member.force_login(alice)
    assert status(member, other) == 404
    assert [row.pk for row in api.listed(alice.pk)] == [copy.pk]
    housekeeping.expire()
    assert kept() == with_one
    assert api.revoke(alice.pk, copy.pk)
    assert kept() < with_one
    last = api.make(alice.pk, copy.conversation_id, None, None)
    Conversation.objects.get(pk=copy.conversation_id).delete()
    assert kept() == 0
    assert not Share.objects.filter(pk=last.pk).exists()


def test_bounds(copy: Share, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of links and the size of a copy are bounded; an empty conversation cannot be shared."""
    empty = Conversation.objects.create(user=alice, title="Empty")
    with pytest.raises(api.NothingToShare):
        api.make(alice.pk, empty.pk, None, None)
    monkeypatch.setattr(api, "MOST_SHARES", 1)
    with pytest.raises(api.TooManyShares):
        api.make(alice.pk, copy.conversation_id, None, None)
    monkeypatch.setattr(api, "MOST_BYTES", 10)
    with pytest.raises(api.TooLargeToShare):
        api.make(alice.pk, copy.conversation_id, None, None)


def test_only_its_owner_revokes_it(copy: Share, alice: Any, bob: Any) -> None:
    """The form on "Your data" revokes one's own links only."""
    stranger, owner = Client(), Client()
    stranger.force_login(bob)
    owner.force_login(alice)
    path = f"/accounts/data/shares/{copy.pk}/revoke/"
    assert stranger.post(path).status_code == 302
    assert Share.objects.filter(pk=copy.pk).exists()
    assert "About gorse" in owner.get("/accounts/data/").content.decode()
    assert owner.get(path).status_code == 405
    assert owner.post(path).status_code == 302
    assert not Share.objects.filter(pk=copy.pk).exists()


def test_a_previous_release_may_delete_its_conversation(copy: Share, bob: Any) -> None:
    """A copy whose conversation is gone is not found and in no list, and a later pass deletes it."""
    member = Client()
    member.force_login(bob)
    Message.objects.all()._raw_delete("default")
    Conversation.objects.all()._raw_delete("default")  # as a process does that knows no copies
    assert status(member, copy) == 404
    assert api.listed(copy.user_id) == []
    housekeeping.expire()
    assert not Share.objects.exists()
