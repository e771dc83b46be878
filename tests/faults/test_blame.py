"""No request takes a model away from others; real faults are found.

Each trigger is a model with an upstream of its own, with 1, 2 and 12 keys: it fails for prompts that begin with
"trigger", and completes all others. To add a trigger, add a scenario of the fake vendor to `TRIGGERS`.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import offers, servers
from tests.faults import pairs
from tests.product import ApiUser, Event, Product, text_of
from tests.scenarios import PLAIN
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

POOLS = (1, 2, 12)
MAX_CALLS = 4
# Seconds within which a fault is found, and within which another user gets a completion: fewer than a probe may take,
# and more than a process of a crowded machine stands still.
FOUND_SECONDS, AT_ONCE_SECONDS = 30, 9
# Seconds that a request waits for a probe: longer than in use, because the fake vendor may stand still too.
PATIENCE = "providers.health.RECOVERY_SECONDS=5"
# What a broken vendor sends, whatever the prompt.
BROKEN = {"only 500": "http_500", "a page": "html_200", "an empty success": "body:200:", "an empty stream": "eof"}


def says(status: int, message: str, **error: str) -> str:
    """Return the scenario of a refusal in OpenAI's envelope."""
    return f"body:{status}:" + json.dumps({"error": {"message": message, **error}})


# Refusals of the request itself, with the code that the user gets: one call each, and nothing follows for others.
REFUSED: Mapping[str, tuple[str, str]] = {
    "403 moderation": (says(403, "Your input was flagged by our moderation"), "content_blocked"),
    "403 guardrail": (says(403, "The guardrail rejected this input"), "content_blocked"),
    "403 Chinese": (says(403, "您的输入包含敏感信息"), "content_blocked"),
    "500 moderation": (says(500, "bad response status code 400 (Content Exists Risk)"), "content_blocked"),
    "200 moderation": ('body:200:{"base_resp":{"status_code":1026,"status_msg":"new_sensitive"}}', "content_blocked"),
    "404 tools": (says(404, "No endpoints found that support tool use"), "upstream_error"),
    "429 too large": (says(429, "Request too large for m: Limit 10, Requested 99", type="tokens"), "prompt_too_long"),
    "500 too long": (says(500, "This model's maximum context length is 9 tokens"), "prompt_too_long"),
    "too long in a field": ("error_field", "prompt_too_long"),
    "400 echo": (says(400, "Invalid content: rate limit exceeded, please try again in 300s"), "upstream_error"),
}
TRIGGERS: Mapping[str, str] = {
    "empty by stop": "empty",
    "white space only": "whitespace",
    "reasoning only": "reasoning_only",
    "403 firewall": "body:403:<html>Request blocked by the web application firewall</html>",
    "200 page": "html_200",
    "500": "http_500",
    "418": says(418, "I am a teapot"),
    "401": "http_401:invalid_api_key",
    "400 money echo": says(400, "Invalid content: insufficient balance"),
    "broken stream": "eof",
    **{name: does for name, (does, _code) in REFUSED.items()},
}
# Faults that concern all requests: the status of the keys, and what the log's alert is about.
REAL: Mapping[str, tuple[str, str]] = {
    "dead key": ("http_401:invalid_api_key", "quarantined"),
    "empty balance": ("http_402:insufficient_quota", "quarantined"),
    "no access": ("http_403", "cooling"),
    "down": ("http_500", "ok"),
    "hangs up": ("eof", "ok"),
}


def named(name: str, keys: int = 1) -> str:
    return f"{name}-{keys}".replace(" ", "-")


@dataclass
class Scene:
    product: Product
    fake: FakeOpenAI
    keys: Mapping[str, list[str]]
    mallory: ApiUser
    alice: ApiUser

    def calls(self, model: str, prompt: str) -> int:
        """Return how many requests with this prompt the keys of a model got."""
        return sum(asked.key in self.keys[model] for asked in self.fake.asked(prompt))

    def statuses(self, model: str) -> list[str]:
        rows = self.product.admin().client.get("/api/admin/keys/").json()
        return [row["status"] for row in rows if row["upstream"] == model]

    def circuits(self) -> dict[str, str | None]:
        """Return until when the upstreams with a stored circuit are left out."""
        return dict(
            self.product.sql(
                "SELECT slug, providers_upstreamtrouble.cooldown_until FROM providers_upstreamtrouble "
                "JOIN providers_upstream ON providers_upstream.id = upstream_id"
            )
        )

    def alerts(self, model: str) -> int:
        lines = [line for line in self.product.output.splitlines() if "upstream needs attention" in line]
        return sum(json.loads(line)["upstream"] == model for line in lines)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scene]:
    """A product that offers each trigger with each number of keys, and each real fault."""
    with ExitStack() as stack:
        fake = stack.enter_context(FakeOpenAI.in_thread())
        variables = {**offers.environment(), "IMPATIENCE": PATIENCE}
        product = stack.enter_context(Product(tmp_path_factory.mktemp("blame"), **variables))
        keys = {
            named(name, count): [fake.key(f"triggered:{does}") for _key in range(count)]
            for name, does in TRIGGERS.items()
            for count in POOLS
        }
        keys |= {named(name): [fake.key(does)] for name, (does, _status) in REAL.items()}
        keys |= {named(name, 12): [fake.key(does) for _key in range(12)] for name, does in BROKEN.items()}
        with offers.database(product, django_db_blocker):
            for model, secrets in keys.items():
                offers.offer(model, "openai", fake.base_url, *secrets, upstream_model="m")
        alice = product.register("alice")
        offers.wait_for(alice, named("an empty stream", 12))
        yield Scene(product, fake, keys, product.register("mallory"), alice)


