"""All vendors at one started product: a refusal of each kind, who learns what of it, and how soon a stop is felt.

Every row of the error tables is in `test_error_tables`.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from providers.models import ApiKey, KeyTrouble
from tests import offers
from tests.product import ApiUser, Event, Product, text_of
from tests.readers import until_below, wait_until
from tests.scenarios import PLAIN
from tests.spark import BAD_SIGNATURE, FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.upstreams import FakeOpenAI
from tests.zhipu import FakeZhipu

pytestmark = pytest.mark.server

THREE = "one two three "
# The best of several tries: what a loaded machine adds is not ours.
CLOSED_WITHIN_SECONDS = 0.05


@dataclass(frozen=True)
class Row:
    """An act of an upstream: the generation's end, the vendor's code, the text that stays, the key's health."""

    kind: str
    does: str
    ending: str
    vendor_code: str = ""
    content: str = ""
    health: str = ""

    @property
    def charge(self) -> int:
        return int(self.ending.startswith("done"))


FAILED, QUARANTINED = "error upstream_error", "quarantined"
ROWS = {
    "bad-key": Row("openai", "http_401:invalid_api_key", FAILED, "invalid_api_key", health=QUARANTINED),
    "limited": Row("openai", "hinted:429:60:rate_limit_exceeded", FAILED, "rate_limit_exceeded", health="cooling"),
    "no-money": Row("openai", "http_429:insufficient_quota", FAILED, "insufficient_quota", health=QUARANTINED),
    "too-long": Row("openai", "http_400:context_length_exceeded", "error prompt_too_long", "context_length_exceeded"),
    "blocked": Row("openai", "http_400:content_policy_violation", "error content_blocked", "content_policy_violation"),
    "misconfigured": Row("openai", "body:404:<html>sk-leak</html>", FAILED),
    "once-broken": Row("openai", "flaky:1:http_500", "done stop", content=PLAIN),
    "gateway": Row("openai", "body:502:<html>sk-leak</html>", FAILED),
    "error-after-text": Row("openai", "error_mid_stream", FAILED, "503", THREE),
    "spark-volume": Row("spark", "code:11200", FAILED, "11200", health=QUARANTINED),
    "spark-signature": Row("spark", f"http:401:{BAD_SIGNATURE}", FAILED, "bad_signature", health=QUARANTINED),
    "spark-blocked": Row("spark", "code:10013", "error content_blocked", "10013"),
    "spark-withdrawn": Row("spark", "withdraw_10014", "done content_filter"),
    "spark-closed": Row("spark", "late_10019", "done content_filter", content=PLAIN),
    "spark-http-volume": Row("spark_http", "code_body:11201", FAILED, "11201", health="cooling"),
    "zhipu-arrears": Row("zhipu", "error:1113", FAILED, "1113", health=QUARANTINED),
    "zhipu-often": Row("zhipu", "error:1303", FAILED, "1303", health="cooling"),
    "zhipu-withdrawn": Row("zhipu", "reason:sensitive", "done content_filter"),
    "zhipu-v3-blocked": Row("zhipu_v3", "error_body:1301", "error content_blocked", "1301"),
    "zhipu-v3-withdrawn": Row("zhipu_v3", "interrupted_mid", "done content_filter"),
    "zhipu-v3-key": Row("zhipu_v3", "error_json:1000", FAILED, "1000", health=QUARANTINED),
}
# What the fakes hide in keys, tokens, signatures and bodies.
PLANTED = ("sk-planted", "planted00", "secret-of-", "sk-leak", "leak ", "YXBpX2tleT0i", "hmac-sha256", "authorization=")
PLANTED += ("eyJhbGciOiJIUzI1NiIsInNpZ25f", "reset at", "系统检测到", "HMAC signature")
STOPPED = {
    "hang": "hang",
    "silent": "hang_after_connect",
    "mute": "no_close_reply",
    "after-text": "hang_mid",
    "mute-after-text": "no_close_reply:3",
}


