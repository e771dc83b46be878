"""The operators' pages: health, write-only keys, and the models that an upstream offers."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from providers import addresses
from providers.apps import providers_app
from providers.models import ApiKey, ChatModel, KeyTrouble, Route, Upstream, UpstreamTrouble
from providers.wire.openai import model_list
from quotas.models import QuotaModel
from runtime import database
from tests import factories
from tests.providers.streams import PATIENCE_SECONDS
from tests.staff import staff_with
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.django_db

SECRET = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let look-ups of names, and lists of models, take as long as on a busy machine."""
    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(model_list, "SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def admin(client: Client, carol: Any) -> Client:
    client.force_login(carol)
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    return client


@pytest.fixture
def mirror() -> Upstream:
    return factories.upstream("mirror", kind="openai", base_url="https://192.0.2.1/v1")


def page(table_name: str, name: str = "changelist", *arguments: Any) -> str:
    return reverse(f"admin:providers_{table_name}_{name}", args=arguments)


def flash_messages(response: Any) -> list[str]:
    """Return the messages that a page shows next."""
    return [str(message) for message in get_messages(response.wsgi_request)]


def upstream_form(**values: Any) -> dict[str, Any]:
    """Return the form of an upstream's page with no key rows, or some under `keys`."""
    keys = values.pop("keys", [])
    rows = {f"keys-{n}-{field}": value for n, key in enumerate(keys) for field, value in key.items()}
    management = {"keys-TOTAL_FORMS": len(keys), "keys-INITIAL_FORMS": 0, **rows}
    fields = {"slug": "mirror", "kind": "openai", "base_url": "https://8.8.8.8/v1", "proxy": "", "enabled": "on"}
    return {**fields, **management, **values}


def select(action: str, *rows: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": [row.pk for row in rows]}


def column(response: Any, name: str) -> list[str]:
    """Return the cells of a column of a list, without their markup."""
    cells = re.findall(rf'<td class="field-{name}">(.*?)</td>', response.content.decode(), re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in cells]


# --- health ----------------------------------------------------------------------------------------------------------


def test_the_list_of_upstreams_shows_their_health(admin: Client, mirror: Upstream) -> None:
    """The list of upstreams counts usable, cooling and quarantined keys, and sums them up."""
    keys = [factories.api_key(mirror) for _n in range(3)]
    soon = timezone.now() + timedelta(hours=1)
    KeyTrouble.objects.create(key=keys[0], cooldown_until=soon, status_reason="The upstream is busy.")
    KeyTrouble.objects.create(key=keys[1], quarantined_at=timezone.now(), status_reason="The upstream refused the key.")
    factories.upstream("off", enabled=False)
    response = admin.get(page("upstream"))
    assert column(response, "usable") == ["0 / 0", "1 / 3"]
    assert (column(response, "cooling"), column(response, "quarantined")) == (["0", "1"], ["0", "1"])
    assert column(response, "health") == ["– switched off", "▲ 2 keys cannot be used"]
    assert 'class="health warning"' in response.content.decode()


def test_the_list_of_keys_shows_their_troubles(admin: Client, mirror: Upstream) -> None:
    """The list of keys shows the trouble of each, since when and why."""
    factories.api_key(mirror)
    bad = factories.api_key(mirror)
    KeyTrouble.objects.create(key=bad, quarantined_at=timezone.now(), status_reason="The upstream refused the key.")
    shown = column(admin.get(page("apikey")), "health")
    assert shown[1] == "✓ ok"
    assert shown[0].startswith("✕ quarantined since ")
    assert shown[0].endswith("The upstream refused the key.")


def test_lists_need_a_constant_number_of_queries(admin: Client, django_assert_max_num_queries: Any) -> None:
    """The lists cost the same however many rows there are."""
    for _upstream in range(5):
        upstream = factories.upstream()
        for _key in range(4):
            KeyTrouble.objects.create(key=factories.api_key(upstream), quarantined_at=timezone.now())
    for name in ("upstream", "apikey"):
        with django_assert_max_num_queries(14):
            assert admin.get(page(name)).status_code == 200


def test_use_upstreams_again(admin: Client, mirror: Upstream) -> None:
    """One action closes the circuits of an upstream and ends the troubles of its keys only."""
    soon = timezone.now() + timedelta(hours=1)
    UpstreamTrouble.objects.create(upstream=mirror, model="m", cooldown_until=soon)
    KeyTrouble.objects.create(key=factories.api_key(mirror), quarantined_at=soon)
    other = KeyTrouble.objects.create(key=factories.api_key(factories.upstream()), quarantined_at=soon)
    response = admin.post(page("upstream"), select("clear_health", mirror))
    assert flash_messages(response) == ["1 upstream is in use again, with its keys."]
    assert not UpstreamTrouble.objects.exists()
    assert KeyTrouble.objects.get() == other


def test_use_keys_again(admin: Client, mirror: Upstream) -> None:
    """One action puts chosen keys back to use."""
    key = factories.api_key(mirror)
    KeyTrouble.objects.create(key=key, quarantined_at=timezone.now())
    factories.chat_model("m", to=mirror)
    assert not providers_app().configuration.models()["m"].available()
    admin.post(page("apikey"), select("clear_health", key))
    assert providers_app().configuration.models()["m"].available()


# --- forms -----------------------------------------------------------------------------------------------------------


def test_an_upstream_with_its_keys(admin: Client) -> None:
    """An upstream and its keys are entered on one page; no secret is on the next page."""
    keys = [{"secret": SECRET, "enabled": "on"}, {"secret": "sk-another-000000", "max_concurrency": 3}]
    form = upstream_form(base_url="https://8.8.8.8/v1/chat/completions", keys=keys, _continue="1")
    response = admin.post(page("upstream", "add"), form, follow=True)
    upstream = Upstream.objects.get()
    assert upstream.base_url == "https://8.8.8.8/v1"
    assert [key.secret() for key in upstream.keys.order_by("pk")] == [SECRET, "sk-another-000000"]
    assert SECRET not in response.content.decode()
    assert "cdef" in response.content.decode()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"base_url": "api.example.org"}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"kind": "spark", "base_url": "ws://8.8.8.8"}, "base_url"),
        ({"proxy": "8.8.8.8:3128"}, "proxy"),
        ({"sign_host": "a.example"}, "sign_host"),
    ],
)
def test_bad_addresses(admin: Client, values: dict[str, Any], field: str) -> None:
    """An address that no connection can reach is refused at its field."""
    response = admin.post(page("upstream", "add"), upstream_form(**values))
    assert response.status_code == 200
    assert set(response.context["adminform"].form.errors) == {field}
    assert not Upstream.objects.exists()