@dataclass(frozen=True)
class Attack:
    """How mallory's requests ended, and alice's right afterwards, with the seconds that each of hers took."""

    mallory: Mapping[str, list[Event]]
    alice: Mapping[str, tuple[float, list[Event]]]


@pytest.fixture(scope="module")
def attack(scene: Scene) -> Attack:
    """Mallory sends every trigger at once; then alice sends a plain prompt to each model."""
    models = [named(name, count) for name in TRIGGERS for count in POOLS]
    failed = offers.ask_together(scene.mallory, models, "trigger")
    answered = {}
    for model in models:
        began = time.monotonic()
        events = scene.alice.answer("Hello", model)
        answered[model] = (time.monotonic() - began, events)
    return Attack(failed, answered)


@pytest.mark.parametrize("count", POOLS)
@pytest.mark.parametrize("name", TRIGGERS)
def test_another_user_is_answered_at_once(scene: Scene, attack: Attack, name: str, count: int) -> None:
    """After a request that fails for its own content, all other users get completions as before."""
    model = named(name, count)
    assert 1 <= scene.calls(model, "trigger") <= MAX_CALLS
    seconds, events = attack.alice[model]
    assert (events[-1].name, text_of(events)) == ("done", PLAIN)
    assert seconds < AT_ONCE_SECONDS
    assert attack.mallory[model][-1].data["charge"]["amount"] == (name == "reasoning only")
    assert "quarantined" not in scene.statuses(model)
    assert scene.circuits().get(model) is None
    assert scene.alerts(model) == 0


@pytest.mark.parametrize("count", POOLS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_request_concerns_only_its_user(scene: Scene, attack: Attack, name: str, count: int) -> None:
    """A request that is at fault itself costs one call, is refused in the right code, and accuses no key."""
    model = named(name, count)
    assert scene.calls(model, "trigger") == 1
    assert attack.mallory[model][-1].data["code"] == REFUSED[name][1]
    assert scene.statuses(model) == ["ok"] * count
    accused = scene.product.sql(
        "SELECT slug FROM providers_keytrouble JOIN providers_apikey ON providers_apikey.id = key_id "
        "JOIN providers_upstream ON providers_upstream.id = upstream_id"
    )
    assert (model,) not in [tuple(row) for row in accused]


@pytest.mark.parametrize("name", REAL)
def test_a_real_fault_is_found(scene: Scene, name: str) -> None:
    """A fault that a probe meets too is found within 30 seconds, with one alert for all requests."""
    model, status = named(name), REAL[name][1]
    assert scene.mallory.answer("Hello", model)[-1].name == "error"
    deadline = time.monotonic() + FOUND_SECONDS
    while not scene.alerts(model):
        assert time.monotonic() < deadline, "the fault was not found"
        time.sleep(0.1)
    assert scene.statuses(model) == [status]
    assert (model in scene.circuits()) == (status == "ok")
    refused = scene.alice.client.post("/api/chat/", json={"model": model, "prompt": "Hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert scene.alerts(model) == 1
    assert scene.calls(model, "Hello") <= 3


@pytest.mark.parametrize("name", BROKEN)
def test_twelve_broken_keys(scene: Scene, name: str) -> None:
    """With 12 keys and every attempt broken, 4 calls are made and 30 s waited at most; healed, users wait no more."""
    model, prompt, began = named(name, 12), f"storm {name}", time.monotonic()
    last = scene.mallory.answer(prompt, model)[-1].data
    assert (last["code"], last["charge"]["amount"]) == ("upstream_error", 0)
    assert time.monotonic() - began < 30 + AT_ONCE_SECONDS
    assert scene.calls(model, prompt) <= MAX_CALLS
    assert sum(status != "ok" for status in scene.statuses(model)) <= 2
    scene.fake.keys.update(dict.fromkeys(scene.keys[model], "plain"))
    began = time.monotonic()
    assert scene.alice.answer("Hello", model)[-1].name == "done"
    assert time.monotonic() - began < AT_ONCE_SECONDS


def test_two_processes_share_verdicts(postgres: servers.Postgres, tmp_path: Path, django_db_blocker: Any) -> None:
    """What a probe of one process decides holds in the other one, whose own probe heals both again."""
    with FakeOpenAI.in_thread() as fake:
        secret = fake.key("http_500")
        variables = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEYS": secret, "OPENAI_MODELS": "m"}
        with pairs.started(postgres, tmp_path, **variables, IMPATIENCE=PATIENCE) as pair:
            assert pair.alice.answer("Hello", "m")[-1].name == "error"
            deadline = time.monotonic() + FOUND_SECONDS
            while pair.alice_there.client.get("/api/models/").json()[0]["available"]:
                assert time.monotonic() < deadline, "the verdict is not shared"
                time.sleep(0.1)
            fake.keys[secret] = "plain"
            began = time.monotonic()
            assert pair.alice_there.answer("Hello", "m")[-1].name == "done"
            assert time.monotonic() - began < AT_ONCE_SECONDS
            deadline = time.monotonic() + FOUND_SECONDS
            while not pair.alice.client.get("/api/models/").json()[0]["available"]:
                assert time.monotonic() < deadline, "the recovery is not shared"
                time.sleep(0.1)
            asked = Counter(request.body["messages"][-1]["content"] for request in fake.requests)
            assert asked["Hi"] <= 4
