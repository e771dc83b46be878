"""Trying a key: one real request, its result in words, and what success puts right."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from providers import trial
from providers.apps import providers_app
from providers.models import ApiKey, KeyTrouble, Upstream
from runtime import database
from tests import factories
from tests.spark import KEY as SPARK_KEY
from tests.spark import FakeSpark
from tests.upstreams import FakeOpenAI
from tests.zhipu import KEY as ZHIPU_KEY
from tests.zhipu import FakeZhipu

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
async def door() -> AsyncGenerator[None, None]:
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


async def said(outcome: trial.Outcome) -> str:
    with translation.override("en"):
        return str(outcome.text)


async def test_it_works(fake: FakeOpenAI) -> None:
    """A key that works is told with the model, the time it took, and the beginning of the answer."""
    key = await a_key(fake.base_url, "plain")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    text = await said(outcome)
    assert text.startswith("plain replied after ")
    assert "ms: “你好，**世界**！" in text
    assert fake.requests[-1].key == SECRET
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ("http_401:invalid_api_key", "refused the key"),
        ("http_429:insufficient_quota", "exhausted"),
        ("html_200", "broken"),
        ("garbage", "broken"),
    ],
)
async def test_failures(fake: FakeOpenAI, scenario: str, says: str) -> None:
    """A failure is told in our words, without key or address, and leaves the books as they are."""
    key = await a_key(fake.base_url, scenario)
    with translation.override("en"):
        outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert not outcome.ok
    text = await said(outcome)
    assert says in text
    assert not [secret for secret in (SECRET, "127.0.0.1", "<") if secret in text]
    assert not await KeyTrouble.objects.aexists()


async def test_what_success_puts_right(fake: FakeOpenAI) -> None:
    """It ends the trouble of the whole key and with the model that was asked, and the upstream's own cooldown.

    Trouble with a model comes first in what is asked; that with a third one stays.
    """
    until = timezone.now() + timedelta(hours=1)
    key = await a_key(fake.base_url, "plain", "echo", cooldown_until=until, status_reason="away")
    for model in ("", "echo", "third"):
        await KeyTrouble.objects.acreate(key=key, model=model, quarantined_at=timezone.now())
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    assert (await said(outcome)).startswith("echo replied")
    assert [row.model async for row in KeyTrouble.objects.all()] == ["third"]
    upstream = await Upstream.objects.aget()
    assert (upstream.cooldown_until, upstream.status_reason) == (None, "")


async def test_another_form_of_the_request(fake: FakeOpenAI) -> None:
    """Where the upstream wants another form of the request it is asked again, as for an answer."""
    key = await a_key(fake.base_url, "needs_no_stream_options")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert outcome.ok
    assert len(fake.requests) == 2


async def test_hanging(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer is given up, and the connection closed."""
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.2)
    key = await a_key(fake.base_url, "hang")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert (outcome.ok, await said(outcome)) == (False, "No reply within 0.2 seconds.")
    async with asyncio.timeout(5):
        while fake.open_streams:
            await asyncio.sleep(0.01)


async def test_several_at_once(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several keys are tried at the same time: all have been asked before the first is given up."""
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 1)
    keys = [await a_key(fake.base_url, "hang") for _n in range(3)]
    outcomes = await trial.try_keys([key.pk for key in keys], providers_app().configuration)
    assert [outcome.ok for outcome in outcomes] == [False] * 3
    async with asyncio.timeout(5):
        while fake.open_streams:
            await asyncio.sleep(0.01)
    assert max(one.at for one in fake.requests) < min(one.closed_by_peer_at or 0 for one in fake.requests)


async def test_nothing_to_ask() -> None:
    """Without a route there is nothing to ask for."""
    key = await a_key("http://127.0.0.1:9/v1")
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    assert (outcome.ok, "route" in await said(outcome)) == (False, True)


async def test_spark_behind_a_proxy_of_ours(settings: Any) -> None:
    """The host name of the row is what Spark's signature is made for; without it the gateway refuses."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeSpark() as server:
        server.hosts.add("spark-api.xf-yun.com")
        key = await a_key(server.base_url, "lite", kind="spark", sign_host="spark-api.xf-yun.com", secret=SPARK_KEY)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        assert server.requests[-1].query["host"] == "spark-api.xf-yun.com"
        await Upstream.objects.aupdate(sign_host="elsewhere.example")
        assert not (await trial.try_key(key.pk, providers_app().configuration)).ok


async def test_zhipu_with_the_key_itself(settings: Any) -> None:
    """Where the row says so, Zhipu is sent the key as it is, else a token."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeZhipu() as server:
        key = await a_key(server.base_url, "glm-4", kind="zhipu", raw_key=True, secret=ZHIPU_KEY)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        await Upstream.objects.aupdate(raw_key=False)
        assert (await trial.try_key(key.pk, providers_app().configuration)).ok
        assert [request.key == ZHIPU_KEY for request in server.requests] == [True, False]