def test_the_same_key_twice(admin: Client, mirror: Upstream) -> None:
    """A secret entered twice is refused, on one page and on two."""
    response = admin.post(page("upstream", "add"), upstream_form(slug="x", keys=[{"secret": SECRET}] * 2))
    assert response.status_code == 200
    factories.api_key(mirror, SECRET)
    response = admin.post(page("apikey", "add"), {"upstream": mirror.pk, "secret": SECRET})
    assert set(response.context["adminform"].form.errors) == {"secret"}
    assert ApiKey.objects.count() == 1


def test_another_secret(admin: Client, mirror: Upstream) -> None:
    """A new secret begins without trouble; an empty field keeps the secret and its troubles."""
    key = factories.api_key(mirror, from_environment=True)
    KeyTrouble.objects.create(key=key, quarantined_at=timezone.now())
    admin.post(page("apikey", "change", key.pk), {"secret": "", "enabled": "on"})
    key.refresh_from_db()
    assert (key.from_environment, key.troubles.count()) == (True, 1)
    admin.post(page("apikey", "change", key.pk), {"secret": SECRET, "enabled": "on"})
    key.refresh_from_db()
    assert (key.secret(), key.from_environment, key.troubles.count()) == (SECRET, False, 0)


def test_a_key_stays_with_its_upstream(admin: Client, mirror: Upstream) -> None:
    """A key's page offers no other upstream."""
    key = factories.api_key(mirror)
    other = factories.upstream("other")
    admin.post(page("apikey", "change", key.pk), {"upstream": other.pk, "enabled": "on"})
    key.refresh_from_db()
    assert key.upstream == mirror


