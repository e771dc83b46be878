"""Every row of Zhipu's error table, over v4 and the legacy v3, from the socket to the reader, the key, the charge."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from providers.wire.zhipu_errors import ZHIPU_CODES
from tests.chat.outcomes import Outcome, Question, outcomes_of
from tests.chat.verdicts import (
    HISTORY,
    HOUR,
    OPS,
    THREE,
    USER,
    Ending,
    Row,
    UntilNewDay,
    Verdict,
    check_alone,
    check_ending,
    check_with_another,
    disable,
    questions,
    switch,
    wait,
)
from tests.scenarios import PLAIN
from tests.zhipu import FakeZhipu
from tests.zhipu_scenarios import TASK

pytestmark = pytest.mark.django_db

BLOCKED, TOO_LONG, FAILED = "content_blocked", "prompt_too_long", "upstream_error"
# Two hours from now, in the words of the vendor.
SOON = (datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S")
IN_TWO_HOURS = switch(pytest.approx(2 * HOUR, abs=90), only_model=False)
VERDICTS: Mapping[str, tuple[Verdict, str]] = {
    **dict.fromkeys(("500", "1200", "1230", "1234", "1100", "1120", "1305", "1312"), (wait(), FAILED)),
    **dict.fromkeys(("1000", "1002", "1004", "1110", "1111", "1112", "1121", "1113", "1309"), (disable(), FAILED)),
    **dict.fromkeys(("1001", "1003", "1210", "1212", "1213", "1214", "1215", "1211", "1221", "1222"), (OPS, FAILED)),
    "1220": (switch(HOUR), FAILED),
    "1231": (OPS, FAILED),
    "1261": (USER, TOO_LONG),
    "1300": (USER, BLOCKED),
    "1301": (USER, BLOCKED),
    "1302": (replace(switch(5), crowded=True), FAILED),
    "1303": (switch(20), FAILED),
    "1304": (switch(UntilNewDay()), FAILED),
    "1308": (switch(HOUR, only_model=False), FAILED),
    "1310": (switch(HOUR, only_model=False), FAILED),
    "1311": (switch(HOUR), FAILED),
    "1313": (replace(switch(HOUR, only_model=False), alerts=True), FAILED),
}
SENT_ANEW = ("1003", "1231")


def rows(does: str, request_id: str = "req-1") -> dict[str, Row]:
    """Return the rows of all codes, said in this way; a token and a request id are tried anew once."""
    return {
        code: Row(does.format(code), verdict, code, told, request_id, resends=int(code in SENT_ANEW))
        for code, (verdict, told) in VERDICTS.items()
    }


ROWS = {
    **rows("error:{}"),
    "1308 until then": Row(f"error:1308:reset at {SOON}", IN_TWO_HOURS, "1308", request_id="req-1"),
    "1310 until then": Row(f"error:1310:reset at {SOON}", IN_TWO_HOURS, "1310", request_id="req-1"),
    "1113 within 200": Row("platform:1113", disable(), "1113", request_id="req-1"),
    "1301 as an event": Row("error_first:1301", USER, "1301", BLOCKED, "req-1"),
    "sensitive at once": Row("reason:sensitive:", USER, "", BLOCKED, "req-1"),
    "network error": Row("reason:network_error:", wait(1) >> switch(30, waits=()), "network_error", request_id="req-1"),
}
ENDINGS = {
    "sensitive": Ending("reason:sensitive", "done content_filter", PLAIN, withdrawn=True),
    "1300": Ending("error_mid:1300", "done content_filter", THREE, withdrawn=True),
    "1301": Ending("error_mid:1301", "done content_filter", THREE, withdrawn=True),
    "length": Ending("reason:length", "done length", PLAIN),
    "network error": Ending("reason:network_error", "error upstream_error", PLAIN),
    **{code: Ending(f"error_mid:{code}", "error upstream_error", THREE) for code in ("500", "1113", "1302")},
}
V3_ROWS = {
    **rows("error_body:{}"),
    "1113 as an event": Row("error_json:1113", disable(), "1113", request_id=TASK),
    "1302 without a name": Row("error_200:1302", replace(switch(5), crowded=True), "1302", request_id="req-1"),
    "interrupted": Row("interrupted", USER, "", BLOCKED, "req-1"),
    "nameless": Row("nameless", wait(1) >> switch(30, waits=()), "bad_event", request_id="req-1"),
    "in plain text": Row("error_plain", wait(), request_id=TASK),
    "silence": Row("silent", wait(1) >> switch(30, waits=()), "empty", request_id="req-1"),
}
V3_ENDINGS = {
    "interrupted": Ending("interrupted_mid", "done content_filter", "one two ", withdrawn=True),
    "1301": Ending("error_mid:1301", "done content_filter", "one two ", withdrawn=True),
    "1234": Ending("error_mid:1234", "error upstream_error", "one two "),
    "end of file": Ending("eof_mid_stream", "error upstream_error", THREE),
    "failed task": Ending("status:FAIL", "error upstream_error", PLAIN),
}


@pytest.fixture(scope="module")
def outcomes(django_db_setup: None, django_db_blocker: Any) -> Mapping[str, Outcome]:
    """All rows for v4, asked."""
    server = FakeZhipu()

    def asked() -> dict[str, Question]:
        upstream = {"kind": "zhipu", "base_url": server.base_url}
        return {
            **dict(questions(ROWS, upstream, server.key)),
            **dict(questions(ENDINGS, upstream, server.key)),
            "shorter": Question(upstream, [server.key("context:6")], history=HISTORY),
            "still too long": Question(upstream, [server.key("error:1261")], history=HISTORY),
        }

    return outcomes_of(server, asked, django_db_blocker)


@pytest.fixture(scope="module")
def over_v3(django_db_setup: None, django_db_blocker: Any) -> Mapping[str, Outcome]:
    """All rows for v3, asked."""
    server = FakeZhipu()

    def asked() -> dict[str, Question]:
        upstream = {"kind": "zhipu_v3", "base_url": server.v3_url}
        every = dict(questions(V3_ROWS, upstream, server.key))
        alone = {name: question for name, question in every.items() if name.endswith("alone")}
        return {**alone, **dict(questions(V3_ENDINGS, upstream, server.key))}

    return outcomes_of(server, asked, django_db_blocker)


def test_the_table_is_complete() -> None:
    """Every code that we know is in the table."""
    assert {code for code in ZHIPU_CODES if code.isdecimal()} == set(VERDICTS)


def test_it_works(outcomes: Mapping[str, Outcome], over_v3: Mapping[str, Outcome]) -> None:
    """No row lets anybody read a part of a key, a token, the vendor's words or its address."""
    secrets = ("secret-of-", "planted", "leak", "eyJ", "127.0.0.1", "/api/paas/")
    found = [*outcomes.items(), *over_v3.items()]
    assert not [name for name, outcome in found if any(secret in outcome.told for secret in secrets)]


