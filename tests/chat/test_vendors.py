"""Spark and Zhipu from the environment to the reader: a completion over each protocol, and the vendors' moderation."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import offers, spark, zhipu
from tests.product import ApiUser, Product, text_of
from tests.spark import FakeSpark
from tests.zhipu import FakeZhipu

# Models beside those of the environment, and what Spark does when they are asked.
SPARKS = {"busy": "busy_then_ok:11202:2", "closing": "late_10019", "refusing": "code:10013"}


def with_spark(upstream: FakeSpark) -> dict[str, str]:
    """Return the environment that offers `spark` at this upstream."""
    return {
        "SPARK_APP_ID": spark.APP_ID,
        "SPARK_API_KEY": spark.API_KEY,
        "SPARK_API_SECRET": spark.API_SECRET,
        "SPARK_URL": upstream.base_url.replace("http://", "ws://"),
        "SPARK_DOMAIN": "lite",
    }


def with_zhipu(upstream: FakeZhipu) -> dict[str, str]:
    return {
        "ZHIPU_API_KEYS": zhipu.KEY,
        "ZHIPU_BASE_URL": upstream.base_url,
        "ZHIPU_MODELS": "glm=plain,chatglm_turbo=chatglm_turbo",
    }


@dataclass(frozen=True)
class Scene:
    """A product connected to both, and the fake that speaks Spark's protocol."""

    product: Product
    spark: FakeSpark


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scene]:
    with FakeSpark.in_thread() as one, FakeZhipu.in_thread() as other:
        variables = {**offers.environment(), **with_spark(one), **with_zhipu(other)}
        with Product(tmp_path_factory.mktemp("vendors"), **variables) as product:
            with offers.database(product, django_db_blocker):
                for name, does in SPARKS.items():
                    offers.offer(name, "spark", one.base_url, one.key(does))
            offers.wait_for(product.register("first"), name)
            yield Scene(product, one)


@pytest.fixture
def product(scene: Scene) -> Product:
    return scene.product


@pytest.mark.contract("setting: SPARK_APP_ID", "setting: ZHIPU_MODELS")
@pytest.mark.parametrize(
    ("model", "secret"), [("spark", spark.API_SECRET), ("glm", zhipu.SECRET), ("chatglm_turbo", zhipu.SECRET)]
)
def test_vendors_of_the_environment_answer(product: Product, api_user: ApiUser, model: str, secret: str) -> None:
    """With their variables set Spark answers over the signed WebSocket, Zhipu over v4 with a signed token and v3."""
    events = api_user.answer("Hello", model)
    row = api_user.generation(events[0].data["generation"])
    assert (row["status"], row["content"], row["charge"]["amount"]) == ("completed", text_of(events), 1)
    assert row["content"]
    assert row["usage"]["estimated"] is False
    assert secret not in product.output


@pytest.mark.contract("event: notice")
def test_a_busy_key_is_waited_for(api_user: ApiUser) -> None:
    """A single key at its limit is waited for, 2 and 8 s; the reader is informed, the completion is charged once."""
    started = time.monotonic()
    events = api_user.answer("Hello", "busy")
    assert 9.5 < time.monotonic() - started < 25
    assert [event.data["code"] for event in events if event.name == "notice"] == ["retrying", "retrying"]
    assert events[-1].name == "done"
    assert api_user.quota()["used_today"] == 1


def test_a_closed_conversation_refuses_prompts(scene: Scene, api_user: ApiUser) -> None:
    """10019 lets the text stay, charged; further prompts of that conversation are refused, other ones are not."""
    events = api_user.answer("Hello", "closing")
    assert (events[-1].name, events[-1].data["finish_reason"]) == ("done", "content_filter")
    assert events[-1].data["charge"]["amount"] == 1
    conversation = events[0].data["conversation"]
    answer = api_user.messages(conversation)[-1]
    assert answer["content"] == text_of(events) != ""
    asked = len(scene.spark.requests)
    for model in ("closing", "demo"):
        body = {"model": model, "prompt": "And now?", "conversation": conversation}
        refused = api_user.client.post("/api/chat/", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "content_blocked")
    again = api_user.client.post(f"/api/messages/{answer['id']}/regenerate/", json={})
    assert again.json()["error"]["code"] == "content_blocked"
    assert len(scene.spark.requests) == asked
    assert len(api_user.messages(conversation)) == 2
    assert api_user.answer("Hello", "demo")[-1].name == "done"
    assert abuse_count(api_user) == 1


@pytest.mark.contract("refusal: content_blocked")
def test_a_refused_prompt_counts(api_user: ApiUser) -> None:
    """A prompt that the vendor refuses costs nothing, is counted for the operator, and the conversation goes on."""
    events = api_user.answer("Hello", "refusing")
    assert (events[-1].name, events[-1].data["code"]) == ("error", "content_blocked")
    assert events[-1].data["charge"]["amount"] == 0
    assert abuse_count(api_user) == 1
    more = api_user.answer("Go on", "demo", conversation=events[0].data["conversation"])
    assert more[-1].name == "done"


def test_a_temperature_that_the_vendor_does_not_take(scene: Scene, api_user: ApiUser) -> None:
    """It is refused as the caller's mistake, naming the field, before anything is stored or sent."""
    asked = len(scene.spark.requests)
    for temperature in (0, 1.5):
        body = {"model": "spark", "prompt": "Hello", "temperature": temperature}
        refused = api_user.client.post("/api/chat/", json=body)
        assert (refused.status_code, list(refused.json()["error"]["details"])) == (400, ["temperature"])
    assert len(scene.spark.requests) == asked
    assert api_user.client.get("/api/conversations/").json()["results"] == []


def abuse_count(api_user: ApiUser) -> int:
    ((count,),) = api_user.product.sql("SELECT abuse_count FROM accounts_user WHERE username = ?", api_user.name)
    return int(count)
