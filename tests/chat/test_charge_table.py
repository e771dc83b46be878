"""Each line of the charge table over every adapter and every entry point.

`test_charges.py` shows the same for one adapter in all places that show a charge.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests import offers
from tests.chat.programs import HELLO, URL
from tests.product import ApiUser, Product
from tests.spark import FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.upstreams import FakeOpenAI
from tests.zhipu import FakeZhipu

pytestmark = pytest.mark.server

KINDS = {"openai": FakeOpenAI, "spark": FakeSpark, "spark_http": FakeSparkHTTP, "zhipu": FakeZhipu}
ADAPTERS = ("openai", "zhipu", "zhipu_v3", "spark", "spark_http")
DOORS = ("page", "stream", "whole", "classic")
# The other shapes of /v1, which share everything but their bytes with `stream`: one adapter shows that.
SHAPES = ("responses", "messages")
STREAMS = {"stream": URL, "responses": "/v1/responses", "messages": "/v1/messages"}
# Requests at once: with more, a crowded machine would miss the shorter clocks.
AT_ONCE = 30
TOTAL_SECONDS = 4.0
# Seconds until a caller leaves a completion that shows nothing.
PATIENCE_SECONDS = 3.0
PACED = "paced:200:50"


@dataclass(frozen=True)
class Act:
    """An act of the upstream by adapter, and what each entry point's caller pays for it.

    `does`: the scenario of the adapters that are not in `other`; None there: the adapter cannot do it. `leaves`: the
    caller stops the generation, or leaves /v1, once there is a text (or nothing for a while). `free_by`: whether a
    generation without a charge counts towards MAX_UNCHARGED_PER_HOUR. `classic` differs where only reasoning is shown.
    """

    does: str
    end: str
    charge: int
    other: Mapping[str, str | None] = field(default_factory=dict)
    leaves: bool = False
    total: bool = False
    counts: bool = False
    whole: int | None = None
    classic: str = ""

    def of(self, adapter: str) -> str | None:
        return self.other.get(adapter, self.does)

    def expected(self, door: str) -> tuple[str, int, bool]:
        """Return the end, the charge, and whether it counts as uncharged."""
        if door == "classic" and self.classic:
            return self.classic, 0, self.classic.startswith("completed")
        charge = self.whole if door == "whole" and self.whole is not None else self.charge
        return self.end, charge, self.counts or charge < self.charge


def doors_of(adapter: str) -> tuple[str, ...]:
    """Return the entry points at which the adapter's models are asked."""
    return DOORS + (SHAPES if adapter == "openai" else ())


