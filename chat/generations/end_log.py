"""Log and count generations that ended, one line for each."""

import time

import structlog
from prometheus_client import Counter

from chat.models import Generation

log = structlog.get_logger("generation")

GENERATIONS = Counter("rivulet_generations", "Generations that ended", ["status", "finish_reason"])


def note(row: Generation, started: float, first_delta_ms: float | None) -> None:
    """Log an ended generation, which began at this monotonic time; never its text."""
    GENERATIONS.labels(row.status, row.finish_reason or "").inc()
    log.info(
        "generation",
        generation=row.id,
        user=row.user_id,
        outcome=row.status,
        error=(row.error or {}).get("code"),
        time_to_first_delta_ms=None if first_delta_ms is None else round(first_delta_ms, 1),
        duration_ms=round((time.monotonic() - started) * 1000, 1),
        **{
            "gen_ai.provider.name": row.upstream,
            "gen_ai.request.model": row.model,
            "gen_ai.usage.input_tokens": row.input_tokens,
            "gen_ai.usage.output_tokens": row.output_tokens,
            "gen_ai.response.finish_reasons": row.finish_reason,
        },
    )
