"""Count and log how generations end.

The labels are names from the configuration and our own codes, so no user can make new ones.
"""

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import structlog
from prometheus_client import Counter, Gauge, Histogram

from chat.models import Generation

# Where a generation has no upstream, or nothing outside is to blame for its failure.
NONE = "none"
# Seconds.
FIRST_DELTA_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)
DURATION_BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)

_ROUTE = ["model", "upstream"]
RUNNING = Gauge("rivulet_generations_running", "Generations that run", multiprocess_mode="livesum")
QUEUED = Gauge("rivulet_generations_queued", "Prompts that wait to begin", multiprocess_mode="livesum")
GENERATIONS = Counter("rivulet_generations", "Generations that ended", ["status", "finish_reason"])
FAILURES = Counter("rivulet_generation_failures", "Generations that failed or were interrupted", ["code", "blame"])
FIRST_DELTA = Histogram(
    "rivulet_time_to_first_delta_seconds", "From the start to the first delta", _ROUTE, buckets=FIRST_DELTA_BUCKETS
)
DURATION = Histogram(
    "rivulet_generation_duration_seconds", "From the start to the stored end", _ROUTE, buckets=DURATION_BUCKETS
)
TOKENS = Counter("rivulet_tokens", "Tokens of generations, reported or estimated", [*_ROUTE, "kind"])

log = structlog.get_logger("generation")

Metric = TypeVar("Metric", Counter, Histogram)


@cache
def _labelled(metric: Metric, *labels: str) -> Metric:
    """Return the part of a metric with these labels, faster than the metric itself."""
    return metric.labels(*labels)


def count(row: Generation, blame: str = "") -> None:
    """Count the end of a generation; `blame` is the class of its failure."""
    _labelled(GENERATIONS, row.status, row.finish_reason or "").inc()
    if row.error:
        FAILURES.labels(row.error["code"], blame or NONE).inc()
    kinds = {
        "input": row.input_tokens,
        "output": row.output_tokens,
        "cached": row.cached_tokens,
        "reasoning": row.reasoning_tokens,
    }
    for kind, tokens in kinds.items():
        if tokens:
            _labelled(TOKENS, row.model, row.upstream or NONE, kind).inc(tokens)


def note(
    row: Generation, blame: str, first_delta_seconds: float | None, seconds: float, origin: Mapping[str, object]
) -> None:
    """Count and log a generation that this process ended; `origin` names its request."""
    count(row, blame)
    route = (row.model, row.upstream or NONE)
    _labelled(DURATION, *route).observe(seconds)
    if first_delta_seconds is not None:
        _labelled(FIRST_DELTA, *route).observe(first_delta_seconds)
    log.info(
        "generation",
        generation=row.id,
        user=row.user_id,
        **origin,
        outcome=row.status,
        error=(row.error or {}).get("code"),
        time_to_first_delta_ms=None if first_delta_seconds is None else round(first_delta_seconds * 1000, 1),
        duration_ms=round(seconds * 1000, 1),
        **{
            "gen_ai.provider.name": row.upstream,
            "gen_ai.request.model": row.model,
            "gen_ai.usage.input_tokens": row.input_tokens,
            "gen_ai.usage.output_tokens": row.output_tokens,
            "gen_ai.response.finish_reasons": row.finish_reason,
        },
    )
