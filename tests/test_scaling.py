"""docs/scaling.md says what the simulation says."""

from collections.abc import Callable

import pytest

from benchmarks import simulate
from benchmarks.simulate import Needs
from tests.servers import ROOT

SCALING = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
TABLES = (simulate.needs_table, simulate.limits_table, simulate.cells_table, simulate.partitions_table)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_the_tables_are_those_of_the_simulation(table: Callable[[], list[str]]) -> None:
    """Each table stands in the document as `python -m benchmarks.simulate` prints it."""
    assert "\n\n" + "\n".join(table()) + "\n\n" in SCALING


def test_limits_are_where_needs_reach_them() -> None:
    """A limit is the first number of streams at which its need is too large."""
    for _name, _remedy, need, capacity in simulate.LIMITS:
        if (streams := simulate.breaks_at(need, capacity)) is not None:
            assert need(Needs(streams)) > capacity >= need(Needs(streams - 1))


def test_placement_is_uneven_but_repeatable() -> None:
    """The fullest worker has more than the mean, the same in each run, and all when it is alone."""
    assert 1 < simulate.fullest(10_000, 28) == simulate.fullest(10_000, 28) < 1.5
    assert simulate.fullest(100, 1) == 1
