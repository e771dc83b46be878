"""Every row of Spark's error tables, over WebSocket and HTTP, from the socket to the reader, the key, the charge."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from providers.wire.spark_errors import CODES
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
from tests.spark import BAD_DATE, BAD_SIGNATURE, NO_SIGNATURE, UNKNOWN_KEY, FakeSpark
from tests.spark_http import FakeSparkHTTP
from tests.spark_scenarios import SID

pytestmark = pytest.mark.django_db

BLOCKED, TOO_LONG = "content_blocked", "prompt_too_long"
A_MOMENT = Verdict(((1, 3), (1, 3)))
NO_ENGINE = wait() >> switch(30, waits=())
VERDICTS: Mapping[int, tuple[Verdict, str]] = {
    **{code: (wait(), "upstream_error") for code in (10000, 10001, 10002, 10009, 10010, 10011, 10012, 10110)},
    **dict.fromkeys((10003, 10004, 10005, 10018, 10163, 10404), (OPS, "upstream_error")),
    **dict.fromkeys((10006, 10007), (A_MOMENT, "upstream_error")),
    **dict.fromkeys((10013, 10014, 10019, 10021), (USER, BLOCKED)),
    **dict.fromkeys((10222, 10223), (NO_ENGINE, "upstream_error")),
    10008: (switch(60), "upstream_error"),
    10015: (disable(), "upstream_error"),
    10016: (replace(switch(HOUR), alerts=True), "upstream_error"),
    10907: (USER, TOO_LONG),
    11200: (disable(only_model=True), "upstream_error"),
    11201: (switch(UntilNewDay()), "upstream_error"),
    11202: (switch(2, waits=(2, 8, 30)), "upstream_error"),
    11203: (replace(switch(5), crowded=True), "upstream_error"),
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
    return Row(f"http:{status}:{message}", verdict, vendor_code, request_id="req-1")


ROWS = {
    **code_rows("code:{}"),
    "10014 after thinking": Row("code_thinking:10014", USER, "10014", BLOCKED, SID),
    "no signature": handshake(401, NO_SIGNATURE, OPS, "unauthorized"),
    "unknown key": handshake(401, UNKNOWN_KEY, disable(), "unknown_key"),
    "wrong signature": handshake(401, BAD_SIGNATURE, disable(), "bad_signature"),
    "wrong clock": handshake(403, BAD_DATE, OPS, "bad_clock"),
    "wrong network": handshake(403, "Your IP address is not allowed", switch(HOUR), "forbidden"),
    "no such path": handshake(404, "no Route matched with those values", OPS),
    "a redirect": Row("redirect", OPS, request_id="req-1"),
    "too many handshakes": handshake(429, "API rate limit exceeded", switch(20), "rate_limit"),
    **{f"handshake {status}": handshake(status, "", wait()) for status in (500, 502, 503, 504)},
    "empty": Row("empty", wait(1) >> switch(30, waits=()), "empty", request_id=SID),
}
ENDINGS = {
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
    "403": Row("http_403", switch(HOUR), "api_error", request_id="req-1"),
    "429 rate": Row("hinted:429:20:rate_limit_exceeded", switch(20), "rate_limit_exceeded", request_id="req-1"),
    "429 quota": Row("http_429:insufficient_quota", disable(), "insufficient_quota", request_id="req-1"),
    "500": Row("http_500", wait(), "api_error", request_id="req-1"),
    "503": Row("http_503", wait(), "api_error", request_id="req-1"),
    "with a status": Row("code_body:11202:400", switch(2, waits=(2, 8, 30)), "11202", request_id=SID),
    "in the stream": Row("code:11200", disable(only_model=True), "11200", request_id=SID),
}
HTTP_ENDINGS = {
    "10014": Ending("code_mid:10014", "done content_filter", THREE, withdrawn=True),
    "10019": Ending("code_last:10019", "done content_filter", PLAIN, closes=True),
    "10017": Ending("code_first:10017", "done stop", PLAIN),
    "10012": Ending("code_mid:10012", "error upstream_error", THREE),
}


@pytest.fixture(scope="module")
def outcomes(django_db_setup: None, django_db_blocker: Any) -> Mapping[str, Outcome]:
    """All rows of the tables for WebSocket, asked."""
    server = FakeSpark()

    def asked() -> dict[str, Question]:
        upstream = {"kind": "spark", "base_url": server.base_url}
        alike = [server.key(f"http:401:{BAD_SIGNATURE}") for _key in range(2)]
        return {
            **dict(questions(ROWS, upstream, server.key, "lite")),
            **dict(questions(ENDINGS, upstream, server.key, "lite")),
            "all keys alike": Question(upstream, alike, "lite"),
            "shorter": Question(upstream, [server.key("context:6")], "lite", history=HISTORY),
            "still too long": Question(upstream, [server.key("code:10907")], "lite", history=HISTORY),
        }

    return outcomes_of(server, asked, django_db_blocker)


@pytest.fixture(scope="module")
def over_http(django_db_setup: None, django_db_blocker: Any) -> Mapping[str, Outcome]:
    """All rows of the tables for HTTP, asked."""
    server = FakeSparkHTTP()

    def asked() -> dict[str, Question]:
        upstream = {"kind": "spark_http", "base_url": server.base_url}
        every = dict(questions(HTTP_ROWS, upstream, server.key))
        alone = {name: question for name, question in every.items() if name.endswith("alone")}
        return {**alone, **dict(questions(HTTP_ENDINGS, upstream, server.key))}

    return outcomes_of(server, asked, django_db_blocker)


def test_the_table_is_complete() -> None:
    """Every code that we know is in the table, and one that nobody knows."""
    assert set(CODES) == {str(code) for code in VERDICTS} - {"12345"}


def test_it_works(outcomes: Mapping[str, Outcome], over_http: Mapping[str, Outcome]) -> None:
    """No row lets anybody read a part of a key, the vendor's words, its address or the signature in it."""
    secrets = ("secret-of-", "planted", "sk-leak", "127.0.0.1", "authorization", "/v1.1/chat", f"{1:032x}"[8:])
    found = [*outcomes.items(), *over_http.items()]
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