@dataclass
class Scene:
    """A product connected to a fake of each protocol, and a user who asks."""

    product: Product
    api_user: ApiUser
    fakes: Mapping[str, Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scene]:
    """A product that offers each row, and each way in which a WebSocket can be stopped, as a model."""
    with ExitStack() as stack:
        kinds = {"openai": FakeOpenAI, "spark": FakeSpark, "spark_http": FakeSparkHTTP, "zhipu": FakeZhipu}
        fakes: dict[str, Any] = {kind: stack.enter_context(fake.in_thread()) for kind, fake in kinds.items()}
        fakes["zhipu_v3"] = fakes["zhipu"]
        product = stack.enter_context(Product(tmp_path_factory.mktemp("vendors"), **offers.environment()))
        with offers.database(product, django_db_blocker):
            for name, row in ROWS.items():
                fake = fakes[row.kind]
                base_url = fake.v3_url if row.kind == "zhipu_v3" else fake.base_url
                offers.offer(name, row.kind, base_url, fake.key(row.does))
            for name, does in STOPPED.items():
                offers.offer(f"stop-{name}", "spark", fakes["spark"].base_url, fakes["spark"].key(does))
        api_user = product.register("alice")
        offers.wait_for(api_user, f"stop-{name}")
        yield Scene(product, api_user, fakes)


@pytest.fixture(scope="module")
def answers(scene: Scene) -> Mapping[str, list[Event]]:
    """Every row, asked."""
    return offers.ask_together(scene.api_user, list(ROWS))


@pytest.fixture(scope="module")
def health(scene: Scene, answers: Mapping[str, list[Event]], django_db_blocker: Any) -> Mapping[str, str]:
    """How the keys are once the probes have decided, by the row."""
    expected, deadline = {name: row.health for name, row in ROWS.items() if row.health}, time.monotonic() + 60
    with offers.database(scene.product, django_db_blocker):
        while True:
            rows = KeyTrouble.objects.select_related("key__upstream")
            # A rest may be over before all others are decided.
            found = {row.key.upstream.slug: row.status.replace("probing", "cooling") for row in rows}
            if found == expected or time.monotonic() > deadline:
                return found
            time.sleep(0.1)


@pytest.mark.parametrize("name", ROWS)
def test_refusals(scene: Scene, answers: Mapping[str, list[Event]], health: Mapping[str, str], name: str) -> None:
    """The stream, the stored generation, the charge and the key's health are what the tables say."""
    row, events = ROWS[name], answers[name]
    last = events[-1].data
    told = f"{events[-1].name} {last['finish_reason' if events[-1].name == 'done' else 'code']}"
    assert (told, last.get("details", {}).get("vendor_code", "")) == (row.ending, row.vendor_code)
    assert (text_of(events), last["charge"]["amount"]) == (row.content, row.charge)
    stored = scene.api_user.generation(events[0].data["generation"])
    assert (stored["content"], stored["charge"]) == (row.content, last["charge"])
    assert (stored["error"] or {}).get("details") == last.get("details")
    assert health.get(name, "") == row.health


def test_only_answers_are_charged(scene: Scene, answers: Mapping[str, list[Event]]) -> None:
    """The day's count is the sum of what the events said."""
    assert scene.api_user.quota()["used_today"] == sum(row.charge for row in ROWS.values())


# --- who learns what -------------------------------------------------------------------------------------------------


def planted_in(scene: Scene, text: str) -> list[str]:
    """Return what a reader of this text would learn of keys, signatures, the vendors' words and addresses."""
    addresses = {f"127.0.0.1:{fake.port}" for fake in scene.fakes.values()}
    return [secret for secret in (*PLANTED, *addresses) if secret in text]


