"""chat/stats/plot.py: positions, colours, levels and labels."""

from datetime import date, timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.stats.plot import COLOURS, Bar, Plot, stacked

FIRST = date(2026, 11, 1)


def days(count: int) -> list[date]:
    return [FIRST + timedelta(days=number) for number in range(count)]


def plot(values: dict[str, dict[int, int]], count: int = 4, **options: Any) -> Plot:
    """Plot values by name and number of the day."""
    by_day = {
        name: {FIRST + timedelta(days=number): value for number, value in row.items()} for name, row in values.items()
    }
    return stacked(days(count), by_day, "Others", **options)


def share(percent: str) -> float:
    return float(percent.removesuffix("%")) / 100


def stacks(drawn: Plot) -> list[list[Bar]]:
    return [list(bars) for _day, bars in groupby(drawn.bars, key=lambda bar: bar.day)]


def test_stacking() -> None:
    """The largest series is at the bottom; the axis ends at a round number."""
    drawn = plot({"small": {0: 1, 1: 1}, "large": {0: 3}})
    assert [(line.series, line.name, line.total) for line in drawn.series] == [(0, "large", 3), (1, "small", 2)]
    assert [mark.label for mark in drawn.levels] == ["0", "2", "4"]
    large, small = stacks(drawn)[0]
    assert (large.name, large.height, large.y) == ("large", "75.000%", "25.000%")
    assert (small.name, small.height, small.y) == ("small", "25.000%", "0.000%")
    assert stacks(drawn)[1][0].series == small.series


def test_nothing() -> None:
    """A plot without values has no bars, but a scale."""
    drawn = plot({"model": {}, "other": {99: 5}})
    assert (drawn.bars, drawn.series, drawn.table()) == ([], [], [])
    assert [mark.label for mark in drawn.levels] == ["0", "1", "2"]


def test_the_smallest_are_others() -> None:
    """The smallest series beyond the number of colours are added up."""
    drawn = plot({f"m{number}": {0: 100 - number} for number in range(COLOURS + 3)})
    assert [line.name for line in drawn.series] == [*(f"m{number}" for number in range(COLOURS)), "Others"]
    assert drawn.series[-1].total == sum(100 - number for number in range(COLOURS, COLOURS + 3))
    assert {bar.series for bar in drawn.bars} == set(range(COLOURS + 1))


def test_the_same_colours_again() -> None:
    """A series keeps the colour that it has in the plot beside it."""
    answers = plot({"a": {0: 9}, "b": {0: 5}, "c": {0: 1}})
    failures = plot({"c": {0: 7}, "b": {0: 1}, "new": {1: 9}}, like=answers)
    assert [(line.series, line.name) for line in failures.series] == [(1, "b"), (2, "c"), (3, "new")]


def test_the_table() -> None:
    """The table lists the newest day first and omits empty days."""
    drawn = plot({"a": {0: 1, 2: 5}, "b": {2: 1}})
    assert [(day.day, [(bar.name, bar.value) for bar in bars]) for day, bars in drawn.table()] == [
        (3, [("a", 5), ("b", 1)]),
        (1, [("a", 1)]),
    ]


@pytest.mark.parametrize(("count", "labels"), [(1, 1), (7, 4), (30, 6), (90, 6), (366, 6)])
def test_dates(count: int, labels: int) -> None:
    """A handful of days is labelled, including the last one."""
    drawn = plot({"a": {0: 1}}, count)
    last = days(count)[-1]
    assert len(drawn.dates) == labels
    assert drawn.dates[-1].label == f"{last.month}/{last.day}"


@given(st.lists(st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 10**9)), min_size=1, max_size=40))
def test_everything_fits(values: list[dict[str, int]]) -> None:
    """Bars stay inside the drawing, do not overlap, and have true heights."""
    names = {name for row in values for name in row}
    drawn = plot({name: {n: row.get(name, 0) for n, row in enumerate(values)} for name in names}, len(values))
    top = int(drawn.levels[-1].label.replace(",", ""))
    assert int(drawn.levels[1].label.replace(",", "")) * 2 == top
    assert sum(bar.value for bar in drawn.bars) == sum(sum(row.values()) for row in values)
    for stack in stacks(drawn):
        floor = 1.0
        for bar in stack:
            assert share(bar.y) + share(bar.height) == pytest.approx(floor, abs=1e-4)
            assert share(bar.height) == pytest.approx(bar.value / top, abs=1e-4)
            floor = share(bar.y)
        assert floor >= -1e-4
    edges = [(share(bar.x), share(bar.x) + share(bar.width)) for bar in drawn.bars]
    assert all(0 <= left < right <= 1 for left, right in edges)
