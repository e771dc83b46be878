"""Every row of Zhipu's error table, over v4 and the legacy v3."""

from collections.abc import Mapping

import pytest

from tests.chat.verdicts import (
    HISTORY,
    HOUR,
    OPS,
    THREE,
    USER,
    Ending,
    Resend,
    Row,
    Table,
    UntilNewDay,
    Verdict,
    deny,
    disable,
    switch,
    wait,
)
from tests.scenarios import PLAIN, REASONING
from tests.zhipu import FakeZhipu
from tests.zhipu_scenarios import TASK

BLOCKED, TOO_LONG, FAILED = "content_blocked", "prompt_too_long", "upstream_error"
IN_TWO_HOURS = deny(pytest.approx(2 * HOUR, abs=90), only_model=False)
VERDICTS: Mapping[str, tuple[Verdict, str]] = {
    **dict.fromkeys(("500", "1200", "1230", "1234", "1100", "1120"), (wait(), FAILED)),
    **dict.fromkeys(("1000", "1002", "1004", "1110", "1111", "1112", "1121", "1113", "1309"), (disable(), FAILED)),
    **dict.fromkeys(("1305", "1312"), (wait(others=False), FAILED)),
    **dict.fromkeys(("1210", "1212", "1213", "1214", "1215", "1231"), (USER, FAILED)),
    **dict.fromkeys(("1003", "1221", "1222"), (OPS, FAILED)),
    **dict.fromkeys(("1001", "1211"), (Verdict(others=True, opens=True), FAILED)),
    "1220": (deny(HOUR), FAILED),
    "1261": (USER, TOO_LONG),
    "1300": (USER, BLOCKED),
    "1301": (USER, BLOCKED),
    "1302": (switch(5), FAILED),
    "1303": (switch(5), FAILED),
    "1304": (deny(UntilNewDay()), FAILED),
    "1308": (deny(HOUR, only_model=False), FAILED),
    "1310": (deny(HOUR, only_model=False), FAILED),
    "1311": (deny(HOUR), FAILED),
    "1313": (deny(HOUR, only_model=False), FAILED),
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
    "1308 until then": Row("error:1308:reset at {soon}", IN_TWO_HOURS, "1308", request_id="req-1"),
    "1310 until then": Row("error:1310:reset at {soon}", IN_TWO_HOURS, "1310", request_id="req-1"),
    "1113 within 200": Row("platform:1113", disable(), "1113", request_id="req-1"),
    "1301 as an event": Row("error_first:1301", USER, "1301", BLOCKED, "req-1"),
    "network error": Row("reason:network_error:", wait(1), "network_error", request_id="req-1"),
}
ENDINGS = {
    "sensitive": Ending("reason:sensitive", "done content_filter", PLAIN, withdrawn=True),
    "sensitive at once": Ending("reason:sensitive:", "done content_filter", charged=0, moderated=True),
    "nothing": Ending("empty", "done stop", charged=0),
    "thinking only": Ending("thinking", "done stop", reasoning=REASONING),
    "1300": Ending("error_mid:1300", "done content_filter", THREE, withdrawn=True),
    "1301": Ending("error_mid:1301", "done content_filter", THREE, withdrawn=True),
    "length": Ending("reason:length", "done length", PLAIN),
    "network error": Ending("reason:network_error", "error upstream_error", PLAIN),
    **{code: Ending(f"error_mid:{code}", "error upstream_error", THREE) for code in ("500", "1113", "1302")},
}
V3_ROWS = {
    **rows("error_body:{}"),
    "1113 as an event": Row("error_json:1113", disable(), "1113", request_id=TASK),
    "1302 without a name": Row("error_200:1302", switch(5), "1302", request_id="req-1"),
    "nameless": Row("nameless", wait(1), "bad_event", request_id="req-1"),
    "in plain text": Row("error_plain", wait(), request_id=TASK),
}
V3_ENDINGS = {
    "interrupted at once": Ending("interrupted", "done content_filter", charged=0, moderated=True),
    "nothing": Ending("silent", "done stop", charged=0),
    "interrupted": Ending("interrupted_mid", "done content_filter", "one two ", withdrawn=True),
    "1301": Ending("error_mid:1301", "done content_filter", "one two ", withdrawn=True),
    "1234": Ending("error_mid:1234", "error upstream_error", "one two "),
    "end of file": Ending("eof_mid_stream", "error upstream_error", THREE),
    "failed task": Ending("status:FAIL", "error upstream_error", PLAIN),
}


TOO_LONG_RESENT = {
    "shorter": Resend("context:6", "done stop", history=HISTORY),
    "still too long": Resend("error:1261", "error prompt_too_long", history=HISTORY),
}
V4 = Table(FakeZhipu, "zhipu", ROWS, ENDINGS, TOO_LONG_RESENT)
V3 = Table(FakeZhipu, "zhipu_v3", V3_ROWS, V3_ENDINGS, address="v3_url", beside=False)
