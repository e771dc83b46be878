"""Every registered kind of upstream through every generic path: a new adapter is tested here without another line."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import translation

from chatproject.environment import load
from providers import catalogue, registry, requests, setup, snapshot, trial, validation
from providers.apps import providers_app
from providers.errors import Unsupported
from providers.models import ApiKey, ChatModel, Route, Upstream
from providers.routing import Attempts
from providers.wire.base import EMBEDDINGS, IMAGES, PASSED_ON, Delta, Finished, PromptMessage, Provider
from runtime import database
from tests import factories
from tests.anthropic import KEY as ANTHROPIC_KEY
from tests.anthropic import FakeAnthropic
from tests.azure import KEY as AZURE_KEY
from tests.azure import FakeAzure
from tests.gemini import KEY as GEMINI_KEY
from tests.gemini import FakeGemini
from tests.loopback import FakeServer
from tests.providers.streams import collect, text
from tests.spark import KEY as SPARK_KEY
from tests.spark import FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.staff import calling, send
from tests.upstreams import FakeOpenAI
from tests.zhipu import KEY as ZHIPU_KEY
from tests.zhipu import FakeZhipu
from web.refusals import InvalidRequest


class Case(NamedTuple):
    """The facts a test needs about a kind: its fake server, a good key, and the settings that describe an upstream."""

    fake: type[FakeServer] | None
    key: str
    address: str = "base_url"
    settings: Mapping[str, str] | None = None


CASES = {
    "openai": Case(FakeOpenAI, "sk-planted-0123456789", settings={"OPENAI_API_KEYS": "sk-first-run"}),
    "anthropic": Case(FakeAnthropic, ANTHROPIC_KEY, settings={"ANTHROPIC_API_KEYS": "sk-ant-first-run"}),
    "azure": Case(
        FakeAzure,
        AZURE_KEY,
        settings={
            "AZURE_OPENAI_API_KEYS": "azure-first-run",
            "AZURE_OPENAI_ENDPOINT": "https://resource-name.openai.azure.com",
            "AZURE_OPENAI_MODELS": "azure-gpt=my-gpt",
        },
    ),
    "gemini": Case(FakeGemini, GEMINI_KEY, settings={"GEMINI_API_KEYS": "AIza-first-run"}),
    "spark": Case(
        FakeSpark,
        SPARK_KEY,
        settings={"SPARK_APP_ID": "app12345", "SPARK_API_KEY": "key", "SPARK_API_SECRET": "secret"},
    ),
    "spark_http": Case(FakeSparkHTTP, "password-0123456789"),
    "zhipu": Case(FakeZhipu, ZHIPU_KEY, settings={"ZHIPU_API_KEYS": "id.secret", "ZHIPU_MODELS": "glm-4-flash"}),
    "zhipu_v3": Case(
        FakeZhipu, ZHIPU_KEY, "v3_url", {"ZHIPU_API_KEYS": "id.secret", "ZHIPU_MODELS": "turbo=chatglm_turbo"}
    ),
    "scripted": Case(None, "unused", settings={}),
}
every_kind = pytest.mark.parametrize("kind", registry.ADAPTERS)


def adapter(kind: str) -> type[Provider]:
    return registry.ADAPTERS[kind]


def address(kind: str) -> str:
    """Return a base URL that the kind takes and that never resolves to a private address."""
    return f"{adapter(kind).schemes[0]}://192.0.2.1/v1" if adapter(kind).needs_base_url else ""


def upstream_of(kind: str, **values: Any) -> Upstream:
    return factories.upstream("u", **{"kind": kind, "base_url": address(kind), **values})


@pytest.fixture
async def executor() -> AsyncIterator[None]:
    yield
    await providers_app().routing.aclose()
    await asyncio.to_thread(database.close)


@pytest.fixture
async def served(kind: str, settings: Any, executor: None) -> AsyncGenerator[Upstream, None]:
    """Start the fake server of a kind, and return an upstream with a key and the model `m` that lead there."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    case = CASES[kind]

    def rows(base_url: str) -> Upstream:
        upstream = upstream_of(kind, base_url=base_url)
        factories.api_key(upstream, case.key)
        factories.route(factories.chat_model("m"), upstream, upstream_model="plain")
        return upstream

    if case.fake is None:
        yield await sync_to_async(rows)("")
        return
    async with case.fake() as server:
        yield await sync_to_async(rows)(getattr(server, case.address))


# --- facts -----------------------------------------------------------------------------------------------------------


def test_every_kind_has_a_case() -> None:
    """A new adapter also names its fake server here."""
    assert set(CASES) == set(registry.ADAPTERS)