def test_switching_off_in_the_list(admin: Client) -> None:
    """An upstream with a bad address can be disabled in the list."""
    bad = factories.upstream("bad", kind="openai", base_url="")
    row = {"form-0-id": bad.pk, "form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "_save": "Save"}
    assert admin.post(page("upstream"), row).status_code == 302
    bad.refresh_from_db()
    assert not bad.enabled


def test_a_new_model_gets_a_quota(admin: Client) -> None:
    """A model that staff enter counts against a default quota at once."""
    factories.quota("standard")
    form = {"slug": "m", "title": "M", "position": 0, "context_tokens": 8192, "parameters": "{}"}
    form |= {"token_cap_field": "max_tokens", "routes-TOTAL_FORMS": 0, "routes-INITIAL_FORMS": 0}
    assert admin.post(page("chatmodel", "add"), form).status_code == 302
    assert QuotaModel.objects.get().quota.slug == "standard"


# --- private addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "host"),
    [
        ({"base_url": "http://127.0.0.1:11434/v1"}, "127.0.0.1"),
        ({"base_url": "http://localhost:11434/v1"}, "localhost"),
        ({"base_url": "http://[::1]/v1"}, "::1"),
        ({"proxy": "socks5://10.0.0.1:1080"}, "10.0.0.1"),
        ({"base_url": "https://8.8.8.8/v1"}, ""),
        ({"base_url": "http://127.0.0.1/v1", "proxy": "http://8.8.8.8:3128"}, ""),
        ({"kind": "scripted", "base_url": ""}, ""),
    ],
)
def test_private_addresses(admin: Client, values: dict[str, Any], host: str) -> None:
    """A private address is stored with a warning that names the setting; a proxy's host is judged first."""
    response = admin.post(page("upstream", "add"), upstream_form(**values))
    assert Upstream.objects.count() == 1
    warnings = [text for text in flash_messages(response) if "ALLOWED_PRIVATE_UPSTREAMS" in text]
    assert [text.partition(" ")[0] for text in warnings] == ([host] if host else [])


def test_allowed_private_addresses_get_no_warning(admin: Client, settings: Any) -> None:
    """An address that the operator allowed, or named in the environment, gets no warning."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.0/8"]
    assert not addresses.refused_now("http://127.0.0.1/v1", "")
    settings.ALLOWED_PRIVATE_UPSTREAMS = []
    named = {"base_url": "http://127.0.0.1/v1", "proxy": ""}
    row = factories.upstream("o", kind="openai", **named, environment={"values": named})
    response = admin.post(page("upstream", "change", row.pk), upstream_form(slug="o", **named))
    assert not [text for text in flash_messages(response) if "ALLOWED_PRIVATE_UPSTREAMS" in text]


def test_names_that_do_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that cannot be looked up, or not in time, is not judged."""

    def unknown(*_arguments: Any, **_options: Any) -> list[Any]:
        raise OSError

    def slow(*_arguments: Any, **_options: Any) -> list[Any]:
        is_over.wait(PATIENCE_SECONDS)
        answered.append("at last")
        return []

    answered, is_over = list[str](), threading.Event()

    monkeypatch.setattr(addresses.socket, "getaddrinfo", unknown)
    assert not addresses.refused_now("http://nowhere.example/v1", "")
    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(addresses.socket, "getaddrinfo", slow)
    assert not addresses.refused_now("http://slow.example/v1", "")
    assert answered == []
    is_over.set()


# --- trying ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def executor() -> Iterator[None]:
    yield
    database.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("executor")
