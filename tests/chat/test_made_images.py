"""Images that models make: kept with their message, and passed on to programs as they came."""

import base64
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from django.db import connection, transaction
from PIL import Image

from chat.apps import chat
from chat.attachments import prompts, store
from chat.attachments.decoder.results import Decoded
from chat.attachments.models import Attachment
from chat.generations.made_images import MadeImages
from chat.generations.pipeline import MAX_ADDRESS_CHARS, MAX_IMAGE_CHARS, LengthLimit
from chat.models import Conversation, Generation, Message
from providers.wire.base import Finished
from providers.wire.images import NO_IMAGES, CompletionImages
from tests import factories, files, servers
from tests.chat.programs import ask, chunks
from tests.chat.screening.test_pipeline import listed as listed
from tests.chat.screening.test_pipeline import passed
from tests.chat.test_transfer import bring, everything, renamed
from tests.product import ApiUser, Product
from tests.scenarios import MADE_IMAGE
from tests.upstreams import FakeOpenAI
from web.refusals import NotFound

TEXT = "Here it is: done."


@pytest.mark.server
@pytest.mark.contract("event: attachments")
def test_an_image_is_kept(product: Product, api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """It is an attachment of the completion: listed, shown, exported, counted, and sent with the next prompt."""
    before = stored_bytes(product, api_user)
    events = api_user.answer("Draw", "pictured")
    assert [event.name for event in events[-2:]] == ["attachments", "done"]
    (shown,) = events[-2].data["attachments"]
    assert (shown["name"], shown["kind"], shown["media_type"]) == ("image-1.png", "image", "image/png")

    start = events[0].data
    _prompt, message = api_user.messages(start["conversation"])
    generation = api_user.client.get(f"/api/generations/{start['generation']}/").json()
    assert message["attachments"] == generation["attachments"] == [shown]
    assert message["content"] == TEXT
    content = api_user.client.get(f"/api/attachments/{shown['id']}/content/").content
    assert Image.open(io.BytesIO(content)).size == (40, 20)
    page = product.browser(api_user.name).get(f"/c/{start['conversation']}/").text
    assert page.index(TEXT) < page.index(f"/api/attachments/{shown['id']}/content/") < page.index('data-part="copy"')
    assert stored_bytes(product, api_user) - before > shown["bytes"]
    replayed = api_user.follow(start["generation"])
    assert [(event.id, event.data) for event in replayed] == [(event.id, event.data) for event in events]

    api_user.answer("Now in blue", "plain", conversation=start["conversation"])
    _first, made, then = upstream.requests[-1].body["messages"]
    assert made["content"] == TEXT
    assert [part["type"] for part in then["content"]] == ["image_url", "text"]

    exported = everything(api_user)
    assert base64.b64decode(exported["conversations"][0]["messages"][1]["attachments"][0]["content"]) == content
    other = product.register("pictured" + api_user.name)
    assert bring(other, exported).status_code == 201
    assert renamed(everything(other)) == renamed(exported)


def stored_bytes(product: Product, user: ApiUser) -> int:
    counted = "SELECT attachments FROM chat_storageuse u JOIN accounts_user a ON a.id = u.user_id WHERE username = ?"
    return sum(row[0] for row in product.sql(counted, user.name))


@pytest.mark.server
def test_images_alone_cost_a_unit(api_user: ApiUser, caller: httpx.Client) -> None:
    """A completion of images without text is charged where its caller gets an image, and only there."""
    image = json.dumps([MADE_IMAGE])
    no_image = json.dumps([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
    for pictures, amount in ((image, 1), (no_image, 0)):
        done = api_user.answer(pictures, "pictures-only")[-1].data
        assert (done["finish_reason"], done["charge"]["amount"]) == ("stop", amount)
    asking = {"model": "pictures-only", "messages": [{"role": "user", "content": image}]}
    assert caller.post("/v1/chat/completions", json=asking).json()["choices"][0]["message"]["images"] == [MADE_IMAGE]
    assert api_user.quota()["used_today"] == 2


@pytest.mark.server
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "asking"),
    [
        ("responses", {"input": json.dumps([MADE_IMAGE])}),
        ("messages", {"messages": [{"role": "user", "content": json.dumps([MADE_IMAGE])}], "max_tokens": 9}),
    ],
)
def test_images_that_the_caller_does_not_get_are_free(
    api_user: ApiUser, caller: httpx.Client, path: str, asking: dict[str, Any], stream: bool
) -> None:
    """These shapes have no place for images, so a completion of nothing else is empty."""
    response = caller.post(f"/v1/{path}", json={"model": "pictures-only", "stream": stream, **asking})
    assert (response.status_code, "image" in response.text) == (200, False)
    assert api_user.quota()["used_today"] == 0


@pytest.mark.server
def test_what_is_no_image_is_reported(api_user: ApiUser) -> None:
    """The text is whole, and a notice says what was left out: no image, an address, more than are kept."""
    url = f"data:text/plain;base64,{base64.b64encode(files.picture()).decode()}"
    wrong = ["data:image/png;base64,AAAA", "data:image/png;base64,%%", "https://pictures.example/a.png", ""]
    given = [{"type": "image_url", "image_url": {"url": each}} for each in (url, *wrong)]
    events = api_user.answer(json.dumps(given), "pictured")
    kept, notice, done = events[-3:]
    assert len(kept.data["attachments"]) == 1
    assert (notice.name, notice.data["code"], "4" in notice.data["message"]) == ("notice", "image_left_out", True)
    assert (done.name, done.data["finish_reason"]) == ("done", "stop")
    assert api_user.messages(events[0].data["conversation"])[-1]["content"] == TEXT


@pytest.mark.server
def test_programs_get_images_as_they_came(program: httpx.Client) -> None:
    """Streamed and whole, an image has the vendor's own form."""
    message = ask(program, "pictured").json()["choices"][0]["message"]
    assert (message["content"], message["images"]) == (TEXT, [MADE_IMAGE])
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(ask(program, "pictured", stream=True))[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas) == TEXT
    assert [image for delta in deltas for image in delta.get("images", ())] == [MADE_IMAGE]


@pytest.mark.server
def test_a_deletion_at_the_end_fails_nothing(postgres: servers.Postgres, django_db_blocker: Any) -> None:
    """A user who deletes an image while its generation ends does not keep that from ending."""
    url, deleted = postgres.migrated_database(), threading.Event()

    def delete() -> None:
        with servers.connected(url), transaction.atomic(), connection.cursor() as cursor:
            Attachment.objects.filter(pk=row.pk).delete()
            deleted.set()
            waiting, deadline = 0, time.monotonic() + 60
            while not waiting:  # until the link waits for this transaction
                assert time.monotonic() < deadline
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                (waiting,) = cursor.fetchone()

    with django_db_blocker.unblock(), servers.connected(url), ThreadPoolExecutor(1) as threads:
        conversation = Conversation.objects.create(user=factories.user("alice"), title="")
        message = Message.objects.create(conversation=conversation, role="assistant", content="")
        image = Decoded(kind="image", media_type="image/png", content=b"x")
        row = store.save(conversation.user_id, "image-1.png", image)
        deletion = threads.submit(delete)
        assert deleted.wait(60)
        with transaction.atomic():
            assert store.link(message.pk, [row.pk]) == 0
        deletion.result(90)
        with transaction.atomic(), pytest.raises(NotFound):  # a prompt is refused instead
            prompts.link(message.pk, [row])
        assert not store.of_message(message.pk)


def test_their_size_is_bounded() -> None:
    """More characters of images than the limit end the completion with `length`."""
    limit, large = LengthLimit(100), CompletionImages("x" * (MAX_IMAGE_CHARS // 2))
    assert [*limit.feed(large), *limit.feed(large)] == [large, large]
    assert [*limit.feed(CompletionImages("x"))] == [Finished("length")]


def test_words_beside_images(listed: Any) -> None:
    """Where words are screened, only the addresses of images pass, and none that has a word."""

    def image(address: str, **beside: Any) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": address}, **beside}

    plain = [image("data:image/png;base64,badword+/badword="), image("https://pictures.example/a.png")]
    wrong = [image(f"https://x.example/{name}") for name in ("badword", "b%61dword", "x" * MAX_ADDRESS_CHARS)]
    wrong += [image("data:text/plain,badword"), image("data:image/badword;base64,AAAA"), {"text": "badword"}]
    event = CompletionImages(json.dumps([*(each | {"alt": "badword"} for each in plain), *wrong]))
    listed()
    assert passed(event) == [event]
    listed("badword")
    (kept,) = passed(event)
    assert json.loads(kept.json) == plain
    assert kept.left_out == len(wrong)
    assert passed(CompletionImages(json.dumps(wrong))) == [CompletionImages(NO_IMAGES, len(wrong))]


async def test_images_with_words_are_reported() -> None:
    """The user reads how many images the screening left out, also when none remains."""
    published: list[tuple[str, Any]] = []
    made = MadeImages(Generation(language="en"), chat().decodings)
    made.add(CompletionImages(NO_IMAGES, 2))
    assert made
    assert await made.keep(lambda *event: published.append(event)) == ()
    message = "The model sent 2 images that were left out."
    assert published == [("notice", {"code": "image_left_out", "message": message})]
