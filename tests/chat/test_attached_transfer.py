"""Attachments in exports and imports: complete and identical, and hostile files are refused."""

import base64
import copy
import io
import secrets
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from PIL import Image

from chat.attachments import store
from chat.attachments.decoder.results import Decoded
from chat.attachments.models import Attachment
from chat.conversations import attached_files
from chat.conversations.attached_files import ImportedAttachment
from chat.models import Conversation, Message
from runtime import database
from tests import factories, files
from tests.chat.test_attached_prompts import BLOCK, answered, sent, upload
from tests.chat.test_transfer import bring, everything, renamed
from tests.product import ApiUser, Product
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server


@pytest.fixture
def exported(api_user: ApiUser) -> dict[str, Any]:
    """An export of a prompt with two attachments, and of an edited version with one of them."""
    notes, image = upload(api_user), upload(api_user, "red.png", files.picture())
    first = answered(api_user, '"\\u0000attachment:1"', notes, image)
    answered(api_user, "Edited", notes, conversation=first["conversation"], parent=0)
    return everything(api_user)


def test_export_and_import_round_trip(
    product: Product, api_user: ApiUser, exported: dict[str, Any], upstream: FakeOpenAI
) -> None:
    """Contents come along; another export is identical, and the imported conversation goes on with them."""
    prompt, _answer, edited, _other = exported["conversations"][0]["messages"]
    notes, image = prompt["attachments"]
    assert notes == {
        "name": "notes.txt",
        "kind": "text",
        "media_type": "text/plain",
        "content": "The key is under the mat.",
    }
    assert (image["name"], image["media_type"]) == ("red.png", "image/png")
    assert Image.open(io.BytesIO(base64.b64decode(image["content"]))).size == (40, 20)
    assert edited["attachments"] == [notes]
    other = product.register("attached" + api_user.name)
    assert bring(other, exported).status_code == 201
    assert renamed(everything(other)) == renamed(exported)
    (row,) = other.client.get("/api/conversations/").json()["results"]
    answered(other, "And then?", conversation=row["id"])
    assert sent(upstream)[0] == f"{BLOCK}Edited"
    one = other.client.get(f"/api/conversations/{row['id']}/export/")
    assert one.json()["conversations"][0]["messages"][0]["attachments"] == prompt["attachments"]
    markdown = other.client.get(f"/api/conversations/{row['id']}/export/?as=markdown").text
    assert "Attachments: notes.txt, red.png" in markdown


def test_attachments_that_were_deleted_during_the_export_are_left_out(
    product: Product, exported: dict[str, Any]
) -> None:
    """Their content is empty in the file; the import takes everything else."""
    file = copy.deepcopy(exported)
    prompt, _answer, edited, _other = file["conversations"][0]["messages"]
    for attachment in (prompt["attachments"][1], edited["attachments"][0]):
        attachment["content"] = ""
    other = product.register("without")
    assert bring(other, file).status_code == 201
    del prompt["attachments"][1], edited["attachments"]
    assert renamed(everything(other)) == renamed(file)


@pytest.mark.django_db(transaction=True)
async def test_only_contents_of_the_user_fill_an_export(alice: Any) -> None:
    """A mark of another user's attachment, or of a deleted one, becomes an empty text."""
    other = await database.run(factories.user)
    plain = Decoded("text", "text/plain", '"\\u0000attachment:1" é'.encode())
    own = await database.run(store.save, alice.pk, "a.txt", plain)
    theirs = await database.run(store.save, other.pk, "b.txt", plain)
    rows = attached_files.marked([own, theirs, Attachment(pk=theirs.pk + 1, name="c.txt")])
    export = b"".join([piece async for piece in attached_files.filled(alice.pk, orjson.dumps(rows))])
    assert [each["content"] for each in orjson.loads(export)] == [plain.content.decode(), "", ""]


@pytest.mark.django_db
def test_an_import_stores_many_in_pieces(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attachment gets its own content and message, in a last piece that is smaller too."""
    monkeypatch.setattr(attached_files, "CONTENTS_AT_ONCE", 2)
    conversation = Conversation.objects.create(user=alice, title="Notes")
    messages = [Message.objects.create(conversation=conversation, role="user", content="Read") for _turn in range(2)]
    texts = [["a", "b", "c"], ["d", "e"]]
    given = [
        (
            message.pk,
            [ImportedAttachment(name=text, kind="text", media_type="text/plain", content=text) for text in each],
        )
        for message, each in zip(messages, texts, strict=True)
    ]
    attached_files.store_all(alice.pk, given)
    found = store.of_conversation(conversation.pk)
    for message, each in zip(messages, texts, strict=True):
        rows = found[message.pk]
        content = store.content_of(row.pk for row in rows)
        assert [(row.name, content[row.pk]) for row in rows] == [(text, text.encode()) for text in each]


def change(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda attachment: attachment.update(values)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "spoil",
    [
        change(content="not base64!"),
        change(content=encoded(b"<script>alert(1)</script>")),
        change(content=encoded(files.picture("JPEG"))),
        change(content=encoded(files.png_header(60_000, 60_000))),
        change(content=encoded(files.picture(size=(3_000, 10)))),
        change(media_type="text/html"),
        change(kind="program"),
        change(name=""),
        change(kind="text", media_type="text/plain", content="x" * 500_001),
    ],
)
def test_wrong_attachments_are_refused(
    product: Product, exported: dict[str, Any], spoil: Callable[[dict[str, Any]], None]
) -> None:
    """A wrong attachment refuses the whole import by its path; nothing is stored."""
    file = copy.deepcopy(exported)
    spoil(file["conversations"][0]["messages"][0]["attachments"][1])
    other = product.register(f"w{secrets.token_hex(5)}")
    refused = bring(other, file)
    assert refused.status_code == 400
    assert all(
        path.startswith("conversations.0.messages.0.attachments.1") for path in refused.json()["error"]["details"]
    )
    assert everything(other)["conversations"] == []