@every_kind
def test_the_facts_of_a_kind_are_consistent(kind: str) -> None:
    """Kinds fit the column, titles are translated and differ, and what is taken is known to the API."""
    facts = adapter(kind)
    titles = Counter(other.title for other in registry.ADAPTERS.values())
    with translation.override("zh-hans"):
        label = str(dict(registry.choices())[kind])
    assert len(kind) <= 20
    assert titles[facts.title] == 1
    assert label != facts.title
    assert facts.takes <= {*PASSED_ON, IMAGES, EMBEDDINGS}
    assert facts.options <= {"sign_host", "raw_key"}
    assert all(model.name for model in facts.known_models)


# --- what operators enter --------------------------------------------------------------------------------------------


@every_kind
def test_the_example_address_is_accepted(kind: str) -> None:
    """The admin form shows an address that it takes itself."""
    example = adapter(kind).example_base_url
    assert bool(example) == adapter(kind).needs_base_url
    assert validation.base_url(kind, example) == example


@every_kind
def test_other_addresses_are_refused(kind: str) -> None:
    """No kind with an address takes an empty one, another scheme, or one without the encryption it needs."""
    if not adapter(kind).needs_base_url:
        assert validation.base_url(kind, "") == ""
        return
    plain = ["ws://192.0.2.1", "http://192.0.2.1"] if adapter(kind).needs_encryption else []
    for entered in ("", "gopher://192.0.2.1", *plain):
        with pytest.raises(ValidationError):
            validation.base_url(kind, entered)


@every_kind
def test_a_key_is_checked_by_its_form(kind: str) -> None:
    """A key of another form is refused with the form that is expected; without a form any text is taken."""
    assert validation.secret(kind, f" {CASES[kind].key} ") == CASES[kind].key
    form = adapter(kind).key_form
    if form:
        with pytest.raises(ValidationError, match=form):
            validation.secret(kind, "formless")
    else:
        assert validation.secret(kind, "formless") == "formless"


@every_kind
def test_only_kinds_that_sign_take_a_host_name(kind: str) -> None:
    """A host name to sign is refused where nothing is signed."""
    if "sign_host" in adapter(kind).options:
        assert validation.sign_host(kind, "gateway.example") == "gateway.example"
    else:
        with pytest.raises(ValidationError):
            validation.sign_host(kind, "gateway.example")


@pytest.mark.django_db
@every_kind
def test_the_admin_form_adds_an_upstream(kind: str, client: Client, carol: Any) -> None:
    """Staff choose the kind by its label, enter a key with it, and see examples of addresses and keys."""
    client.force_login(carol)
    add = reverse("admin:providers_upstream_add")
    with translation.override("en"):
        page = client.get(add, headers={"Accept-Language": "en"}).content.decode()
    assert f'<option value="{kind}"' in page
    assert adapter(kind).title in page
    assert adapter(kind).example_base_url in page
    assert adapter(kind).key_form in page
    form = {"slug": "u", "kind": kind, "base_url": address(kind), "enabled": "on"}
    form |= {"keys-TOTAL_FORMS": "1", "keys-INITIAL_FORMS": "0", "keys-0-secret": CASES[kind].key}
    assert client.post(add, form).status_code == 302
    assert Upstream.objects.get().kind == kind
    assert ApiKey.objects.get().secret() == CASES[kind].key


@pytest.mark.django_db
@every_kind
def test_staff_add_an_upstream_over_rest(kind: str, carol: Any) -> None:
    """The staff route takes every kind and a key of its form, and refuses kinds that are not registered."""
    staff, body = calling(carol), {"slug": "u", "kind": kind, "base_url": address(kind)}
    assert send(staff, "POST", "/api/admin/upstreams/", body).json()["kind"] == kind
    key = send(staff, "POST", "/api/admin/keys/", {"upstream": "u", "secret": CASES[kind].key})
    assert key.status_code == 201
    refused = send(staff, "POST", "/api/admin/upstreams/", {**body, "slug": "v", "kind": f"{kind}_2"})
    assert set(refused.json()["error"]["details"]) == {"kind"}


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@every_kind
def test_the_first_run_takes_a_kind_from_the_environment(kind: str, settings: Any) -> None:
    """Settings that describe an upstream make its rows once; a kind without settings is left to the admin."""
    given = CASES[kind].settings
    settings.ENV = load(dict(given or {}))
    for _start in range(2):
        setup.ensure_upstreams()
    made = Upstream.objects.filter(kind=kind)
    assert made.count() == (given is not None)
    assert Upstream.objects.exclude(kind=registry.DEMO_KIND).count() == bool(given)
    for upstream in made:
        upstream.full_clean()
        assert upstream.routes.exists()
        assert upstream.keys.exists() == bool(given)
        for key in upstream.keys.all():
            assert validation.secret(kind, str(key.secret()))


