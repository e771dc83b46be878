"""Rows of the wire cases through the product: odd data, odd HTTP, errors and reasoning."""

import pytest

from tests.wire_cases import stage
from tests.wire_cases.odd import CASES
from tests.wire_cases.shapes import Case, Surface

pytestmark = pytest.mark.server


@pytest.mark.parametrize(("case", "surface"), stage.params(CASES))
def test_odd(seens: stage.Seens, case: Case, surface: Surface) -> None:
    """The completion, its charge and the keys are as the row wants them, and another user is answered."""
    stage.check(case, surface, seens[case.name, surface])
