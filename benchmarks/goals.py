"""The goals of the complete product, as ratios of one run: what is compared, the floor, the goal."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

Row = Mapping[str, Any]
# Rows of one round by the name of the relay.
Round = Mapping[str, Row]

CHAT, V1, REDIS = "Rivulet /api/chat/", "Rivulet /v1", "Rivulet Redis"


class Goal(NamedTuple):
    """One line of the table; `value` is computed from the rows of a round."""

    title: str
    floor: float
    goal: float
    value: Callable[[Round], float]
    # Whether larger values are better.
    rising: bool = False


def against(name: str, measure: str, other: str = "nginx") -> Callable[[Round], float]:
    """Return a function for the ratio of a relay's measure to that of another."""
    return lambda rows: rows[name][measure] / rows[other][measure]


def inverse(name: str, measure: str) -> Callable[[Round], float]:
    """Return a function for the ratio of nginx's measure to a relay's."""
    return lambda rows: rows["nginx"][measure] / rows[name][measure]


def of(name: str, measure: str) -> Callable[[Round], float]:
    """Return a function for a relay's measure itself."""
    return lambda rows: float(rows[name][measure])


GOALS = (
    Goal(
        "deltas per CPU second, 1,000 paced, /api/chat/ : nginx", 0.4, 0.55, inverse(CHAT, "us_per_delta"), rising=True
    ),
    Goal("the same with Redis : nginx", 0.38, 0.5, inverse(REDIS, "us_per_delta"), rising=True),
    Goal("the same on /v1 : nginx", 0.4, 0.6, inverse(V1, "us_per_delta"), rising=True),
    Goal("1,000 whole completions, deltas per CPU second : nginx", 0.25, 0.4, inverse(CHAT, "whole_us"), rising=True),
    Goal("short completions/s, /api/chat/ : LiteLLM", 8, 12, against(CHAT, "short_per_s", "LiteLLM"), rising=True),
    Goal("short completions/s, /v1 : LiteLLM", 10, 15, against(V1, "short_per_s", "LiteLLM"), rising=True),
    Goal("first delta, 1 stream : LiteLLM", 1 / 7, 1 / 12, against(CHAT, "first_ms", "LiteLLM")),
    Goal("first delta among 100 streams, p99, ms", 10, 5, of(CHAT, "first_among_100_p99")),
    Goal("1,000 prompts within 2 s, first delta p99, ms", 3_000, 1_500, of(CHAT, "burst_first_p99")),
    Goal("memory per open stream, /api/chat/ : nginx", 3, 2, against(CHAT, "kib_per_stream")),
    Goal("2,000 paced streams, relay p99, ms", 50, 20, of(CHAT, "relay_2000_p99")),
    Goal("CPU per delta, 2,000 streams : 100 streams", 1.3, 1.1, of(CHAT, "growth")),
    Goal("caller leaves /v1, upstream closed, ms", 50, 10, of(V1, "left_ms")),
    Goal("stop, upstream closed, ms", 50, 10, of(CHAT, "stopped_ms")),
)


def table(rounds: list[Round]) -> list[str]:
    """Return the lines of the table: medians of the rounds, their spread, and what they reach."""
    lines = [f"{'':<58}{'median':>10}{'spread':>20}{'floor':>9}{'goal':>9}"]
    for goal in GOALS:
        try:
            values = sorted(goal.value(rows) for rows in rounds)
        except (KeyError, ZeroDivisionError):
            continue  # this relay was left out
        middle = median(values)
        reached = (
            "goal" if _reaches(middle, goal.goal, goal) else "floor" if _reaches(middle, goal.floor, goal) else "-"
        )
        spread = f"{_short(values[0])} to {_short(values[-1])}"
        lines.append(
            f"{goal.title:<58}{_short(middle):>10}{spread:>20}{_short(goal.floor):>9}{_short(goal.goal):>9}  {reached}"
        )
    return lines


def _reaches(value: float, bound: float, goal: Goal) -> bool:
    return value >= bound if goal.rising else value <= bound


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
