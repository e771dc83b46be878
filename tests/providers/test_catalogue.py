"""Adding models of an upstream: which are offered, their slugs, and their first values."""

from typing import Any

import pytest

from providers import catalogue, snapshot
from providers.apps import providers_app
from providers.models import ApiKey, ChatModel, Route, Upstream
from providers.setup import DEMO_POSITION
from providers.wire.base import Endpoint, OfferedModel
from providers.wire.errors import ProviderError
from quotas.models import QuotaModel
from tests import factories
from tests.model_lists import MODELS
from tests.upstreams import FakeOpenAI
from tests.zhipu import KEY, FakeZhipu

pytestmark = pytest.mark.django_db


def offered(*names: str) -> list[OfferedModel]:
    return [OfferedModel(name) for name in names]


@pytest.fixture
def upstream() -> Upstream:
    return factories.upstream("mirror", kind="openai", base_url="https://api.example.org/v1")


def test_a_chosen_model_is_added(upstream: Upstream) -> None:
    """A chosen model gets a row with the values of a first run, a route, and a quota."""
    factories.quota("standard")
    factories.quota("premium")
    factories.chat_model("demo", position=DEMO_POSITION)
    factories.chat_model("first", position=4)
    done = providers_app().catalogue.add(upstream, [OfferedModel("gpt-4o"), OfferedModel("org/m", 32_768)])
    assert [(entry.slug, entry.joins) for entry in done] == [("gpt-4o", False), ("org/m", False)]
    gpt, other = ChatModel.objects.get(slug="gpt-4o"), ChatModel.objects.get(slug="org/m")
    assert (gpt.title, gpt.context_tokens, gpt.position, gpt.enabled) == ("gpt-4o", 128_000, 5, True)
    assert (other.context_tokens, other.position) == (32_768, 6)
    routes = Route.objects.filter(model=other).values_list("upstream__slug", "upstream_model", "priority", "weight")
    assert list(routes) == [("mirror", "org/m", 0, 1)]
    assert QuotaModel.objects.get(model=gpt).quota.slug == "premium"
    assert QuotaModel.objects.get(model=other).quota.slug == "standard"
    assert "org/m" in providers_app().configuration.models()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("gpt-4o", "gpt-4o"),
        ("org/model:free", "org/model:free"),
        ("@cf/meta/llama 3", "cf/meta/llama-3"),
        ("Qwen3（latest）", "Qwen3-latest"),
        ("名字", "mirror-model"),
        ("x" * 150, "x" * 100),
    ],
)
def test_slugs(upstream: Upstream, name: str, slug: str) -> None:
    """The upstream's name is made fit for a URL, and the row passes its own checks."""
    assert catalogue.entries(upstream, offered(name))[0].slug == slug
    providers_app().catalogue.add(upstream, offered(name))
    row = ChatModel.objects.get()
    row.full_clean()
    assert (row.slug, row.routes.get().upstream_model) == (slug, name)


def test_slugs_of_spark_have_a_prefix(upstream: Upstream) -> None:
    """Spark's slugs begin with `spark`, because its names of models say little."""
    spark = factories.upstream("spark", kind="spark", base_url="wss://spark.example.org")
    entries = catalogue.entries(spark, offered("lite", "4.0Ultra", "spark-x"))
    assert [entry.slug for entry in entries] == ["spark-lite", "spark-4.0Ultra", "spark-x"]
    providers_app().catalogue.add(spark, offered("lite"))
    assert ChatModel.objects.get().title == "Spark Lite"


def test_a_routed_model_is_not_added_again(upstream: Upstream) -> None:
    """A model that already has a route here is listed with it and not added again."""
    model = factories.chat_model("ours")
    factories.route(model, upstream, upstream_model="theirs")
    (entry,) = catalogue.entries(upstream, offered("theirs"))
    assert entry.models == ("ours",)
    assert providers_app().catalogue.add(upstream, offered("theirs")) == []
    assert ChatModel.objects.count() == 1


