"""Every row of the vendors' error tables, from the socket to the reader, the key and the charge."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from providers.wire.anthropic.errors import ANTHROPIC_CODES
from providers.wire.gemini.errors import GEMINI_CODES
from providers.wire.openai.errors import CODES as OPENAI_CODES
from providers.wire.spark.errors import CODES
from providers.wire.zhipu.errors import ZHIPU_CODES
from tests.chat import table_anthropic, table_azure, table_gemini, table_openai, table_spark, table_zhipu
from tests.chat.outcomes import Outcome
from tests.chat.verdicts import Table, check_alone, check_ending, check_resend, check_with_another

pytestmark = pytest.mark.django_db

Outcomes = Mapping[str, Mapping[str, Outcome]]
TABLES: Mapping[str, Table] = {
    "openai": table_openai.TABLE,
    "azure": table_azure.TABLE,
    "gemini": table_gemini.TABLE,
    "anthropic": table_anthropic.TABLE,
    "spark": table_spark.WEBSOCKET,
    "spark_http": table_spark.OVER_HTTP,
    "zhipu": table_zhipu.V4,
    "zhipu_v3": table_zhipu.V3,
}
# What the fakes plant in keys, tokens, signatures and bodies, and the addresses they are at.
SECRETS = ("planted", "secret-of-", f"{1:032x}"[8:], "leak ", "sk-leak", "eyJ", "authorization", "<html>")
SECRETS += ("127.0.0.1", "/v1.1/chat", "/api/paas/")


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any) -> Outcomes:
    """Return the outcomes of all rows of the tables that are to be tested."""
    here = [item for item in request.session.items if item.module is request.module and hasattr(item, "callspec")]
    wanted = {item.callspec.params["table"] for item in here}
    return {table: TABLES[table].asked(django_db_blocker) for table in wanted}


def each(part: Callable[[Table], Iterable[str]]) -> pytest.MarkDecorator:
    """Parametrise a test with rows of all tables."""
    found = [(table, name) for table in TABLES for name in part(TABLES[table])]
    return pytest.mark.parametrize(("table", "name"), found)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_shows_a_secret(outcomes: Outcomes, table: str) -> None:
    """No row lets users read a key, a token, a signature, the vendor's words or its address."""
    assert outcomes[table]
    assert not [name for name, found in outcomes[table].items() if any(secret in found.told for secret in SECRETS)]


def test_the_tables_are_complete() -> None:
    """Every code that we know is in its table, and for Spark one unknown code."""
    assert set(CODES) == {str(code) for code in table_spark.VERDICTS} - {"12345"}
    gemini = {row.vendor_code for row in table_gemini.ROWS.values()}
    assert GEMINI_CODES.keys() - OPENAI_CODES.keys() <= gemini
    assert ANTHROPIC_CODES.keys() - OPENAI_CODES.keys() <= {*table_anthropic.TYPES, *table_anthropic.CODES}
    assert {code for code in ZHIPU_CODES if code.isdecimal()} == set(table_zhipu.VERDICTS)


@pytest.mark.contract("refusal: upstream_error")
@each(lambda table: table.rows)
def test_alone(outcomes: Outcomes, table: str, name: str) -> None:
    """With an only key, each row ends as the table says, and costs nothing."""
    check_alone(TABLES[table].rows[name], outcomes[table][f"{name}, alone"])


@each(lambda table: table.rows if table.beside else ())
def test_with_another(outcomes: Outcomes, table: str, name: str) -> None:
    """Another key answers where the table says so, and only there."""
    check_with_another(TABLES[table].rows[name], outcomes[table][f"{name}, beside"])


@each(lambda table: table.endings)
def test_after_text(outcomes: Outcomes, table: str, name: str) -> None:
    """A failure after the first visible character ends the generation; nothing is retried."""
    check_ending(TABLES[table].endings[name], outcomes[table][f"{name}, ending"])


@each(lambda table: table.resends)
def test_resends(outcomes: Outcomes, table: str, name: str) -> None:
    """A request that the upstream rejects is resent once in another form, and the form it accepts is stored."""
    check_resend(TABLES[table].resends[name], outcomes[table][f"{name}, resent"])