def test_keys_are_tried_with_one_real_request(admin: Client, upstream: FakeOpenAI, settings: Any) -> None:
    """The list's action and the page's button send one real request and show the result."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    row = factories.upstream("mirror", kind="openai", base_url=upstream.base_url)
    factories.route(factories.chat_model("m"), row, upstream_model="plain")
    bad, before = factories.api_key(row, "sk-trial-bad-0000000"), len(upstream.requests)
    upstream.keys["sk-trial-bad-0000000"] = "http_401:invalid_api_key"
    listed = flash_messages(admin.post(page("apikey"), select("try_now", bad)))
    assert listed == ["mirror …0000: The upstream refused the key. (invalid_api_key)"]
    changed = admin.post(page("apikey", "change", bad.pk), {"secret": SECRET, "enabled": "on", "_try": "1"})
    assert changed.status_code == 302
    assert flash_messages(changed)[-1].startswith("mirror …cdef: plain replied after ")
    added = {"upstream": row.pk, "secret": "sk-trial-new-1111111", "enabled": "on", "_try": "1"}
    assert flash_messages(admin.post(page("apikey", "add"), added))[-1].startswith("mirror …1111: plain replied")
    tried = ["sk-trial-bad-0000000", SECRET, "sk-trial-new-1111111"]
    # A product of other tests may still use the same upstream.
    assert [request.key for request in upstream.requests[before:] if request.key in tried] == tried


# --- the list of models ----------------------------------------------------------------------------------------------


@pytest.fixture
def reachable(upstream: FakeOpenAI, settings: Any) -> Upstream:
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["127.0.0.1"]
    row = factories.upstream("mirror", kind="openai", base_url=upstream.base_url)
    factories.api_key(row, SECRET)
    return row


def listed(admin: Client, upstream: FakeOpenAI, row: Upstream, scenario: str) -> str:
    upstream.keys[SECRET] = scenario
    response = admin.get(page("upstream", "models", row.pk))
    assert response.status_code == 200
    text = response.content.decode()
    assert not [secret for secret in (SECRET, "sk-secret", upstream.base_url) if secret in text]
    return text


def test_models(admin: Client, upstream: FakeOpenAI, reachable: Upstream) -> None:
    """The page shows the offered models beside ours, and adds the ticked ones."""
    factories.quota("standard")
    factories.route(factories.chat_model("ours"), reachable, upstream_model="paced")
    factories.chat_model("echo", to=factories.upstream())
    text = listed(admin, upstream, reachable, "few")
    assert "✓ ours" in text
    assert "another route of echo" in text
    assert 'value="131072:echo"' in text
    assert 'value="0:paced"' not in text
    chosen = {"model": ["131072:echo", "0:org/model:free"]}
    response = admin.post(page("upstream", "models", reachable.pk), chosen)
    assert response.status_code == 302
    assert flash_messages(response)[0] == "2 models were added: echo, org/model:free"
    assert QuotaModel.objects.get(model__slug="org/model:free").quota.slug == "standard"
    assert Route.objects.filter(upstream=reachable).count() == 3
    assert admin.get(response["Location"]).context["cl"].result_count == 3


def test_nothing_chosen(admin: Client, reachable: Upstream) -> None:
    """Without a tick, or with malformed values, no model is added and the page says so."""
    for chosen in ({}, {"model": ["0:", "x:" + "y" * 300, "9" * 5000 + ":"]}):
        response = admin.post(page("upstream", "models", reachable.pk), chosen)
        assert flash_messages(response)[-1] == "Nothing was chosen."
    assert not ChatModel.objects.exists()


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("refused", "The upstream refused the key. (invalid_api_key)"),
        ("html", "response is not a list of models. (not_a_list)"),
        ("missing", "The upstream has no list of models at its address."),
        ("hang", "The upstream took too long. (total_timeout)"),
        ("empty", "The list is empty."),
        ("many", "The list is too long."),
    ],
)
def test_failures_to_list_models_are_explained(
    admin: Client,
    upstream: FakeOpenAI,
    reachable: Upstream,
    scenario: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure is explained without key, address or vendor's text, and troubles no key."""
    if scenario == "hang":
        monkeypatch.setattr(model_list, "SECONDS", 1)
    assert expected in listed(admin, upstream, reachable, scenario).replace("&#x27;", "'")
    assert not KeyTrouble.objects.exists()


def test_models_of_spark(admin: Client) -> None:
    """Spark's known models are offered, with a warning about a path that fits one model."""
    row = factories.upstream("spark", kind="spark", base_url="wss://spark-api.xf-yun.com/v1.1/chat")
    text = admin.get(page("upstream", "models", row.pk)).content.decode()
    assert "has no list of models" in text
    assert 'value="8192:lite"' in text
    assert "Remove the path" in text


def test_listing_and_adding_models_need_permissions(client: Client, reachable: Upstream) -> None:
    """Listing needs the permission to change the upstream, adding those to add models and routes."""
    here = page("upstream", "models", reachable.pk)
    for rights, statuses in (
        (["view_upstream"], (403, 403)),
        (["change_upstream"], (200, 403)),
        (["change_upstream", "add_chatmodel", "add_route"], (200, 302)),
    ):
        client.force_login(staff_with(*rights))
        assert (client.get(here).status_code, client.post(here, {"model": "0:m"}).status_code) == statuses
        shown = client.get(page("upstream", "change", reachable.pk)).content.decode()
        assert (here in shown) == (statuses[0] == 200)
    client.force_login(factories.user())
    assert client.get(here).status_code in {302, 403}
    assert ChatModel.objects.count() == 1


def test_the_action_leads_to_the_page_of_models(admin: Client, mirror: Upstream) -> None:
    """The list's action opens the page of the one chosen upstream."""
    response = admin.post(page("upstream"), select("show_models", mirror))
    assert response["Location"] == page("upstream", "models", mirror.pk)
    other = factories.upstream()
    assert flash_messages(admin.post(page("upstream"), select("show_models", mirror, other))) == [
        "Choose one upstream."
    ]


# --- requests --------------------------------------------------------------------------------------------------------