def columns(product: Product) -> Iterator[tuple[str, str]]:
    """Yield each text in the database with its place; leaves out where keys (sealed) and addresses are meant to be."""
    kept = {"providers_apikey.ciphertext", "providers_upstream.base_url", "providers_upstream.environment"}
    with sqlite3.connect(product.var_dir / "rivulet.sqlite3") as rows:
        for (table,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            cursor = rows.execute(f'SELECT * FROM "{table}"')
            names = [f"{table}.{column[0]}" for column in cursor.description]
            for row in cursor:
                yield from ((name, str(value)) for name, value in zip(names, row, strict=True) if name not in kept)


def test_no_secret_reaches_readers_api_or_metrics(scene: Scene, answers: Mapping[str, list[Event]]) -> None:
    """Readers, the API and the metrics tell nothing of keys, tokens, signatures, addresses or the vendors' words."""
    said = {name: f"{events}" for name, events in answers.items()}
    said |= {
        f"row {name}": f"{scene.api_user.generation(events[0].data['generation'])}" for name, events in answers.items()
    }
    said["metrics"] = scene.product.client().get("/metrics").text
    assert "rivulet_upstream_alerts_total" in said["metrics"]
    assert {name: found for name, text in said.items() if (found := planted_in(scene, text))} == {}


def test_the_database(scene: Scene, answers: Mapping[str, list[Event]]) -> None:
    """Nor do the rows of the database, reasons and errors among them."""
    assert {place: found for place, text in columns(scene.product) if (found := planted_in(scene, text))} == {}


def test_the_admin_pages(scene: Scene, answers: Mapping[str, list[Event]], django_db_blocker: Any) -> None:
    """Nor do the pages of failing keys, and trying such a key by hand."""
    with offers.database(scene.product, django_db_blocker):
        failing = dict(ApiKey.objects.exclude(troubles=None).values_list("upstream__slug", "pk"))
    browser = scene.product.browser("admin")
    listed = browser.get("/admin/providers/apikey/")
    assert "quarantined since" in listed.text
    pages = [listed, *(browser.get(f"/admin/providers/apikey/{key}/change/") for key in failing.values())]
    tried = [str(failing[name]) for name in ("bad-key", "spark-signature", "zhipu-arrears")]
    form = {"action": "try_now", "_selected_action": tried}
    headers = {"Referer": scene.product.url, "X-CSRFToken": browser.cookies["csrftoken"]}
    pages.append(browser.post("/admin/providers/apikey/", data=form, headers=headers))
    assert "invalid_api_key" in pages[-1].text
    assert {page.status_code for page in pages} == {200}
    assert [(str(page.url), found) for page in pages if (found := planted_in(scene, page.text))] == []


@pytest.mark.contract("logs say nothing")
def test_the_log(scene: Scene, answers: Mapping[str, list[Event]]) -> None:
    """Nor does the log, which knows the vendors' codes."""
    wait_until(lambda: '"vendor_code":"11200"' in scene.product.output)
    assert planted_in(scene, scene.product.output) == []


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STOPPED)
def test_stopping_a_websocket(scene: Scene, name: str) -> None:
    """`stop` closes the WebSocket within 50 ms, before its handshake is answered too, and whatever the peer answers."""
    delays: list[float] = []
    for _ in until_below(CLOSED_WITHIN_SECONDS, delays):
        generation = scene.api_user.ask("Hello", f"stop-{name}")["id"]
        asked = asked_with(scene, STOPPED[name])
        since = time.monotonic()
        row = scene.api_user.stop(generation)
        delays.append(closed_at(asked) - since)
        text = "" if "after-text" not in name else row["content"]
        assert (row["status"], row["finish_reason"], row["content"]) == ("completed", "cancelled", text)
        assert row["charge"]["amount"] == int(bool(text))
    assert min(delays) < CLOSED_WITHIN_SECONDS


def asked_with(scene: Scene, does: str) -> Any:
    """Return the running request of that scenario, when all that it says before it falls silent has been read."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for request in scene.fakes["spark"].requests:
            if request.scenario == does and not request.closed_by_peer_at and not request.ended_at:
                time.sleep(0.2)
                return request
        time.sleep(0.005)
    raise AssertionError("the upstream was not asked")


def closed_at(request: Any) -> float:
    """Return when the product closed the connection."""
    deadline = time.monotonic() + 60
    while request.closed_by_peer_at is None:
        assert time.monotonic() < deadline, "the connection was not closed"
        time.sleep(0.001)
    return float(request.closed_by_peer_at)
