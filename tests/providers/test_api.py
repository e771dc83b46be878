"""Staff routes of upstreams and keys: the fields of the contract, write-only secrets, and `ok` that clears."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from providers import snapshot
from providers.apps import providers_app
from providers.models import ApiKey, KeyTrouble, Upstream
from tests import factories
from tests.staff import calling, send

pytestmark = pytest.mark.django_db

UPSTREAMS, KEYS = "/api/admin/upstreams/", "/api/admin/keys/"
SECRET = "sk-planted-0123456789abcdef"


@pytest.fixture
def staff(carol: Any) -> Client:
    return calling(carol)


@pytest.fixture
def upstream() -> Upstream:
    return factories.upstream("mirror", kind="openai", base_url="http://api.example.org/v1")


def trouble(key: ApiKey, model: str = "", **values: Any) -> KeyTrouble:
    return KeyTrouble.objects.create(key=key, model=model, status_reason="The upstream is busy.", **values)


@pytest.mark.contract("staff: upstreams")
def test_an_upstream_has_the_fields_of_the_contract(staff: Client) -> None:
    """An upstream has the fields of the contract and its id; a pasted path is removed."""
    body = {
        "slug": "mirror",
        "kind": "openai",
        "base_url": "https://api.example.org/v1/chat/completions",
        "proxy": "socks5://127.0.0.1:1080",
        "headers": {},
        "query": {"api-version": "2024-10-21"},
        "deadlines": {"connect": 5.0, "first": 60.0, "idle": None, "total": None},
        "enabled": True,
    }
    made = send(staff, "POST", UPSTREAMS, body)
    assert made.status_code == 201
    row = Upstream.objects.get()
    assert made.json() == {"id": row.pk, **body, "base_url": "https://api.example.org/v1"}
    assert (row.base_url, row.proxy) == ("https://api.example.org/v1", "socks5://127.0.0.1:1080")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_url": "ftp://api.example.org"}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"kind": "spark"}, "base_url"),
        ({"kind": "spark", "base_url": "ws://10.0.0.1"}, "base_url"),
        ({"proxy": "socks4://p"}, "proxy"),
        ({"kind": "gopher"}, "kind"),
        ({"slug": "a b"}, "slug"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"environment": {}}, "environment"),
    ],
)
def test_bad_upstreams(staff: Client, upstream: Upstream, change: dict[str, Any], field: str) -> None:
    """Addresses are judged together with the kind they are for, and each wrong field is named."""
    response = send(staff, "PATCH", f"{UPSTREAMS}{upstream.pk}/", change)
    assert response.status_code == 400
    assert set(response.json()["error"]["details"]) == {field}


def test_refusals_are_in_the_callers_language(carol: Any, upstream: Upstream) -> None:
    """A refusal is in the language that the caller accepts."""
    texts = []
    for language in ("en", "zh-hans"):
        response = calling(carol).patch(
            f"{UPSTREAMS}{upstream.pk}/", {"base_url": ""}, "application/json", headers={"Accept-Language": language}
        )
        texts.append(response.json()["error"]["message"])
    assert texts[0] == "The request is not valid."
    assert texts[1] not in {texts[0], ""}


def test_a_change_takes_effect_at_once(staff: Client, upstream: Upstream) -> None:
    """This process reads the configuration after a change; other processes follow within seconds."""
    factories.chat_model("m", to=upstream)
    assert providers_app().configuration.models()["m"].available()
    send(staff, "PATCH", f"{UPSTREAMS}{upstream.pk}/", {"enabled": False})
    assert not providers_app().configuration.models()["m"].available()
    assert snapshot.TABLE_SECONDS < 5


def test_deleting_an_upstream(staff: Client, upstream: Upstream) -> None:
    """Its keys and routes go with it, models stay."""
    factories.api_key(upstream)
    factories.chat_model("m", to=upstream)
    assert staff.delete(f"{UPSTREAMS}{upstream.pk}/").status_code == 204
    assert not ApiKey.objects.exists()
    assert providers_app().configuration.models()["m"].routes == ()


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("staff: keys")
def test_a_key_has_the_fields_of_the_contract(staff: Client, upstream: Upstream) -> None:
    """A key has the fields of the contract; its secret is in no response."""
    made = send(staff, "POST", KEYS, {"upstream": "mirror", "secret": SECRET, "max_concurrency": 4})
    assert made.status_code == 201
    key = ApiKey.objects.get()
    assert made.json() == {
        "id": key.pk,
        "upstream": "mirror",
        "last4": "cdef",
        "enabled": True,
        "max_concurrency": 4,
        "status": "ok",
        "status_reason": "",
        "cooldown_until": None,
    }
    assert (key.secret(), key.from_environment) == (SECRET, False)
    responses = [made, staff.get(KEYS), staff.get(f"{KEYS}{key.pk}/"), send(staff, "PATCH", f"{KEYS}{key.pk}/", {})]
    assert not [response for response in responses if SECRET[:-4] in response.content.decode()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"upstream": "mirror"}, "secret"),
        ({"upstream": "mirror", "secret": ""}, "secret"),
        ({"upstream": "mirror", "secret": "sk-\n"}, ""),
        ({"upstream": "mirror", "secret": "钥匙"}, "secret"),
        ({"upstream": "nowhere", "secret": SECRET}, "upstream"),
        ({"secret": SECRET}, "upstream"),
        ({"upstream": "spark", "secret": "key:secret"}, "secret"),
        ({"upstream": "mirror", "secret": SECRET, "max_concurrency": -1}, "max_concurrency"),
        ({"upstream": "mirror", "secret": SECRET, "ciphertext": "x"}, "ciphertext"),
    ],
)
def test_bad_keys(staff: Client, upstream: Upstream, body: dict[str, Any], field: str) -> None:
    """A key that no upstream could take is refused with the name of the field."""
    factories.upstream("spark", kind="spark", base_url="wss://spark.example.org")
    response = send(staff, "POST", KEYS, body)
    if field:
        assert response.status_code == 400
        assert set(response.json()["error"]["details"]) == {field}
    else:
        assert response.status_code == 201  # a line break at the end came with the pasting


def test_the_same_key_twice(staff: Client, upstream: Upstream) -> None:
    """An upstream has a key once; another upstream may have it too."""
    factories.api_key(upstream, SECRET)
    twice = send(staff, "POST", KEYS, {"upstream": "mirror", "secret": SECRET})
    assert (twice.status_code, set(twice.json()["error"]["details"])) == (400, {"secret"})
    factories.upstream("other", kind="openai", base_url="https://b.example/v1")
    assert send(staff, "POST", KEYS, {"upstream": "other", "secret": SECRET}).status_code == 201


def test_the_worst_trouble_is_the_status(staff: Client, upstream: Upstream) -> None:
    """A key's status is the worst of its troubles; an ended cooldown counts as ok."""
    now = timezone.now()
    until = now + timedelta(seconds=90)
    healthy, cooling, out, back = (factories.api_key(upstream) for _n in range(4))
    trouble(cooling, "gpt-4", cooldown_until=until)
    trouble(out, "gpt-4", cooldown_until=until)
    trouble(out, quarantined_at=now)
    trouble(back, cooldown_until=now - timedelta(seconds=1))
    found = {row["id"]: row for row in staff.get(KEYS, headers={"Accept-Language": "en"}).json()}
    assert found[healthy.pk]["status"] == found[back.pk]["status"] == "ok"
    assert (found[cooling.pk]["status"], found[cooling.pk]["status_reason"]) == (
        "cooling",
        "The upstream is busy. (gpt-4)",
    )
    assert timezone.datetime.fromisoformat(found[cooling.pk]["cooldown_until"]) == until
    assert (found[out.pk]["status"], found[out.pk]["cooldown_until"]) == ("quarantined", None)


