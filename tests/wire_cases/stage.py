"""Plays cases to the product: each through each surface, with a model and an upstream of its own."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import transaction

from quotas.models import Quota, QuotaModel
from tests import factories, offers
from tests.product import ApiUser, Product, read_events, text_of
from tests.wire_cases.shapes import OFFERED, PLAIN, TRIGGER, WORKS, Case, Surface
from tests.wire_cases.vendor import GOOD_FRAMES, Script, SparkVendor, Vendor

# How many prompts are open at a time.
AT_ONCE = 12
# Seconds within which the verdicts about keys are there.
SETTLED_SECONDS = 60
# Seconds within which another user gets a completion from a crowded test machine.
AT_ONCE_SECONDS = 25
# The vendors' processes may stand still between a finish reason and what follows it. The long run has all clocks as
# they are shipped.
IMPATIENCE = {} if os.environ.get("SOAK") else {"IMPATIENCE": "providers.wire.openai.adapter.TERMINATOR_S=60"}
# The statuses of keys, the worst last.
BAD = ("ok", "cooling", "quarantined")
# The errors of /v1: status and code.
CODES = {
    (400, "content_policy_violation"): "content_blocked",
    (400, "context_length_exceeded"): "prompt_too_long",
    (400, None): "invalid_request",
    (502, "server_error"): "upstream_error",
    (503, "server_error"): "model_unavailable",
    (504, "server_error"): "upstream_timeout",
}


@dataclass
class Seen:
    """The outcome of one case on one surface; `other` is what another user got right afterwards."""

    text: str = ""
    reasoning: str = ""
    ends: str = ""
    param: str | None = None
    usage: tuple[int, int] | None = None
    estimated: bool = False
    charge: int | None = None
    tools: list[dict[str, Any]] = field(default_factory=list)
    first_text_s: float = 0.0
    end_s: float = 0.0
    calls: int = 0
    accused_asked: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    keys: tuple[str, ...] = ()
    other: str = ""
    other_s: float = 0.0


@dataclass(frozen=True)
class Play:
    """A case on a surface, and its model."""

    case: Case
    surface: Surface
    model: str
    # Set when the reader has the text; a reader of a whole response gets none before its end.
    read: threading.Event = field(default_factory=threading.Event, compare=False)


Seens = Mapping[tuple[str, Surface], Seen]


def plays(cases: Sequence[Case]) -> list[Play]:
    """Return the plays of all cases; the longest come first."""
    numbered = enumerate((case, surface) for case in cases for surface in case.surfaces)
    found = [Play(case, surface, f"case{number}") for number, (case, surface) in numbered]
    return sorted(found, key=lambda play: -sum(pause for reply in play.case.sends for pause, _piece in reply.pieces))


def params(cases: Sequence[Case]) -> list[Any]:
    """Return the parameters of a test for each case on each surface."""
    return [
        pytest.param(case, surface, id=f"{case.name}-{surface}", marks=[pytest.mark.soak] if case.soak else [])
        for case in cases
        for surface in case.surfaces
    ]


@contextmanager
def outcomes(folder: Path, blocker: Any, cases: Sequence[Case]) -> Iterator[Seens]:
    """Play all cases to a product of their own; yield what came of them."""
    with (
        Vendor.in_thread() as vendor,
        SparkVendor.in_thread() as spark,
        Product(folder, **offers.environment(), **IMPATIENCE) as product,
    ):
        what = plays(cases)
        with offers.database(product, blocker):
            for play in what:
                offer(play, vendor, spark)
        mallory, alice = product.register("mallory"), product.register("alice")
        offers.wait_for(alice, what[-1].model)
        keys = Keys(product)
        found = asyncio.run(_play_all(what, mallory, alice))
        keys.settle({play.model: play.case.keys for play in what})
        for play in what:
            asked = vendor.asked(play.model) + spark.asked(play.model)
            found[play.model].calls = len(asked)
            found[play.model].accused_asked = vendor.accused_asked(play.model) + spark.accused_asked(play.model)
            found[play.model].sent = asked[0].body.get("messages", [])
            found[play.model].keys = keys.of(play.model)
        _note_rows(product, mallory, found)
        yield {(play.case.name, play.surface): found[play.model] for play in what}


@transaction.atomic
def offer(play: Play, vendor: Vendor, spark: SparkVendor) -> None:
    """Offer the model of a case, with its upstreams and keys, at once; within a `database` block."""
    case = play.case
    model = factories.chat_model(play.model, parameters=dict(case.parameters))
    QuotaModel.objects.create(quota=Quota.objects.get(slug="standard"), model=model)
    server: Any = spark if case.kind == "spark" else vendor
    plain = GOOD_FRAMES if case.kind == "spark" else PLAIN
    scripts = [Script(case, plain, read=play.read)]
    if play.surface == "whole":
        play.read.set()
    if case.second_route:
        scripts.append(Script(Case("second route", [plain]), plain))
    for place, script in enumerate(scripts):
        name = f"{play.model}-{place}"
        server.scripts[name] = script
        clocks = {f"{clock}_seconds": seconds for clock, seconds in case.clocks.items()}
        address = f"{server.origin}/{name}/v1"
        # The second is reached as another host, because one host is one vendor.
        upstream = factories.upstream(
            name, kind=case.kind, base_url=address.replace("127.0.0.1", "localhost") if place else address, **clocks
        )
        for number in range(case.pool):
            factories.api_key(upstream, spark.key("") if server is spark else f"sk{name}n{number}.0123456789abcdef")
        factories.route(model, upstream, upstream_model="m", priority=place)


class Keys:
    """The worst status that each key had so far: a short cooldown ends before all cases are played, its row stays."""

    def __init__(self, product: Product) -> None:
        self._product, self._client = product, product.admin().client
        self._worst: dict[str, dict[int, str]] = {}

    def look(self) -> None:
        """Note how the keys are now, and whose cooldown has ended."""
        cooled = "SELECT key_id FROM providers_keytrouble WHERE cooldown_until IS NOT NULL"
        ended = {row[0] for row in self._product.sql(cooled)}
        for row in self._client.get("/api/admin/keys/").json():
            theirs = self._worst.setdefault(row["upstream"].rpartition("-")[0], {})
            known = (row["status"], "cooling" if row["id"] in ended else "ok", theirs.get(row["id"], "ok"))
            theirs[row["id"]] = max(known, key=BAD.index)

    def settle(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Wait until the keys are as the cases want them, or for a while."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while self.look() or any(self.of(model) != keys for model, keys in wanted.items()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.3)

    def of(self, model: str) -> tuple[str, ...]:
        """Return the statuses of a model's keys that are not `ok`."""
        return tuple(sorted(status for status in self._worst.get(model, {}).values() if status != "ok"))