def test_headers_are_entered_and_never_shown(admin: Client) -> None:
    """Header values are stored and shown masked, in a form with errors too; a mask that stays keeps the value."""
    planted = "planted-in-a-header-0123456789"
    values = {"headers": f'{{"X-Team": "{planted}"}}', "query": '{"api-version": "1", "api_key": "planted-q"}'}
    form = upstream_form(slug="headed", **values)
    wrong = admin.post(page("upstream", "add"), {**form, "slug": "not a slug"})
    assert (wrong.status_code, planted in wrong.content.decode()) == (200, False)
    again = {name: wrong.context["adminform"].form[name].value() for name in ("headers", "query")}
    assert again == {"headers": '{"X-Team": ""}', "query": '{"api-version": "1", "api_key": ""}'}
    missing = admin.post(page("upstream", "add"), {**form, **again})
    assert set(missing.context["adminform"].form.errors) == {"headers", "query"}
    assert admin.post(page("upstream", "add"), form).status_code == 302
    row = Upstream.objects.get(slug="headed")
    assert (row.headers, row.query["api_key"]) == ({"X-Team": planted}, "planted-q")
    shown = admin.get(page("upstream", "change", row.pk))
    text = shown.content.decode()
    assert "X-Team" in text
    assert not [secret for secret in (planted, "planted-q") if secret in text]
    kept = {name: shown.context["adminform"].form[name].value() for name in ("headers", "query")}
    changed = {**form, **kept, "keys-INITIAL_FORMS": 0}
    assert admin.post(page("upstream", "change", row.pk), changed).status_code == 302
    row.refresh_from_db()
    assert (row.headers, row.query) == ({"X-Team": planted}, {"api-version": "1", "api_key": "planted-q"})
    # A value entered anew, beside an error elsewhere, does not come back as a mask of the stored one.
    anew = {**changed, "slug": "not a slug", "headers": '{"X-Team": "planted-q", "X-Other": "planted-q"}'}
    beside = admin.post(page("upstream", "change", row.pk), anew).context["adminform"].form
    assert (beside["headers"].value(), beside["query"].value()) == ('{"X-Team": "", "X-Other": ""}', kept["query"])
    refused = admin.post(page("upstream", "change", row.pk), {**changed, "headers": '{"Host": "x"}'})
    assert set(refused.context["adminform"].form.errors) == {"headers"}
    assert not [secret for secret in (planted, "planted-q") if secret in refused.content.decode()]


def model_form(**values: Any) -> dict[str, Any]:
    form = {"slug": "m", "title": "M", "position": 0, "context_tokens": 32_768, "parameters": "{}"}
    form |= {"token_cap_field": "max_tokens", "routes-TOTAL_FORMS": 0, "routes-INITIAL_FORMS": 0}
    return {**form, "enabled": "on", **values}


def test_an_unknown_context_size_is_a_warning_until_it_is_set(admin: Client) -> None:
    """A new model gets its known context size; an unknown one is marked until an operator enters or confirms it."""
    factories.quota("standard")
    factories.quota("premium")
    for slug in ("house", "gpt-4o-house"):
        assert admin.post(page("chatmodel", "add"), model_form(slug=slug)).status_code == 302
    house, known = ChatModel.objects.get(slug="house"), ChatModel.objects.get(slug="gpt-4o-house")
    assert (house.context_tokens, house.context_assumed) == (32_768, True)
    assert (known.context_tokens, known.context_assumed) == (128_000, False)
    warning = "context size unknown, taken as 32,768"
    assert sorted(column(admin.get(page("chatmodel")), "state")) == [f"▲ {warning}", "✓ ok"]
    assert warning in admin.get(page("chatmodel", "change", house.pk)).content.decode()
    form = model_form(slug="house", context_assumed="on")
    for context_tokens, assumed in ((32_768, True), (16_000, False)):
        admin.post(page("chatmodel", "change", house.pk), {**form, "context_tokens": context_tokens})
        house.refresh_from_db()
        assert (house.context_tokens, house.context_assumed) == (context_tokens, assumed)
    ChatModel.objects.update(context_assumed=True)
    admin.post(page("chatmodel", "change", house.pk), model_form(slug="house", context_tokens=16_000))
    house.refresh_from_db()
    assert house.context_assumed is False


def test_lessons_are_shown_and_can_be_forgotten(admin: Client, mirror: Upstream) -> None:
    """A route shows what its upstream refused; the action lets it start again, and so does another model's name."""
    model = factories.chat_model("m")
    lessons = {"token_cap_field": "none", "include_usage": False, "refused": {"temperature": 0.9}}
    route = factories.route(model, mirror, learned=lessons)
    text = admin.get(page("chatmodel", "change", model.pk)).content.decode()
    assert "the token cap is sent as none; usage is not asked for; left out: temperature=0.9" in text
    admin.post(page("chatmodel"), select("forget_lessons", model))
    route.refresh_from_db()
    assert route.learned == {}
    Route.objects.update(learned=lessons)
    route.refresh_from_db()
    route.save()
    assert Route.objects.get().learned == lessons
    route.upstream_model = "other"
    route.save()
    assert Route.objects.get().learned == {}
