"""Trying a key: one real request, its result in words, and the troubles that success ends."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from providers import trial
from providers.apps import providers_app
from providers.models import ApiKey, KeyTrouble, Upstream, UpstreamTrouble
from runtime import database
from tests import factories
from tests.providers.streams import until
from tests.spark import KEY as SPARK_KEY
from tests.spark import FakeSpark
from tests.upstreams import FakeOpenAI
from tests.zhipu import KEY as ZHIPU_KEY
from tests.zhipu import FakeZhipu

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
async def executor() -> AsyncGenerator[None, None]:
    yield
    await asyncio.to_thread(database.close)


@pytest.fixture
async def fake(settings: Any) -> AsyncIterator[FakeOpenAI]:
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeOpenAI() as server:
        yield server


@sync_to_async
def a_key(base_url: str, *models: str, secret: str = SECRET, **values: Any) -> ApiKey:
    upstream = factories.upstream(base_url=base_url, **{"kind": "openai", **values})
    for model in models:
        factories.route(factories.chat_model(), upstream, upstream_model=model)
    return factories.api_key(upstream, secret)


async def in_english(outcome: trial.Outcome) -> str:
    with translation.override("en"):
        return str(outcome.text)


async def test_a_good_key_is_reported(fake: FakeOpenAI) -> None:
    """A good key is reported with the model, the duration and the first words."""
    key = await a_key(fake.base_url, "plain")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    text = await in_english(outcome)
    assert text.startswith("plain replied after ")
    assert "ms: “你好，**世界**！" in text
    assert fake.requests[-1].key == SECRET
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("http_401:invalid_api_key", "refused the key"),
        ("http_429:insufficient_quota", "exhausted"),
        ("html_200", "broken"),
        ("garbage", "broken"),
    ],
)
async def test_a_failure_is_explained(fake: FakeOpenAI, scenario: str, expected: str) -> None:
    """A failure is explained without key or address, and troubles no key."""
    key = await a_key(fake.base_url, scenario)
    with translation.override("en"):
        outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert not outcome.ok
    text = await in_english(outcome)
    assert expected in text
    assert not [secret for secret in (SECRET, "127.0.0.1", "<") if secret in text]
    assert not await KeyTrouble.objects.aexists()


async def test_success_ends_troubles(fake: FakeOpenAI) -> None:
    """Success ends the trouble with the model and with all models, and closes the circuit.

    A model that the key has trouble with is tried first; trouble with a third one stays.
    """
    key = await a_key(fake.base_url, "plain", "echo")
    for model in ("", "echo", "third"):
        await KeyTrouble.objects.acreate(key=key, model=model, quarantined_at=timezone.now())
        await UpstreamTrouble.objects.acreate(upstream_id=key.upstream_id, model=model)
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    assert (await in_english(outcome)).startswith("echo replied")
    assert [row.model async for row in KeyTrouble.objects.all()] == ["third"]
    assert [row.model async for row in UpstreamTrouble.objects.order_by("model")] == ["", "third"]


async def test_another_form_of_the_request(fake: FakeOpenAI) -> None:
    """A request is sent again in the form that the upstream asks for."""
    key = await a_key(fake.base_url, "needs_no_stream_options")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    assert len(fake.requests) == 2


async def test_a_silent_upstream_is_given_up(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial without a reply ends at its deadline and closes the connection."""
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.2)
    key = await a_key(fake.base_url, "hang")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert (outcome.ok, await in_english(outcome)) == (False, "No reply within 0.2 seconds.")
    await until(lambda: not fake.open_streams)


async def test_several_at_once(fake: FakeOpenAI) -> None:
    """Several keys are tried at the same time: all have been asked before one has ended."""
    keys = [await a_key(fake.base_url, "hang") for _n in range(3)]
    trying = asyncio.create_task(trial.try_keys([key.pk for key in keys], providers_app().configuration))
    await until(lambda: len(fake.requests) == 3)
    assert [one.closed_by_peer_at for one in fake.requests] == [None] * 3
    await fake.stop()
    assert [outcome.ok for outcome in await trying] == [False] * 3


async def test_a_key_without_a_route_is_not_tried() -> None:
    """Without a route there is no model to name in a request."""
    key = await a_key("http://127.0.0.1:9/v1")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert (outcome.ok, "route" in await in_english(outcome)) == (False, True)


async def test_spark_signs_the_host_name_of_the_row(settings: Any) -> None:
    """Spark's signature covers `sign_host`; the gateway refuses another one."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeSpark() as server:
        server.hosts.add("spark-api.xf-yun.com")
        key = await a_key(server.base_url, "lite", kind="spark", sign_host="spark-api.xf-yun.com", secret=SPARK_KEY)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        assert server.requests[-1].query["host"] == "spark-api.xf-yun.com"
        await Upstream.objects.aupdate(sign_host="elsewhere.example")
        assert not (await trial.try_key(key.pk, providers_app().configuration)).ok


async def test_raw_key_sends_the_key_itself(settings: Any) -> None:
    """Zhipu gets the key itself with `raw_key`, else a token."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeZhipu() as server:
        key = await a_key(server.base_url, "glm-4", kind="zhipu", raw_key=True, secret=ZHIPU_KEY)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        await Upstream.objects.aupdate(raw_key=False)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        assert [request.key == ZHIPU_KEY for request in server.requests] == [True, False]
