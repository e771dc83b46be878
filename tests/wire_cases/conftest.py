"""The product to which a module's cases are played."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire_cases import stage


@pytest.fixture(scope="module")
def seens(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any
) -> Iterator[stage.Seens]:
    """What came of the `CASES` of this module, all played at once."""
    with stage.outcomes(tmp_path_factory.mktemp("wire-cases"), django_db_blocker, request.module.CASES) as found:
        yield found