@pytest.mark.parametrize("name", HTTP_ROWS)
def test_over_http(over_http: Mapping[str, Outcome], name: str) -> None:
    """Over HTTP a code means the same, also inside a good answer; statuses and envelopes are OpenAI's."""
    check_alone(HTTP_ROWS[name], over_http[f"{name}, alone"])


@pytest.mark.parametrize("name", HTTP_ENDINGS)
def test_after_text_over_http(over_http: Mapping[str, Outcome], name: str) -> None:
    """After text the codes mean the same too."""
    check_ending(HTTP_ENDINGS[name], over_http[f"{name}, after text"])


def test_all_keys_alike(outcomes: Mapping[str, Outcome]) -> None:
    """When every key's signature is wrong it is our address or clock: no key rests, the operator hears of it."""
    found = outcomes["all keys alike"]
    assert (found.ending, found.calls, found.rests) == ("error upstream_error", [1, 1], [None, None])
    assert found.alerts


def test_too_long(outcomes: Mapping[str, Outcome]) -> None:
    """A prompt that is too long is cut and sent once more; then the reader is told."""
    assert (outcomes["shorter"].ending, outcomes["shorter"].calls) == ("done stop", [2])
    assert (outcomes["still too long"].ending, outcomes["still too long"].calls) == ("error prompt_too_long", [2])


def test_thinking_is_withdrawn(outcomes: Mapping[str, Outcome]) -> None:
    """Thoughts of an answer that is blocked before its text go as well."""
    found = outcomes["10014 after thinking, alone"]
    assert found.named("reset") == [{"content": "", "reasoning": ""}]
    assert found.row["reasoning"] == ""
