"""Every row of Spark's error tables, over WebSocket and over HTTP."""

from collections.abc import Mapping

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
from tests.scenarios import PLAIN
from tests.spark import BAD_DATE, BAD_SIGNATURE, NO_SIGNATURE, UNKNOWN_KEY, FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.spark_scenarios import SID

BLOCKED, TOO_LONG = "content_blocked", "prompt_too_long"
A_MOMENT = Verdict(((1, 3), (1, 3)))
VERDICTS: Mapping[int, tuple[Verdict, str]] = {
    **{code: (wait(), "upstream_error") for code in (10000, 10001, 10002, 10009, 10010, 10011, 10012, 10110)},
    **dict.fromkeys((10003, 10004, 10005, 10018, 10163), (USER, "upstream_error")),
    **dict.fromkeys((10006, 10007), (A_MOMENT, "upstream_error")),
    **dict.fromkeys((10013, 10014, 10019, 10021), (USER, BLOCKED)),
    **dict.fromkeys((10222, 10223), (wait(), "upstream_error")),
    10008: (Verdict(others=True, opens=True), "upstream_error"),
    10404: (Verdict(others=True, opens=True), "upstream_error"),
    10015: (disable(), "upstream_error"),
    10016: (deny(HOUR), "upstream_error"),
    10907: (USER, TOO_LONG),
    11200: (disable(only_model=True), "upstream_error"),
    11201: (deny(UntilNewDay()), "upstream_error"),
    11202: (switch(2, waits=(2, 8)), "upstream_error"),
    11203: (switch(5), "upstream_error"),
    12345: (wait(1), "upstream_error"),
}


def code_rows(does: str) -> dict[str, Row]:
    """Return the rows of all codes, said in this way."""
    return {
        f"{code}": Row(does.format(code), verdict, str(code), told, SID, closes=code == 10019)
        for code, (verdict, told) in VERDICTS.items()
    }


def handshake(status: int, message: str, verdict: Verdict, vendor_code: str = "") -> Row:
    """Return the row of a handshake that is refused."""
    return Row(f"http:{status}:{message}", verdict, vendor_code, request_id="req-1", unread=True)


ROWS = {
    **code_rows("code:{}"),
    "no signature": handshake(401, NO_SIGNATURE, OPS, "unauthorized"),
    "unknown key": handshake(401, UNKNOWN_KEY, disable(), "unknown_key"),
    "wrong signature": handshake(401, BAD_SIGNATURE, disable(), "bad_signature"),
    "wrong clock": handshake(403, BAD_DATE, OPS, "bad_clock"),
    "wrong network": handshake(403, "Your IP address is not allowed", deny(HOUR), "forbidden"),
    "no such path": handshake(404, "no Route matched with those values", OPS),
    "a redirect": Row("redirect", OPS, request_id="req-1", unread=True),
    "too many handshakes": handshake(429, "API rate limit exceeded", switch(5), "rate_limit"),
    **{f"handshake {status}": handshake(status, "", wait()) for status in (500, 502, 503, 504)},
}
ENDINGS = {
    "nothing": Ending("empty", "done stop", charged=0),
    "white space": Ending("whitespace", "done stop", " \n\t\n", charged=0),
    "10014 after thinking": Ending("code_thinking:10014", "done content_filter", withdrawn=True),
    "10014": Ending("withdraw_10014", "done content_filter", THREE, withdrawn=True),
    "10014 late": Ending("late_10014", "done content_filter", PLAIN, withdrawn=True),
    "10019": Ending("code_mid:10019", "done content_filter", THREE, closes=True),
    "10019 late": Ending("late_10019", "done content_filter", PLAIN, closes=True),
    "10017": Ending("code_open:10017", "done stop", PLAIN),
    **{f"{code}": Ending(f"code_mid:{code}", "error upstream_error", THREE) for code in (10012, 11200, 11203)},
    "silent close": Ending("close_1000_mid", "error upstream_error", THREE),
    "reset": Ending("reset_mid", "error upstream_error", THREE),
}
HTTP_ROWS = {
    **code_rows("code_body:{}"),
    "401": Row("http_401", disable(), "api_error", request_id="req-1"),
    "403": Row("http_403", deny(HOUR), "api_error", request_id="req-1"),
    "429 rate": Row("hinted:429:20:rate_limit_exceeded", switch(20), "rate_limit_exceeded", request_id="req-1"),
    "429 quota": Row("http_429:insufficient_quota", disable(), "insufficient_quota", request_id="req-1"),
    "500": Row("http_500", wait(), "api_error", request_id="req-1"),
    "503": Row("http_503", wait(), "api_error", request_id="req-1"),
    "with a status": Row("code_body:11202:400", switch(2, waits=(2, 8)), "11202", request_id=SID),
    "in the stream": Row("code:11200", disable(only_model=True), "11200", request_id=SID),
}
HTTP_ENDINGS = {
    "nothing": Ending("empty", "done stop", charged=0),
    "white space": Ending("whitespace", "done stop", " \n\t\n", charged=0),
    "10014": Ending("code_mid:10014", "done content_filter", THREE, withdrawn=True),
    "10019": Ending("code_last:10019", "done content_filter", PLAIN, closes=True),
    "10017": Ending("code_first:10017", "done stop", PLAIN),
    "10012": Ending("code_mid:10012", "error upstream_error", THREE),
}


TOO_LONG_RESENT = {
    "shorter": Resend("context:6", "done stop", history=HISTORY),
    "still too long": Resend("code:10907", "error prompt_too_long", history=HISTORY),
}
WEBSOCKET = Table(
    FakeSpark,
    "spark",
    ROWS,
    ENDINGS,
    TOO_LONG_RESENT,
    upstream_model="lite",
)
OVER_HTTP = Table(FakeSparkHTTP, "spark_http", HTTP_ROWS, HTTP_ENDINGS, beside=False)