async def _play_all(what: Sequence[Play], mallory: ApiUser, alice: ApiUser) -> dict[str, Seen]:
    free = asyncio.Semaphore(AT_ONCE)

    async def one(play: Play) -> Seen:
        async with free:
            seen = Seen()
            began = time.monotonic()
            await (_chat if play.surface == "chat" else _program)(play, mallory, seen, began)
            seen.end_s = time.monotonic() - began
            other = Seen()
            await _chat(Play(Case("", []), "chat", play.model), alice, other, began, "Hello")
            seen.other = other.text or other.ends
            seen.other_s = time.monotonic() - began - seen.end_s
            return seen

    found = await asyncio.gather(*map(one, what))
    return dict(zip([play.model for play in what], found, strict=True))


async def _post(
    play: Play, user: ApiUser, url: str, content: Mapping[str, Any], seen: Seen, began: float
) -> httpx.Response:
    """Post, read the response to its end, and note when the text began."""
    headers = {"Authorization": f"Bearer {user.access}", "Accept": "text/event-stream"}
    data = b""
    async with (
        httpx.AsyncClient(
            base_url=user.product.url, headers=headers, timeout=120, trust_env=False, verify=False
        ) as client,
        client.stream("POST", url, json={"model": play.model, **content}) as response,
    ):
        async for piece in response.aiter_bytes():
            data += piece
            if not seen.first_text_s and play.case.text and play.case.text.encode() in data[-2000:]:
                seen.first_text_s = time.monotonic() - began
                play.read.set()
    return httpx.Response(response.status_code, headers={"Content-Type": "text/event-stream"}, content=data)


async def _chat(play: Play, user: ApiUser, seen: Seen, began: float, prompt: str = TRIGGER) -> None:
    content = {"prompt": prompt, **play.case.asks}
    if play.case.fits:
        first = await _post(play, user, "/api/chat/", {"prompt": "Hello"}, seen, began)
        content["conversation"] = next(read_events(first)).data["conversation"]
    response = await _post(play, user, "/api/chat/", content, seen, began)
    if response.status_code != 200:
        seen.ends = response.json()["error"]["code"]
        return
    events = list(read_events(response))
    seen.text = text_of(events)
    for event in events:
        if event.name == "reasoning":
            seen.reasoning += event.data["content"]
        elif event.name == "reset":
            seen.reasoning = event.data["reasoning"]
    last = events[-1].data
    seen.ends = last["finish_reason"] if events[-1].name == "done" else last["code"]
    if events[-1].name == "done":
        seen.usage = last["usage"]["input_tokens"], last["usage"]["output_tokens"]
    else:
        seen.param = last.get("details", {}).get("param")


