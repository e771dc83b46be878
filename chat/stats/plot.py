"""The geometry of stacked bars by day, which `templates/plot.html` draws as SVG. Pure functions.

All coordinates are percentages, so that the drawing fits any width and its text keeps its size. Colours are CSS
classes, because our content security policy forbids inline styles.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from math import ceil, log10
from typing import NamedTuple

# Series with a colour of their own; the others are added up as one more.
COLOURS = 6
# First digits of the number at the top of the axis.
_ROUND = (1, 2, 3, 4, 5, 6, 8, 10)
# The share of a day's width that its bar fills.
_BAR_SHARE = 0.72


class Bar(NamedTuple):
    """One day of one series. `series` is its number, which selects the colour."""

    x: str
    y: str
    width: str
    height: str
    series: int
    day: date
    name: str
    value: int


class Mark(NamedTuple):
    """A label on an axis."""

    at: str
    label: str


class Series(NamedTuple):
    """One line of the legend."""

    series: int
    name: str
    total: int


class Plot(NamedTuple):
    """The content of a drawing; `series` is empty if there is nothing to show."""

    days: list[date]
    bars: list[Bar]
    levels: list[Mark]
    dates: list[Mark]
    series: list[Series]

    def table(self) -> list[tuple[date, list[Bar]]]:
        """Return the bars by day, newest first, for the table beside the drawing."""
        return [(day, bars) for day in reversed(self.days) if (bars := [bar for bar in self.bars if bar.day == day])]


def stacked(
    days: Sequence[date], values: Mapping[str, Mapping[date, int]], others: str, like: Plot | None = None
) -> Plot:
    """Stack `values` (by name and day) over consecutive days, the largest series at the bottom.

    `others` names the sum of the smallest series. A series that is also in `like` keeps its position and colour.
    """
    ranked = _ranked(days, values, others, [line.name for line in like.series] if like else [])
    peak = max((sum(series.get(day, 0) for series in ranked.values()) for day in days), default=0)
    level = _level(peak)
    # About six days, including the last one.
    labelled = range(len(days) - 1, -1, -ceil(len(days) / 6))
    return Plot(
        days=list(days),
        bars=[bar for number, day in enumerate(days) for bar in _of_day(day, number, len(days), ranked, level)],
        levels=[Mark(_percent(1 - share), f"{round(level * share):,}") for share in (0, 0.5, 1)],
        dates=[
            Mark(_percent((number + 0.5) / len(days)), f"{days[number].month}/{days[number].day}")
            for number in reversed(labelled)
        ],
        series=[
            Series(number, name, sum(series.values())) for number, (name, series) in enumerate(ranked.items()) if series
        ],
    )


def _ranked(
    days: Sequence[date], values: Mapping[str, Mapping[date, int]], others: str, first: Sequence[str]
) -> dict[str, dict[date, int]]:
    """Order the series: those named `first`, then by size; add up the smallest as others."""
    shown = {name: {day: series[day] for day in days if series.get(day)} for name, series in values.items()}
    known = [name for name in first if name != others]
    more = sorted(
        (name for name in shown if shown[name] and name not in known),
        key=lambda name: (-sum(shown[name].values()), name),
    )
    names = [*known, *more]
    ranked = {name: shown.get(name, {}) for name in names[:COLOURS]}
    sums = {day: sum(shown[name].get(day, 0) for name in names[COLOURS:]) for day in days}
    rest = {day: value for day, value in sums.items() if value}
    return {**ranked, others: rest} if rest else ranked


def _of_day(day: date, number: int, count: int, names: Mapping[str, Mapping[date, int]], level: int) -> list[Bar]:
    slot, floor, bars = 1 / count, 1.0, []
    for series, (name, values) in enumerate(names.items()):
        if value := values.get(day, 0):
            height = value / level
            floor -= height
            left = slot * (number + (1 - _BAR_SHARE) / 2)
            box = (_percent(left), _percent(floor), _percent(slot * _BAR_SHARE), _percent(height))
            bars.append(Bar(*box, series, day, name, value))
    return bars


def _level(peak: int) -> int:
    """Return an even round number that is not below the peak."""
    magnitude = int(10 ** int(log10(peak or 1)))
    levels = (share * magnitude for share in _ROUND)
    return next(level for level in levels if level >= peak and level % 2 == 0)


def _percent(share: float) -> str:
    return f"{share * 100:.3f}%"