def test_setting_ok_ends_all_trouble(staff: Client, upstream: Upstream) -> None:
    """PATCH with the status `ok` ends all trouble of the key; no other status can be set."""
    key = factories.api_key(upstream)
    trouble(key, quarantined_at=timezone.now())
    one = f"{KEYS}{key.pk}/"
    refused = send(staff, "PATCH", one, {"status": "cooling"})
    assert (refused.status_code, set(refused.json()["error"]["details"])) == (400, {"status"})
    assert send(staff, "PATCH", one, {"status": "quarantined"}).json()["status"] == "quarantined"
    cleared = send(staff, "PATCH", one, {"status": "ok"})
    assert (cleared.status_code, cleared.json()["status"], cleared.json()["status_reason"]) == (200, "ok", "")
    assert not KeyTrouble.objects.exists()


def test_another_secret(staff: Client, upstream: Upstream) -> None:
    """A new secret begins without trouble, and stays when the environment drops the old one."""
    key = factories.api_key(upstream, from_environment=True)
    trouble(key, quarantined_at=timezone.now())
    response = send(staff, "PATCH", f"{KEYS}{key.pk}/", {"secret": SECRET})
    assert (response.status_code, response.json()["status"], response.json()["last4"]) == (200, "ok", "cdef")
    key.refresh_from_db()
    assert (key.secret(), key.from_environment) == (SECRET, False)


def test_a_key_cannot_be_moved(staff: Client, upstream: Upstream) -> None:
    """Moving a key is refused, because another host would then receive its secret."""
    key = factories.api_key(upstream, SECRET)
    factories.upstream("other", kind="openai", base_url="https://b.example/v1")
    response = send(staff, "PATCH", f"{KEYS}{key.pk}/", {"upstream": "other"})
    assert (response.status_code, set(response.json()["error"]["details"])) == (400, {"upstream"})
    assert send(staff, "PATCH", f"{KEYS}{key.pk}/", {"upstream": "mirror"}).status_code == 200


def test_a_row_can_be_sent_back_as_it_was_read(staff: Client, upstream: Upstream) -> None:
    """Read-only fields are ignored in a request."""
    key = factories.api_key(upstream)
    row = staff.get(f"{KEYS}{key.pk}/").json()
    assert send(staff, "PATCH", f"{KEYS}{key.pk}/", {**row, "last4": "xxxx"}).json()["last4"] == key.last4


def test_a_key_that_cannot_be_decrypted_is_quarantined(staff: Client, upstream: Upstream) -> None:
    """A key whose encryption key was lost is shown as quarantined."""
    key = factories.api_key(upstream)
    ApiKey.objects.update(ciphertext="gAAAA")
    row = staff.get(f"{KEYS}{key.pk}/").json()
    assert row["status"] == "quarantined"
    assert row["status_reason"]
