"""Attachments: uploaded, decoded, counted, kept for their owner, and deleted."""

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.db import connection, models
from django.utils import timezone
from PIL import Image

from chat.attachments import store
from chat.attachments.decoder.results import Decoded
from chat.conversations import deletions
from chat.models import Attachment, AttachmentContent, Conversation, Message, MessageAttachment, StorageUse
from tests import files
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

MIB = 2**20


@pytest.fixture(scope="module")
def small(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product that keeps two MiB for each user, and takes attachments of one."""
    variables = {**connected(upstream), "STORAGE_MIB_PER_USER": "2", "MAX_ATTACHMENT_MIB": "1"}
    with Product(tmp_path_factory.mktemp("small"), **variables) as running:
        yield running


@pytest.fixture
def owner(small: Product, request: pytest.FixtureRequest) -> ApiUser:
    return small.register(f"a{abs(hash(request.node.name)) % 10**9}")


def upload(user: ApiUser, name: str, content: bytes) -> httpx.Response:
    return user.client.post("/api/attachments/", files={"file": (name, content, "application/octet-stream")})


def uploaded(user: ApiUser, name: str, content: bytes) -> dict[str, Any]:
    response = upload(user, name, content)
    assert response.status_code == 201, response.text
    return dict(response.json())


def content_of(user: ApiUser, attachment: dict[str, Any]) -> bytes:
    return user.client.get(f"/api/attachments/{attachment['id']}/content/").content


@pytest.mark.server
@pytest.mark.contract(
    "POST /api/attachments/",
    "GET /api/attachments/{attachment_id}/",
    "GET /api/attachments/{attachment_id}/content/",
    "DELETE /api/attachments/{attachment_id}/",
)
def test_an_upload_is_kept_read_and_deleted(owner: ApiUser) -> None:
    """Texts and documents are uploaded as their text, read again, and deleted."""
    texts = {
        "notes.md": ("# Notes\n\n你好".encode(), "text/markdown", "# Notes\n\n你好"),
        "legacy.txt": ("第一行\r\n第二行".encode("gb18030"), "text/plain", "第一行\n第二行"),
        "windows.csv": ("a,b\r\n1,2".encode("utf-16"), "text/csv", "a,b\n1,2"),
        "data.json": (b'{"a": 1}', "application/json", '{"a": 1}'),
        "main.rs": (b"fn main() {}", "text/plain", "fn main() {}"),
        "paper.pdf": (files.pdf(["First page", "Second page"]), "application/pdf", "First page\n\nSecond page"),
        "letter.docx": (files.docx("Dear reader", "Grüße"), files.DOCX, "Dear reader\nGrüße"),
    }
    for name, (content, media_type, text) in texts.items():
        made = uploaded(owner, name, content)
        expected = {"name": name, "kind": "text", "media_type": media_type}
        expected |= {"bytes": len(text.encode()), "chars": len(text)}
        assert {key: value for key, value in made.items() if key != "id"} == expected
        assert content_of(owner, made).decode() == text
    path = f"/api/attachments/{made['id']}/"
    assert owner.client.get(path).json() == made
    assert owner.client.delete(path).status_code == 204
    assert owner.client.get(path).status_code == 404


@pytest.mark.server
def test_pictures_are_encoded_anew(owner: ApiUser) -> None:
    """Pictures come upright, without metadata and at most 2,048 pixels a side, whatever their name says."""
    turned = uploaded(owner, "photo.jpg", files.photo(6, (3_000, 1_000)))
    shown = Image.open(io.BytesIO(content_of(owner, turned)))
    assert (turned["kind"], turned["media_type"], turned["chars"]) == ("image", "image/jpeg", 0)
    assert (shown.format, shown.size, dict(shown.getexif())) == ("JPEG", (683, 2_048), {})
    red, _green, blue = shown.convert("RGB").getpixel((341, 100))  # type: ignore[misc]
    assert red > 200 > blue  # the left half is on top now
    for name, form, mode, expected in (
        ("a.txt", "PNG", "RGBA", "image/png"),
        ("a.webp", "WEBP", "RGB", "image/webp"),
        ("a.gif", "GIF", "P", "image/png"),
    ):
        made = uploaded(owner, name, files.picture(form, mode=mode))
        content = content_of(owner, made)
        assert (made["media_type"], made["bytes"]) == (expected, len(content)), form
        assert Image.open(io.BytesIO(content)).size == (40, 20)


@pytest.mark.server
@pytest.mark.contract("setting: MAX_ATTACHMENT_MIB")
def test_wrong_forms_are_refused(owner: ApiUser) -> None:
    """A form without one file, other bodies and large files are refused by name."""
    client, file = owner.client, ("a.txt", b"x")
    assert client.post("/api/attachments/", json={"file": "x"}).status_code == 415
    no_form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/api/attachments/", content=b"nothing", headers=no_form).status_code == 400
    forms = {"other": [("other", file)], "file": [("file", file)] * 2, "name": [("file", file), ("name", file)]}
    for named, form in forms.items():
        refused = client.post("/api/attachments/", files=form)
        assert (refused.status_code, [*refused.json()["error"]["details"]]) == (400, [named])
    for size in (MIB + 1, 3 * MIB):
        large = upload(owner, "a.txt", b"x" * size)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "prompt_too_long")
        assert "MAX_ATTACHMENT_MIB" in large.json()["error"]["message"]
    anonymous = owner.product.client().post("/api/attachments/", files={"file": ("a.txt", b"x" * MIB)})
    assert anonymous.status_code == 401


@pytest.mark.server
def test_a_page_needs_its_csrf_token(owner: ApiUser) -> None:
    """A form of another site, which the browser sends with the cookie, is refused."""
    browser = owner.product.browser(owner.name)
    assert browser.post("/api/attachments/", files={"file": ("a.txt", b"x")}).status_code == 403
    headers = {"X-CSRFToken": browser.cookies["csrftoken"]}
    assert browser.post("/api/attachments/", files={"file": ("a.txt", b"x")}, headers=headers).status_code == 201


@pytest.mark.server
def test_a_full_storage_refuses_uploads(owner: ApiUser) -> None:
    """Attachments count; deleting one makes room. The page of the user's data lists them."""
    made = [uploaded(owner, "a.txt", b"x" * 450_000) for _upload in range(4)]
    full = upload(owner, "a.txt", b"x" * 450_000)
    assert (full.status_code, full.json()["error"]["code"]) == (413, "storage_full")
    page = owner.product.browser(owner.name).get("/accounts/data/", headers={"Accept-Language": "en"}).text
    assert "Attachments: 1.7 MiB" in page
    assert owner.client.delete(f"/api/attachments/{made[0]['id']}/").status_code == 204
    assert upload(owner, "a.txt", b"x" * 450_000).status_code == 201


def test_unused_ones_are_deleted_after_a_day(alice: Any) -> None:
    """Housekeeping deletes what no message has, and gives its bytes back; recounting finds the same."""
    old, new = (store.save(alice.pk, "a.txt", Decoded("text", "text/plain", b"x" * size)) for size in (1_000, 2_000))
    Attachment.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(hours=25))
    store.delete_unused()
    assert [*AttachmentContent.objects.values_list("pk", flat=True)] == [new.pk]
    counted = StorageUse.objects.get(user=alice).attachments
    StorageUse.recount(alice.pk)
    assert StorageUse.objects.get(user=alice).attachments == counted == 2_200


