"""Whatever happens to one user's requests, another user's plain prompt is answered.

In process, on moved clocks, without a network. The faults are the rows of all vendors' tables, and wait, break or end
at any point of a stream; the vendor completes plain prompts and probes all the time.
"""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers import evidence, health, verdicts
from providers.models import ChatModel, Upstream
from providers.wire.base import Delta, Event, Finished, PromptMessage, Reasoning
from providers.wire.errors import ProviderError, broken_stream
from providers.wire.openai.errors import CODES, FIREWALL, MEANT, STATUSES, UNKNOWN_REFUSAL
from providers.wire.spark.errors import CODES as SPARK_CODES
from providers.wire.zhipu.errors import ZHIPU_CODES
from runtime import database
from tests import factories
from tests.providers.bench import COMPLETION, Bench, no_pauses, with_keys

EXAMPLES = 1_000 if os.environ.get("SOAK") else 25
MALLORY, ALICE = 1, 2
ROWS = [
    *CODES.values(),
    *MEANT.values(),
    FIREWALL,
    UNKNOWN_REFUSAL,
    *STATUSES.values(),
    *SPARK_CODES.values(),
    *ZHIPU_CODES.values(),
]

Fault = tuple[Event | ProviderError, ...]


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """A stream of the vendor for mallory: some events, and then a failure or an end."""
    row = draw(st.sampled_from(ROWS))
    # A limit with a hint is the vendor's word that it serves no user with this key until then.
    hints = st.none() if row.blame == "rate" else st.sampled_from([None, 1.0, 3_600.0])
    failure = draw(st.one_of(st.builds(row.error, retry_after=hints), st.just(broken_stream("truncated"))))
    before = draw(st.sampled_from([(), (Reasoning("hm"),), (Delta(" "),), (Delta("half"),)]))
    return draw(st.sampled_from([(*before, failure), (*before, Finished("stop"))]))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("attack"), st.lists(faults(), min_size=1, max_size=4)),
        st.tuples(st.just("both"), st.lists(faults(), min_size=1, max_size=4)),
        st.tuples(st.just("later"), st.sampled_from([0.5, 4.0, 70.0, 4_000.0])),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(keys=st.lists(st.integers(0, 3), min_size=1, max_size=2), steps=STEPS)
def test_no_request_takes_a_model_away(keys: list[int], steps: list[tuple[str, Any]]) -> None:
    """Random faults on one user's requests never make another user's plain prompt fail while the vendor serves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "LOOK_SECONDS", 0.01)
        patch.setattr(verdicts, "SPACING_SECONDS", 0.02)
        patch.setattr(health, "RECOVERY_SECONDS", 20.0)  # the whole process may stand still
        asyncio.run(play(keys, steps, patch))


async def play(keys: list[int], steps: list[tuple[str, Any]], patch: pytest.MonkeyPatch) -> None:
    """Play the steps on fresh rows; after each, alice must get a completion."""
    passed, now, monotonic = 0.0, timezone.now, evidence.monotonic
    patch.setattr(timezone, "now", lambda: now() + timedelta(seconds=passed))
    patch.setattr(evidence, "monotonic", lambda: monotonic() + passed)
    secrets = await database.run(rows, keys)
    bench = Bench()
    plain = {secret: [COMPLETION] for secret in [*secrets, "keyless"]}
    with no_pauses(bench):
        for name, what in steps:
            if name == "later":
                passed += what
            else:
                bad = {secret: [*what] for secret in plain}
                bench.vendor.by_prompt["trigger"] = bad
                attack = asyncio.create_task(attempt(bench))
                if name == "attack":
                    await attack
            assert tuple(await bench.ask(plain, ALICE)) == COMPLETION
            if name == "both":
                await attack
        await bench.settle()
        assert tuple(await bench.ask(plain, ALICE)) == COMPLETION
    await bench.health.finish()
    await asyncio.to_thread(database.close)


async def attempt(bench: Bench) -> None:
    """Make one request of mallory's, which may fail."""
    with suppress(ProviderError):
        await bench.ask(bench.vendor.scripts, MALLORY, messages=(PromptMessage("user", "trigger"),))


def rows(keys: list[int]) -> list[str]:
    """Create a model with a route for each number of keys, and return the secrets."""
    Upstream.objects.all().delete()
    ChatModel.objects.all().delete()
    model = factories.chat_model("m")
    secrets = []
    for place, count in enumerate(keys):
        names = [f"key-{place}-{number}" for number in range(count)]
        with_keys(model, *names, priority=place, slug=f"upstream-{place}")
        secrets += names
    return secrets
