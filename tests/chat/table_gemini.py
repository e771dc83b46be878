"""Every row of Gemini's error table: its statuses, reasons and wordings, and how its streams end."""

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
    Verdict,
    deny,
    disable,
    switch,
    wait,
)
from tests.gemini import FakeGemini
from tests.scenarios import PLAIN, REASONING

BLOCKED, TOO_LONG = "content_blocked", "prompt_too_long"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


def says(status: int, word: str, verdict: Verdict, text: str = "leak", vendor_code: str = "") -> Row:
    """Return the row of a refusal in a list, as the streaming method writes it."""
    return Row(f"error:{status}:{word}:{text}", verdict, vendor_code or word, request_id="req-1")


def because(status: int, word: str, reason: str, verdict: Verdict) -> Row:
    """Return the row of a refusal with a reason among its details."""
    return Row(f"error_reason:{status}:{word}:{reason}", verdict, reason, request_id="req-1")


DENIED = "PERMISSION_DENIED"
ROWS = {
    "bad key": because(400, "INVALID_ARGUMENT", "API_KEY_INVALID", disable()),
    **{
        reason: because(403, DENIED, reason, disable())
        for reason in ("SERVICE_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "BILLING_DISABLED")
    },
    **{
        reason: because(403, DENIED, reason, disable())
        for reason in ("API_KEY_SERVICE_BLOCKED", "API_KEY_IP_ADDRESS_BLOCKED", "API_KEY_HTTP_REFERRER_BLOCKED")
    },
    "leaked": says(403, DENIED, disable(), "Your API key was reported as leaked.", "API_KEY_LEAKED"),
    "denied": says(403, DENIED, deny(HOUR)),
    "not authenticated": says(401, "UNAUTHENTICATED", disable()),
    "credits": says(429, "RESOURCE_EXHAUSTED", disable(), "Your prepayment credits are depleted.", "CREDITS_DEPLETED"),
    "cap": says(429, "RESOURCE_EXHAUSTED", disable(), "The monthly spending cap is reached.", "CREDITS_DEPLETED"),
    "limit per minute": Row("limited", switch(7), "RESOURCE_EXHAUSTED", request_id="req-1"),
    "limit per day": Row(f"limited:{PER_DAY}", deny(HOUR), "DAILY_QUOTA_EXCEEDED", request_id="req-1"),
    "no hint": says(429, "RESOURCE_EXHAUSTED", switch(5)),
    "region": says(
        400, "FAILED_PRECONDITION", OPS, "User location is not supported for the API use.", "REGION_NOT_SUPPORTED"
    ),
    "unknown model": says(404, "NOT_FOUND", deny(HOUR), "models/x is not found for API version v1beta"),
    "bad request": says(400, "INVALID_ARGUMENT", USER),
    "too long": Row("context:0", USER, "INVALID_ARGUMENT", TOO_LONG, "req-1"),
    "overloaded": says(503, "UNAVAILABLE", wait(others=False)),
    "internal": says(500, "INTERNAL", wait()),
    "deadline": says(504, "DEADLINE_EXCEEDED", wait(1)),
    "address": Row("page:404", OPS, request_id="req-1"),
    "in an event": Row("error_first:429:RESOURCE_EXHAUSTED", switch(5), "RESOURCE_EXHAUSTED", request_id="req-1"),
    "blocked": Row("blocked", USER, "PROHIBITED_CONTENT", BLOCKED, "req-1"),
    **{
        word: Row(f"finish:{word}:", wait(1), word.lower(), request_id="req-1")
        for word in ("OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS")
    },
}
ENDINGS = {
    "length": Ending("finish:MAX_TOKENS", "done length", PLAIN),
    "length while thinking": Ending("thinking", "done length", reasoning=REASONING),
    "safety": Ending("finish:SAFETY", "done content_filter", PLAIN),
    "safety at once": Ending("finish:SAFETY:", "done content_filter", charged=0, moderated=True),
    "nothing": Ending("empty", "done stop", charged=0),
    "thoughts": Ending("thoughts", "done stop", PLAIN, REASONING),
    "calls": Ending("tool_with_text", "done stop", "Let me look. "),
    "other": Ending("finish:OTHER", "error upstream_error", PLAIN),
    "error": Ending("error_mid:500:INTERNAL", "error upstream_error", THREE),
    "cut": Ending("cut", "error upstream_error", THREE),
    "end of file": Ending("no_reason", "error upstream_error", THREE),
}
RESENDS = {
    "shorter": Resend("context:6", "done stop", history=HISTORY),
    "still too long": Resend("context:0", "error prompt_too_long", history=HISTORY),
    "parameter": Resend(
        "without:topK", "done stop", model={"parameters": {"top_k": 3}}, learned={"refused": {"top_k": 3}}
    ),
}
TABLE = Table(FakeGemini, "gemini", ROWS, ENDINGS, RESENDS)
