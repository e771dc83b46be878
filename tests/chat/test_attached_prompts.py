"""Attachments in prompts: what the upstream gets, now and in later turns, and what is refused."""

import base64
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from chat.generations.masking import LARGE_CHARS
from tests import files
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

NOTES, BLOCK = (
    b"The key is under the mat.",
    '<attachment name="notes.txt">\nThe key is under the mat.\n</attachment>\n\n',
)
WORDS = {"attachmentforbidden": "block", "attachmentmasked": "mask"}


@pytest.fixture(scope="module")
def attaching(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with a model that takes no images, ones with a small and a large context, and sensitive words."""
    models = connected(upstream, blind="plain", narrow="plain", wide="plain")
    with Product(tmp_path_factory.mktemp("attaching"), **models) as running:
        admin = running.admin().client
        changes: dict[str, dict[str, Any]] = {
            "blind": {"takes": []},
            "narrow": {"context_tokens": 2_000},
            "wide": {"context_tokens": 200_000},
        }
        for row in admin.get("/api/admin/models/").json():
            if row["slug"] in changes:
                done = admin.patch(f"/api/admin/models/{row['id']}/", json=changes[row["slug"]])
                assert done.status_code == 200, done.text
        for word, action in WORDS.items():
            assert admin.post("/api/admin/sensitive-words/", json={"word": word, "action": action}).status_code == 201
        yield running


@pytest.fixture
def owner(attaching: Product) -> ApiUser:
    return attaching.register(f"a{secrets.token_hex(5)}")


def upload(user: ApiUser, name: str = "notes.txt", content: bytes = NOTES) -> int:
    made = user.client.post("/api/attachments/", files={"file": (name, content)})
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


def ask(user: ApiUser, prompt: str, *attachments: int, model: str = "plain", **body: Any) -> httpx.Response:
    given = {"model": model, "prompt": prompt, "attachments": [*attachments], **body}
    return user.client.post("/api/chat/", json=given)


def answered(user: ApiUser, prompt: str, *attachments: int, model: str = "plain", **body: Any) -> dict[str, Any]:
    started = ask(user, prompt, *attachments, model=model, **body)
    assert started.status_code == 202, started.text
    return user.ended(started.json()["generation"]["id"])


def sent(upstream: FakeOpenAI) -> list[Any]:
    """Return the contents that the upstream got last, of all turns."""
    return [turn["content"] for turn in upstream.requests[-1].body["messages"]]


def refused(response: httpx.Response, status: int, field: str = "attachments") -> None:
    assert (response.status_code, field in response.json()["error"].get("details", {})) == (status, True), response.text


def test_a_text_goes_before_the_prompt_in_all_later_turns(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """The text comes in a labelled block with its turn: at once, in later turns, and in new versions."""
    notes = upload(owner)
    first = answered(owner, "Where is it?", notes)
    assert sent(upstream) == [f"{BLOCK}Where is it?"]
    turns = owner.messages(first["conversation"])
    listed = owner.client.get(f"/api/attachments/{notes}/").json()
    assert [turn.get("attachments") for turn in turns] == [[listed], None]
    assert turns[0]["content"] == "Where is it?"
    answered(owner, "And then?", conversation=first["conversation"])
    assert sent(upstream)[0] == f"{BLOCK}Where is it?"
    again = owner.client.post(f"/api/messages/{first['message']}/regenerate/", json={})
    owner.ended(again.json()["generation"]["id"])
    assert sent(upstream) == [f"{BLOCK}Where is it?"]
    answered(owner, "Where?", notes, conversation=first["conversation"], parent=0)
    assert sent(upstream) == [f"{BLOCK}Where?"]


def test_an_image_becomes_a_part(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """The upstream gets an `image_url` part with a data URL and then the text, in later turns too."""
    image, notes = upload(owner, "red.png", files.picture()), upload(owner)
    content = owner.client.get(f"/api/attachments/{image}/content/").content
    first = answered(owner, "What is it?", image, notes)
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    parts = [
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "text", "text": f"{BLOCK}What is it?"},
    ]
    assert sent(upstream) == [parts]
    answered(owner, "And then?", conversation=first["conversation"])
    assert sent(upstream)[0] == parts


def test_attachments_need_no_prompt(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """Files alone are a prompt, now and in later turns; their names become the title."""
    image, notes = upload(owner, "red.png", files.picture()), upload(owner)
    refused(ask(owner, " "), 400, "prompt")
    first = answered(owner, "", image)
    (parts,) = sent(upstream)
    assert [part["type"] for part in parts] == ["image_url"]
    answered(owner, "", notes, conversation=first["conversation"])
    assert (sent(upstream)[0], sent(upstream)[-1]) == (parts, BLOCK)
    assert owner.client.get(f"/api/conversations/{first['conversation']}/").json()["title"] == "red.png"


def test_a_model_without_images_refuses_new_ones_only(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """An image for such a model is 400; a conversation with earlier images goes on, and names them."""
    image = upload(owner, "red.png", files.picture())
    refused(ask(owner, "What is it?", image, model="blind"), 400)
    first = answered(owner, "What is it?", image)
    answered(owner, "And then?", model="blind", conversation=first["conversation"])
    assert sent(upstream)[0] == '<image name="red.png">(not included)</image>\n\nWhat is it?'
    path = f"/api/messages/{first['message']}/regenerate/"
    refused(owner.client.post(path, json={"model": "blind"}), 400)


def test_texts_and_names_are_screened(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """A blocked word refuses the prompt before anything is stored; a masked one is masked upstream."""
    before = len(upstream.requests)
    for bad in (upload(owner, "a.txt", b"An attachmentforbidden word"), upload(owner, "attachmentforbidden.txt")):
        blocked = ask(owner, "Read", bad)
        assert (blocked.status_code, blocked.json()["error"]["code"]) == (422, "content_blocked")
    assert owner.client.get("/api/conversations/").json()["results"] == []
    assert len(upstream.requests) == before
    answered(owner, "Read", upload(owner, "a.txt", b"An attachmentmasked word"))
    assert sent(upstream) == [f'<attachment name="a.txt">\nAn {"*" * 16} word\n</attachment>\n\nRead']


def test_large_texts_are_masked_too(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """They are masked after the start, at once and in later turns."""
    large = b"word " * (LARGE_CHARS // 5) + b"attachmentmasked"
    first = answered(owner, "Read", upload(owner, "a.txt", large), model="wide")
    assert sent(upstream)[0].endswith(f"word {'*' * 16}\n</attachment>\n\nRead")
    answered(owner, "Again", model="wide", conversation=first["conversation"])
    assert "attachmentmasked" not in sent(upstream)[0]


def test_wrong_attachments_are_refused(owner: ApiUser, attaching: Product) -> None:
    """Unknown and other users' attachments are 404, too many 400; text tools and GET take none."""
    notes, theirs = upload(owner), upload(attaching.register(f"b{secrets.token_hex(5)}"))
    refused(ask(owner, "Read", notes, theirs), 404)
    refused(ask(owner, "Read", 10**12), 404)
    refused(ask(owner, "Read", *range(1, 12)), 400)
    refused(ask(owner, "Read", notes, text_tool="polish"), 400)
    events = owner.client.get("/api/chat/", params={"model": "plain", "prompt": "Read", "attachments": notes}).text
    assert "invalid_request" in events


def test_a_key_stands_for_its_attachments(owner: ApiUser) -> None:
    """The same key with the same attachments is the same request; with others it is a conflict."""
    notes, others = upload(owner), upload(owner)
    headers = {"Idempotency-Key": "k"}
    answers = [
        owner.client.post(
            "/api/chat/", json={"model": "plain", "prompt": "Read", "attachments": [each]}, headers=headers
        )
        for each in (notes, notes, others)
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 409]
    assert answers[0].json()["generation"]["id"] == answers[1].json()["generation"]["id"]


def test_old_texts_leave_a_small_context(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """Attachments count against the context: turns with large ones are dropped first, when they are the oldest."""
    first = answered(owner, "Read", upload(owner, "a.txt", b"word " * 1_100), model="narrow")
    assert len(sent(upstream)) == 1
    answered(owner, "x" * 2_000, model="narrow", conversation=first["conversation"])
    assert sent(upstream) == ["x" * 2_000]


def test_a_conversation_takes_its_attachments_along(owner: ApiUser) -> None:
    """Deleting a conversation deletes what only its messages have; an attachment of another one stays."""
    own, shared = upload(owner), upload(owner, "b.txt")
    first, second = answered(owner, "Read", own, shared), answered(owner, "Read", shared)
    assert owner.client.delete(f"/api/conversations/{first['conversation']}/").status_code == 204
    assert owner.client.get(f"/api/attachments/{own}/").status_code == 404
    assert owner.messages(second["conversation"])[0]["attachments"][0]["id"] == shared
    assert owner.client.delete(f"/api/attachments/{shared}/").status_code == 204
    assert "attachments" not in owner.messages(second["conversation"])[0]


def test_too_long_texts_are_refused(owner: ApiUser, upstream: FakeOpenAI) -> None:
    """Texts beyond the model's context are refused at once, for another completion too, and nothing is stored."""
    long, before = upload(owner, "a.txt", b"word " * 2_000), len(upstream.requests)
    refused(ask(owner, "Read", long, model="narrow"), 413)
    assert owner.client.get("/api/conversations/").json()["results"] == []
    assert len(upstream.requests) == before
    first = answered(owner, "Read", long)
    refused(owner.client.post(f"/api/messages/{first['message']}/regenerate/", json={"model": "narrow"}), 413)
    answered(owner, "And then?", model="narrow", conversation=first["conversation"])
    assert sent(upstream) == ["And then?"]