NO_REASONING: Mapping[str, str | None] = {"zhipu_v3": None}
ACTS = {
    # `stop` or `length` with visible content, tool calls, or reasoning that was sent: 1
    "content": Act("plain", "completed stop", 1),
    "cap": Act("finish:length", "completed length", 1, {"zhipu": "reason:length", "zhipu_v3": None, "spark": None}),
    "thinking": Act("thinking", "completed stop", 1, NO_REASONING, classic="completed stop"),
    "thinking-cap": Act(
        "thinking:length", "completed length", 1, {**NO_REASONING, "spark": None}, classic="completed length"
    ),
    # After the first of these: 1
    "stopped": Act(PACED, "completed cancelled", 1, leaves=True),
    "stopped-thinking": Act(
        f"thinking_{PACED}", "completed cancelled", 1, NO_REASONING, leaves=True, whole=0, classic="completed cancelled"
    ),
    "filtered": Act(
        "finish:content_filter",
        "completed content_filter",
        1,
        {
            "zhipu": "reason:sensitive",
            "zhipu_v3": "interrupted_mid",
            "spark": "withdraw_10014",
            "spark_http": "code_mid:10014",
        },
    ),
    "total": Act(PACED, "completed length", 1, total=True),
    "total-thinking": Act(
        f"thinking_{PACED}", "completed length", 1, NO_REASONING, total=True, classic="failed upstream_timeout"
    ),
    # Before any of these: 0
    "nothing": Act("empty", "completed stop", 0, {"zhipu_v3": "silent"}, counts=True),
    "white-space": Act("whitespace", "completed stop", 0, {"zhipu_v3": None}, counts=True),
    "filtered-first": Act(
        "finish:content_filter:",
        "completed content_filter",
        0,
        {"zhipu": "reason:sensitive:", "zhipu_v3": "interrupted", "spark": None},
        counts=True,
    ),
    "moderated": Act(
        "http_400:content_policy_violation",
        "failed content_blocked",
        0,
        {"zhipu": "error:1301", "zhipu_v3": "error_body:1301", "spark": "code:10013", "spark_http": "code_body:10013"},
        counts=True,
    ),
    "stopped-first": Act("hang", "completed cancelled", 0, {"spark": "hang_after_connect"}, leaves=True, counts=True),
    "total-first": Act("hang", "failed upstream_timeout", 0, {"spark": "hang_after_connect"}, total=True),
    # The upstream failed: 0, partial text kept
    "cut": Act("eof_mid_stream", "failed upstream_error", 0, {"spark": "reset_mid"}),
    "cut-thinking": Act("thinking_cut", "failed upstream_error", 0, NO_REASONING),
}
CASES = [
    pytest.param(adapter, act, door, id=f"{adapter}-{act}-{door}")
    for act in ACTS
    for adapter in ADAPTERS
    if ACTS[act].of(adapter)
    for door in doors_of(adapter)
]


class Caller:
    """One user for each entry point, who asks every model once."""

    def __init__(self, product: Product, door: str) -> None:
        self.api_user: ApiUser = product.register(f"{door}-caller")
        self.door = door

    async def ask(self, client: httpx.AsyncClient, model: str, *, leaves: bool) -> None:
        """Ask, and read to the end or leave."""
        headers = {"Authorization": f"Bearer {self.api_user.access}"}
        reading = asyncio.create_task(self._read(client, model, headers))
        if leaves:
            # A crowded product may take long to store a generation.
            while not (found := self._stored(model)):
                assert not reading.done(), f"{self.door} refused {model}"
                await asyncio.sleep(0.05)
            await asyncio.wait([reading], timeout=PATIENCE_SECONDS)
            reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        if leaves and self.door in ("page", "classic"):
            ((generation,),) = found
            await client.post(f"/api/generations/{generation}/stop/", headers=headers)

    async def _read(self, client: httpx.AsyncClient, model: str, headers: dict[str, str]) -> None:
        if self.door == "whole":
            await client.post(URL, json={"model": model, "messages": HELLO}, headers=headers)
            return
        async with self._opened(client, model, headers) as response:
            await response.aread()

    def _opened(self, client: httpx.AsyncClient, model: str, headers: dict[str, str]) -> Any:
        if url := STREAMS.get(self.door):
            prompt = {"input": "Hello"} if self.door == "responses" else {"messages": HELLO}
            return client.stream("POST", url, json={"model": model, "stream": True, **prompt}, headers=headers)
        if self.door == "page":
            headers = {**headers, "Accept": "text/event-stream"}
            return client.stream("POST", "/api/chat/", json={"model": model, "prompt": "Hello"}, headers=headers)
        return client.stream("GET", "/api/chatgpt/test", params={"message": "Hello", "model": model}, headers=headers)

    def _stored(self, model: str) -> Any:
        return self.api_user.product.sql(
            "SELECT g.id FROM chat_generation g JOIN accounts_user u ON u.id = g.user_id"
            " WHERE u.username = ? AND g.model = ?",
            self.api_user.name,
            model,
        )


# The end, the charge, whether it counts as uncharged, and the content, by entry point and model.
Ends = Mapping[tuple[str, str], tuple[str, int, bool, str]]


