"""Staff routes of upstreams and keys: exactly the fields of the contract, secrets that never come out, `ok` clears."""

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


def test_it_works(staff: Client) -> None:
    """An upstream has the fields of the contract and its id; a pasted path is taken off."""
    body = {
        "slug": "mirror",
        "kind": "openai",
        "base_url": "https://api.example.org/v1/chat/completions",
        "proxy": "socks5://127.0.0.1:1080",
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
    answer = send(staff, "PATCH", f"{UPSTREAMS}{upstream.pk}/", change)
    assert answer.status_code == 400
    assert set(answer.json()["error"]["details"]) == {field}


def test_messages_in_both_languages(carol: Any, upstream: Upstream) -> None:
    """What is wrong is said in the caller's language."""
    said = []
    for language in ("en", "zh-hans"):
        answer = calling(carol).patch(
            f"{UPSTREAMS}{upstream.pk}/", {"base_url": ""}, "application/json", headers={"Accept-Language": language}
        )
        said.append(answer.json()["error"]["message"])
    assert said[0] == "The request is not valid."
    assert said[1] not in {said[0], ""}


def test_a_change_is_seen_at_once(staff: Client, upstream: Upstream) -> None:
    """What routing has read before is forgotten with the change; other processes read anew within seconds."""
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


def test_keys(staff: Client, upstream: Upstream) -> None:
    """A key has the fields of the contract; its secret is stored encrypted and in no answer."""
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
    answers = [made, staff.get(KEYS), staff.get(f"{KEYS}{key.pk}/"), send(staff, "PATCH", f"{KEYS}{key.pk}/", {})]
    assert not [answer for answer in answers if SECRET[:-4] in answer.content.decode()]


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
    """What no upstream could take is refused, naming the field."""
    factories.upstream("spark", kind="spark", base_url="wss://spark.example.org")
    answer = send(staff, "POST", KEYS, body)
    if field:
        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {field}
    else:
        assert answer.status_code == 201  # a line break at the end came with the pasting


def test_the_same_key_twice(staff: Client, upstream: Upstream) -> None:
    """An upstream has a key once; another upstream may have it too."""
    factories.api_key(upstream, SECRET)
    twice = send(staff, "POST", KEYS, {"upstream": "mirror", "secret": SECRET})
    assert (twice.status_code, set(twice.json()["error"]["details"])) == (400, {"secret"})
    factories.upstream("other", kind="openai", base_url="https://b.example/v1")
    assert send(staff, "POST", KEYS, {"upstream": "other", "secret": SECRET}).status_code == 201


def test_states(staff: Client, upstream: Upstream) -> None:
    """A key's state is the worst of its troubles, with reason, model and time; what is over counts as ok."""
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


def test_clearing(staff: Client, upstream: Upstream) -> None:
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
    """A new secret begins without the old one's troubles, and stays when the environment forgets the old one."""
    key = factories.api_key(upstream, from_environment=True)
    trouble(key, quarantined_at=timezone.now())
    answer = send(staff, "PATCH", f"{KEYS}{key.pk}/", {"secret": SECRET})
    assert (answer.status_code, answer.json()["status"], answer.json()["last4"]) == (200, "ok", "cdef")
    key.refresh_from_db()
    assert (key.secret(), key.from_environment) == (SECRET, False)


def test_keys_stay_where_they_are(staff: Client, upstream: Upstream) -> None:
    """A key cannot be moved to another upstream, which would show its secret to another host."""
    key = factories.api_key(upstream, SECRET)
    factories.upstream("other", kind="openai", base_url="https://b.example/v1")
    answer = send(staff, "PATCH", f"{KEYS}{key.pk}/", {"upstream": "other"})
    assert (answer.status_code, set(answer.json()["error"]["details"])) == (400, {"upstream"})
    assert send(staff, "PATCH", f"{KEYS}{key.pk}/", {"upstream": "mirror"}).status_code == 200


def test_what_was_read_can_be_sent_back(staff: Client, upstream: Upstream) -> None:
    """Fields that cannot be written are let pass, so that a row can be sent as it was read."""
    key = factories.api_key(upstream)
    row = staff.get(f"{KEYS}{key.pk}/").json()
    assert send(staff, "PATCH", f"{KEYS}{key.pk}/", {**row, "last4": "xxxx"}).json()["last4"] == key.last4


def test_keys_that_no_longer_open(staff: Client, upstream: Upstream) -> None:
    """A key whose encryption key was lost says so instead of looking well."""
    key = factories.api_key(upstream)
    ApiKey.objects.update(ciphertext="gAAAA")
    row = staff.get(f"{KEYS}{key.pk}/").json()
    assert row["status"] == "quarantined"
    assert row["status_reason"]