async def _program(play: Play, user: ApiUser, seen: Seen, began: float) -> None:
    streamed = play.surface == "streamed"
    content = {"messages": [{"role": "user", "content": TRIGGER}], **play.case.asks}
    if streamed:
        content |= {"stream": True, "stream_options": {"include_usage": True}}
    if play.case.tools:
        content["tools"] = OFFERED
    response = await _post(play, user, "/v1/chat/completions", content, seen, began)
    if response.status_code != 200:
        _fail(seen, response.status_code, response.json()["error"])
    elif streamed:
        # A comment is a line without a blank one behind it.
        blocks = [line.removeprefix("data: ") for line in response.text.split("\n") if line.startswith("data: ")]
        terminated = blocks[-1] == "[DONE]"
        for chunk in map(json.loads, blocks[:-1] if terminated else blocks):
            _chunk(seen, chunk)
        if "error" in blocks[-1] and not terminated:
            _fail(seen, 502, json.loads(blocks[-1])["error"])
        elif not terminated:
            seen.ends = "no terminator"
    else:
        whole = response.json()
        choice = whole["choices"][0]
        _message(seen, choice["message"])
        _usage(seen, whole["usage"])
        seen.ends = choice["finish_reason"]


def _fail(seen: Seen, status: int, error: Mapping[str, Any]) -> None:
    seen.ends, seen.param = CODES.get((status, error["code"]), f"{status} {error}"), error["param"]


def _chunk(seen: Seen, chunk: Mapping[str, Any]) -> None:
    for choice in chunk.get("choices", ()):
        _message(seen, choice["delta"])
        seen.ends = choice["finish_reason"] or seen.ends
    if chunk.get("usage"):
        _usage(seen, chunk["usage"])


def _usage(seen: Seen, usage: Mapping[str, int]) -> None:
    seen.usage = usage["prompt_tokens"], usage["completion_tokens"]


def _message(seen: Seen, message: Mapping[str, Any]) -> None:
    """Append a delta, or the whole message, as clients do: calls by index, their arguments joined."""
    seen.text += message.get("content") or message.get("refusal") or ""
    seen.reasoning += message.get("reasoning_content") or ""
    for place, call in enumerate(message.get("tool_calls") or ()):
        index = call.get("index", place)
        while len(seen.tools) <= index:
            seen.tools.append({"id": "", "name": "", "arguments": ""})
        whole, function = seen.tools[index], call.get("function", {})
        whole["id"] = call.get("id") or whole["id"]
        whole["name"] += function.get("name") or ""
        whole["arguments"] += function.get("arguments") or ""
        whole |= {name: value for name, value in call.items() if name not in ("index", "id", "type", "function")}


def _note_rows(product: Product, mallory: ApiUser, found: Mapping[str, Seen]) -> None:
    """Note charges and usages as they are stored."""
    rows = product.sql(
        "SELECT model, charge, usage_estimated FROM chat_generation JOIN accounts_user ON accounts_user.id = user_id "
        "WHERE username = ? ORDER BY created_at",
        mallory.name,
    )
    for model, charge, estimated in rows:
        found[model].charge, found[model].estimated = json.loads(charge)["amount"], bool(estimated)


def check(case: Case, surface: Surface, seen: Seen) -> None:
    """Compare an outcome with its row."""
    failed = case.ends not in ("stop", "length", "content_filter", "tool_calls")
    reason = "stop" if surface == "chat" and case.ends == "tool_calls" else case.ends
    assert (seen.ends, seen.charge) == (reason, case.charge)
    assert seen.calls in case.calls
    assert seen.keys == case.keys
    # The first key is not asked again, not even for another user.
    assert seen.accused_asked == (case.accuses_key and case.pool > 1) or case.pool == 1
    if not (failed and surface == "whole"):
        # What a program has received cannot be withdrawn.
        texts = [case.text, ""] if case.withdrawn and surface == "streamed" else ["" if case.withdrawn else case.text]
        assert seen.text in texts
        assert seen.reasoning == case.reasoning
    if not failed and case.usage is not ...:
        assert seen.estimated == (case.usage is None)
        assert case.usage in (None, seen.usage)
    _check_tools(case, seen)
    assert seen.sent == case.asks.get("messages", seen.sent)
    if case.param:
        assert seen.param == case.param
    # A dead key that is the only one refuses another user too, until the probe has ended.
    assert seen.other == WORKS or (not case.served and seen.other in ("model_unavailable", case.ends))
    assert seen.other_s < AT_ONCE_SECONDS
    assert seen.end_s < case.end_s
    assert surface == "whole" or seen.first_text_s < case.first_text_s


def _check_tools(case: Case, seen: Seen) -> None:
    """Each call has the expected fields, and an id of its own."""
    assert len(seen.tools) == len(case.tools)
    assert [{name: made[name] for name in wanted} for wanted, made in zip(case.tools, seen.tools, strict=True)] == [
        *case.tools
    ]
    assert all(call["id"] for call in seen.tools)
    assert len({call["id"] for call in seen.tools}) == len(seen.tools)
