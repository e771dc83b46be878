"""What a vendor's moderation says about a conversation and its author, from the wire to the next prompt."""

import sqlite3
from pathlib import Path

from tests.chat.test_vendors import AMPLE, with_spark
from tests.product import Product, text_of
from tests.spark import FakeSpark


def abuse_count(product: Product, name: str) -> int:
    with sqlite3.connect(product.var_dir / "rivulet.sqlite3") as rows:
        return int(rows.execute("SELECT abuse_count FROM accounts_user WHERE username = ?", [name]).fetchone()[0])


def test_a_closed_conversation(tmp_path: Path) -> None:
    """10019 lets the text stay, charged; further prompts of that conversation are refused, other ones are not."""
    with (
        FakeSpark.in_thread() as upstream,
        Product(tmp_path, **AMPLE, **with_spark(upstream, "late_10019")) as product,
    ):
        person = product.register("alice")
        events = person.answer("Hello", "spark")
        assert (events[-1].name, events[-1].data["finish_reason"]) == ("done", "content_filter")
        assert events[-1].data["charge"]["amount"] == 1
        conversation = events[0].data["conversation"]
        answer = person.messages(conversation)[-1]
        assert answer["content"] == text_of(events) != ""
        asked = len(upstream.requests)
        for model in ("spark", "demo"):
            body = {"model": model, "prompt": "And now?", "conversation": conversation}
            refused = person.client.post("/api/chat/", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "content_blocked")
        again = person.client.post(f"/api/messages/{answer['id']}/regenerate/", json={})
        assert again.json()["error"]["code"] == "content_blocked"
        assert len(upstream.requests) == asked
        assert len(person.messages(conversation)) == 2
        assert person.answer("Hello", "demo")[-1].name == "done"
        assert abuse_count(product, "alice") == 1


def test_a_refused_prompt_counts(tmp_path: Path) -> None:
    """A prompt that the vendor refuses costs nothing, is counted for the operator, and the conversation goes on."""
    with (
        FakeSpark.in_thread() as upstream,
        Product(tmp_path, **AMPLE, **with_spark(upstream, "code:10013")) as product,
    ):
        person = product.register("alice")
        events = person.answer("Hello", "spark")
        assert (events[-1].name, events[-1].data["code"]) == ("error", "content_blocked")
        assert events[-1].data["charge"]["amount"] == 0
        assert abuse_count(product, "alice") == 1
        more = person.answer("Go on", "demo", conversation=events[0].data["conversation"])
        assert more[-1].name == "done"


def test_a_temperature_that_the_vendor_does_not_take(tmp_path: Path) -> None:
    """It is refused as the caller's mistake, naming the field, before anything is stored or sent."""
    with FakeSpark.in_thread() as upstream, Product(tmp_path, **AMPLE, **with_spark(upstream)) as product:
        person = product.register("alice")
        for temperature in (0, 1.5):
            body = {"model": "spark", "prompt": "Hello", "temperature": temperature}
            refused = person.client.post("/api/chat/", json=body)
            assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["temperature"])
        assert upstream.requests == []
        assert person.client.get("/api/conversations/").json()["results"] == []
