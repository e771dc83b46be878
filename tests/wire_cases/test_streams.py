"""Rows of the wire cases about streams, through the product."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire_cases import stage
from tests.wire_cases.shapes import Case, Surface
from tests.wire_cases.streams import CASES

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def seens(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[stage.Seens]:
    """All cases, played at once."""
    with stage.outcomes(tmp_path_factory.mktemp("streams"), django_db_blocker, CASES) as found:
        yield found


@pytest.mark.parametrize(("case", "surface"), stage.params(CASES))
def test_streams(seens: stage.Seens, case: Case, surface: Surface) -> None:
    """What the vendor sends comes out as the row wants it, and another user is answered."""
    stage.check(case, surface, seens[case.name, surface])