def test_few_are_deleted_at_a_time(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass deletes a bounded number, oldest first; the next passes delete the others."""
    monkeypatch.setattr(store, "DELETED_AT_ONCE", 2)
    rows = [store.save(alice.pk, "a.txt", Decoded("text", "text/plain", b"x")) for _upload in range(3)]
    for days, row in enumerate(rows, start=2):
        Attachment.objects.filter(pk=row.pk).update(created_at=timezone.now() - timedelta(days=days))
    store.delete_unused()
    assert [row.pk for row in Attachment.objects.all()] == [rows[0].pk]
    store.delete_unused()
    assert not Attachment.objects.exists()


def test_a_deleted_message_takes_only_its_own_along(alice: Any) -> None:
    """What another version of the prompt has stays, and the bytes of the others are given back."""
    own, shared = (store.save(alice.pk, "a.txt", Decoded("text", "text/plain", b"x" * size)) for size in (1_000, 2_000))
    conversation = Conversation.objects.create(user=alice, title="Notes")
    first, second = (
        Message.objects.create(conversation=conversation, role="user", content="Read") for _version in range(2)
    )
    for message, row in ((first, own), (first, shared), (second, shared)):
        MessageAttachment.objects.create(message=message, attachment=row)
    StorageUse.recount(alice.pk)
    deletions.delete_subtree(alice.pk, first.pk)
    assert [row.pk for row in Attachment.objects.all()] == [shared.pk]
    assert StorageUse.objects.get(user=alice).attachments == 2_200


def without_rows_of_this_release(rows: models.QuerySet[Any]) -> None:
    """Delete rows as a process of the previous release does, which knows no table of attachments."""
    rows._raw_delete(rows.db)
    connection.check_constraints()


def test_a_previous_release_may_delete_their_messages_and_users(alice: Any, django_user_model: Any) -> None:
    """No constraint stands in its way, and later passes delete what it left behind."""
    old = timezone.now() - timedelta(days=2)
    gone = django_user_model.objects.create(username="gone")
    lost, orphan = (store.save(user.pk, "a.txt", Decoded("text", "text/plain", b"x")) for user in (alice, gone))
    Attachment.objects.update(created_at=old)
    conversation = Conversation.objects.create(user=alice, title="Notes")
    message = Message.objects.create(conversation=conversation, role="user", content="Read")
    MessageAttachment.objects.create(message=message, attachment=lost)
    Attachment.objects.filter(pk=orphan.pk).update(created_at=timezone.now())
    store.delete_unused()
    assert Attachment.objects.count() == 2
    without_rows_of_this_release(Message.objects.filter(pk=message.pk))
    without_rows_of_this_release(django_user_model.objects.filter(pk=gone.pk))
    store.delete_unused()
    assert not Attachment.objects.exists()
    assert not MessageAttachment.objects.exists()