def test_a_known_model_gets_another_route(upstream: Upstream) -> None:
    """A model of the same name gets another route, behind those it has; its own values stay."""
    model = factories.chat_model("gpt-4", to=factories.upstream(), context_tokens=5_000)
    (entry,) = catalogue.entries(upstream, offered("gpt-4"))
    assert (entry.slug, entry.joins) == ("gpt-4", True)
    providers_app().catalogue.add(upstream, offered("gpt-4"))
    assert list(model.routes.order_by("priority").values_list("priority", "upstream__slug"))[1] == (1, "mirror")
    model.refresh_from_db()
    assert model.context_tokens == 5_000


def test_names_with_the_same_slug_become_two_models(upstream: Upstream) -> None:
    """Different names whose slugs would be the same become different models."""
    providers_app().catalogue.add(upstream, offered("a b", "a+b", "a-b"))
    routes = dict(Route.objects.values_list("upstream_model", "model__slug"))
    assert routes == {"a b": "a-b", "a+b": "a-b-2", "a-b": "a-b"}


@pytest.mark.parametrize("kind", ["spark", "spark_http", "zhipu_v3", "scripted"])
async def test_kinds_without_a_list(kind: str) -> None:
    """The known models are offered without a request."""
    config = snapshot.UpstreamConfig("x", kind, Endpoint("http://127.0.0.1:9"), ())
    listing = await providers_app().catalogue.fetch(config)
    assert listing.complete
    assert {"spark": "lite", "spark_http": "lite", "zhipu_v3": "chatglm_turbo", "scripted": "demo"}[kind] in {
        model.name for model in listing.models
    }


def config_of(kind: str, base_url: str, *secrets: str) -> snapshot.UpstreamConfig:
    """Return an upstream with such keys, as routing sees it; the first is quarantined."""
    upstream = factories.upstream(kind=kind, base_url=base_url)
    for secret in secrets:
        factories.api_key(upstream, secret)
    if secrets:
        first = ApiKey.objects.order_by("pk")[0]
        first.troubles.create(quarantined_at=first.created_at)
    return snapshot.upstream_now(upstream.pk)


@pytest.mark.django_db(transaction=True)
async def test_the_first_usable_key_fetches_the_list(settings: Any) -> None:
    """A quarantined key is passed over."""
    from asgiref.sync import sync_to_async

    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeOpenAI() as server:
        config = await sync_to_async(config_of)("openai", server.base_url, "sk-first-00000001", "sk-second-0000002")
        assert (await providers_app().catalogue.fetch(config)).models
        assert [request.key for request in server.requests] == ["sk-second-0000002"]
        assert server.open_connections <= 1


@pytest.mark.django_db(transaction=True)
async def test_without_a_usable_key_no_request_is_sent() -> None:
    """Without a usable key the fetch fails before a request."""
    from asgiref.sync import sync_to_async

    async with FakeOpenAI() as server:
        config = await sync_to_async(config_of)("openai", server.base_url, "sk-first-00000001")
        with pytest.raises(ProviderError, match="no key"):
            await providers_app().catalogue.fetch(config)
        assert not server.requests


@pytest.mark.django_db(transaction=True)
async def test_private_addresses_are_refused() -> None:
    """The list of models is not fetched from an address that completions may not use."""
    from asgiref.sync import sync_to_async

    async with FakeOpenAI() as server:
        config = await sync_to_async(config_of)("openai", server.base_url)
        with pytest.raises(ProviderError, match="not allowed"):
            await providers_app().catalogue.fetch(config)
        assert not server.requests


@pytest.mark.django_db(transaction=True)
async def test_zhipu_gets_a_token(settings: Any) -> None:
    """The list of Zhipu is fetched with a token made from the key."""
    from asgiref.sync import sync_to_async

    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    async with FakeZhipu() as server:
        config = await sync_to_async(config_of)("zhipu", server.base_url, "out.of-use", KEY)
        assert len((await providers_app().catalogue.fetch(config)).models) == len(MODELS)