@pytest.mark.django_db
def test_the_environment_names_several_kinds_at_once(settings: Any) -> None:
    """Each kind has a slug of its own, so that the settings of one never change the upstream of another."""
    together = {name: value for case in CASES.values() for name, value in (case.settings or {}).items()}
    settings.ENV = load(together | {"ZHIPU_MODELS": "glm-4-flash,turbo=chatglm_turbo"})
    setup.ensure_upstreams()
    assert set(Upstream.objects.values_list("kind", flat=True)) == {
        kind for kind, case in CASES.items() if case.settings is not None
    }


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "slugs"),
    [("OPENAI_PROXY", {"openai"}), ("SPARK_PROXY", {"spark"}), ("ZHIPU_PROXY", {"zhipu", "zhipu-v3"})],
)
def test_the_environment_names_a_proxy_for_each_vendor(name: str, slugs: set[str], settings: Any) -> None:
    """A vendor's proxy goes to its upstreams only, and its password is kept."""
    together = {name: value for case in CASES.values() for name, value in (case.settings or {}).items()}
    proxy = "socks5://user:word@127.0.0.1:1080"
    settings.ENV = load(together | {"ZHIPU_MODELS": "glm-4-flash,turbo=chatglm_turbo", name: proxy})
    setup.ensure_upstreams()
    found = {upstream.slug: upstream.proxy_url() for upstream in Upstream.objects.exclude(proxy="")}
    assert found == dict.fromkeys(slugs, proxy)


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@every_kind
async def test_the_catalogue_lists_and_adds_models(kind: str, served: Upstream) -> None:
    """The offered models become rows with a route and valid values, whether the upstream was asked or not."""
    config = await sync_to_async(snapshot.upstream_now)(served.pk)
    listing = await providers_app().catalogue.fetch(config)
    assert listing.models
    if adapter(kind).known_models:
        assert listing.models == adapter(kind).known_models

    def add() -> None:
        chosen = listing.models[:2]
        entries = catalogue.entries(served, chosen)
        assert [entry.slug.startswith(adapter(kind).slug_prefix) for entry in entries] == [True] * len(chosen)
        added = providers_app().catalogue.add(served, chosen)
        assert {entry.slug for entry in added} <= set(providers_app().configuration.models())
        for model in ChatModel.objects.all():
            model.full_clean()
        assert set(Route.objects.values_list("upstream_model", flat=True)) >= {model.name for model in chosen}

    await sync_to_async(add)()


@pytest.mark.django_db
@every_kind
def test_the_page_of_models_opens(kind: str, client: Client, carol: Any, settings: Any) -> None:
    """The page says whether the upstream was asked, also where it cannot be reached."""
    settings.UPSTREAM_CONNECT_SECONDS = 0.1
    client.force_login(carol)
    upstream = upstream_of(kind, base_url=address(kind).replace("192.0.2.1", "127.0.0.1:9"))
    page = client.get(reverse("admin:providers_upstream_models", args=[upstream.pk]), headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert page.context["asked"] == (not adapter(kind).known_models)
    assert page.context["fixed_path"] == adapter(kind).path_per_model


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@every_kind
async def test_a_key_is_tried(kind: str, served: Upstream) -> None:
    """A trial sends one real request with the key and reports what came back."""
    key = await ApiKey.objects.aget()
    outcome = await trial.try_key(key.pk, providers_app().configuration)
    with translation.override("en"):
        assert (outcome.ok, str(outcome.text).partition(" after ")[0]) == (True, "plain replied")


@pytest.mark.django_db(transaction=True)
@every_kind
async def test_a_request_is_routed(kind: str, served: Upstream) -> None:
    """A prompt reaches the upstream with a leased key and streams a completion."""
    model = (await database.run(providers_app().configuration.models))["m"]
    prompt = (PromptMessage("user", "hello"),)
    events = await collect(Attempts(providers_app().routing, model, prompt, {}, "0123abcd").run())
    assert isinstance(events[-1], Finished)
    assert any(isinstance(event, Delta) for event in events)
    assert text(events)


@pytest.mark.django_db
@every_kind
def test_a_route_is_chosen_by_what_its_kind_takes(kind: str) -> None:
    """Only requests whose fields the adapter takes go to its route; the refusal names the others."""
    upstream = upstream_of(kind)
    factories.chat_model("m", to=upstream)
    model = providers_app().configuration.models()["m"]
    takes = adapter(kind).takes
    assert requests.able(model, sorted(takes)) is model
    others = {*PASSED_ON, IMAGES} - takes
    if others:
        with pytest.raises(Unsupported) as refused:
            requests.able(model, sorted(others))
        assert set(refused.value.details or ()) == others


@pytest.mark.django_db
@every_kind
def test_a_temperature_is_judged_by_the_kind(kind: str) -> None:
    """An ordinary temperature passes every kind, and the refusal of an extreme one follows the adapter."""
    factories.chat_model("m", to=upstream_of(kind))
    model = providers_app().configuration.models()["m"]
    model.check_parameters({"temperature": 0.5})
    if adapter(kind).takes_temperature("m", 99.0):
        model.check_parameters({"temperature": 99.0})
    else:
        with pytest.raises(InvalidRequest):
            model.check_parameters({"temperature": 99.0})