@dataclass(frozen=True)
class Scene:
    callers: list[Caller]
    ends: Ends


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Scene]:
    """Ask everything, and read how it ended."""
    with ExitStack() as stack:
        fakes: dict[str, Any] = {kind: stack.enter_context(fake.in_thread()) for kind, fake in KINDS.items()}
        fakes["zhipu_v3"] = fakes["zhipu"]
        product = stack.enter_context(Product(tmp_path_factory.mktemp("charges"), **offers.environment()))
        models: dict[str, Act] = {}
        with offers.database(product, django_db_blocker):
            for adapter in ADAPTERS:
                base_url = fakes[adapter].v3_url if adapter == "zhipu_v3" else fakes[adapter].base_url
                for name, act in ACTS.items():
                    if does := act.of(adapter):
                        timeouts = {"total_seconds": TOTAL_SECONDS} if act.total else {}
                        model = f"{adapter}-{name}"
                        # A key for each entry point, because a failure may lead to a rest of the key.
                        offers.offer(
                            model, adapter, base_url, *{fakes[adapter].key(does) for _ in doors_of(adapter)}, **timeouts
                        )
                        models[model] = act
        callers = [Caller(product, door) for door in DOORS + SHAPES]
        offers.wait_for(callers[0].api_user, model)
        asyncio.run(_ask_everything(product, callers, models))
        count = sum(len(doors_of(model.split("-")[0])) for model in models)
        yield Scene(callers, _ended(product, count))


async def _ask_everything(product: Product, callers: list[Caller], models: Mapping[str, Act]) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(caller: Caller, model: str, act: Act) -> None:
        async with turn:
            await caller.ask(client, model, leaves=act.leaves)

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=product.url, limits=limits, timeout=60, trust_env=False, verify=False
    ) as client:
        await asyncio.gather(
            *(
                one(caller, model, act)
                for model, act in models.items()
                for caller in callers
                if caller.door in doors_of(model.split("-")[0])
            )
        )


def _ended(product: Product, count: int) -> Ends:
    """Return the ends by entry point and model, once there are so many."""
    deadline = time.monotonic() + 60
    while True:
        rows = product.sql(
            "SELECT u.username, g.model, g.status, COALESCE(g.finish_reason, json_extract(g.error, '$.code')),"
            " json_extract(g.charge, '$.amount'), g.uncharged_at IS NOT NULL, g.content || COALESCE(m.content, '')"
            " FROM chat_generation g JOIN accounts_user u ON u.id = g.user_id"
            " LEFT JOIN chat_message m ON m.id = g.message_id WHERE g.status != 'running'"
        )
        if len(rows) >= count:
            return {
                (user.removesuffix("-caller"), model): (f"{status} {how}", amount, bool(counts), content)
                for user, model, status, how, amount, counts, content in rows
            }
        assert time.monotonic() < deadline, "not all generations have ended"
        time.sleep(0.1)


@pytest.mark.contract("the charge table")
@pytest.mark.parametrize(("adapter", "act", "door"), CASES)
def test_charge(scene: Scene, adapter: str, act: str, door: str) -> None:
    """Each line of the table holds for each adapter and entry point; partial text of a failure is kept."""
    end, charge, counts, content = scene.ends[door, f"{adapter}-{act}"]
    assert (end, charge, counts) == ACTS[act].expected(door)
    assert bool(content) is (
        act in {"content", "cap", "stopped", "total", "cut", "white-space"} or _keeps(adapter, act)
    )


def test_the_sum_is_spent(scene: Scene) -> None:
    """What users have used is the sum of these charges."""
    for caller in scene.callers:
        spent = sum(end[1] for (door, _model), end in scene.ends.items() if door == caller.door)
        assert caller.api_user.quota()["used_today"] == spent > 0


def _keeps(adapter: str, act: str) -> bool:
    """Return whether moderation keeps the text: Zhipu's and Spark's withdraw it."""
    return (adapter, act) == ("openai", "filtered")