@pytest.mark.parametrize("name", ROWS)
def test_alone(outcomes: Mapping[str, Outcome], name: str) -> None:
    """With an only key, each row ends as the table says, and costs nothing."""
    check_alone(ROWS[name], outcomes[f"{name}, alone"])


@pytest.mark.parametrize("name", ROWS)
def test_with_another(outcomes: Mapping[str, Outcome], name: str) -> None:
    """Another key answers where the table says so, and only there."""
    check_with_another(ROWS[name], outcomes[f"{name}, with another"])


@pytest.mark.parametrize("name", ENDINGS)
def test_after_text(outcomes: Mapping[str, Outcome], name: str) -> None:
    """What happens after the first visible character ends the answer; nothing is tried again."""
    check_ending(ENDINGS[name], outcomes[f"{name}, after text"])


@pytest.mark.parametrize("name", V3_ROWS)
def test_over_v3(over_v3: Mapping[str, Outcome], name: str) -> None:
    """Over v3 each code means the same, in whatever form it comes."""
    check_alone(V3_ROWS[name], over_v3[f"{name}, alone"])


@pytest.mark.parametrize("name", V3_ENDINGS)
def test_after_text_over_v3(over_v3: Mapping[str, Outcome], name: str) -> None:
    """After text they mean the same too."""
    check_ending(V3_ENDINGS[name], over_v3[f"{name}, after text"])


def test_too_long(outcomes: Mapping[str, Outcome]) -> None:
    """A prompt that is too long is cut and sent once more; then the reader is told."""
    assert (outcomes["shorter"].ending, outcomes["shorter"].calls) == ("done stop", [2])
    assert (outcomes["still too long"].ending, outcomes["still too long"].calls) == ("error prompt_too_long", [2])
