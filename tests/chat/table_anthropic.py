"""Every row of Anthropic's error table."""

from collections.abc import Mapping

from tests.anthropic import FakeAnthropic
from tests.chat.verdicts import (
    HISTORY,
    HOUR,
    OPS,
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
from tests.scenarios import PLAIN, REASONING

BLOCKED, TOO_LONG, FAILED = "content_blocked", "prompt_too_long", "upstream_error"
REQUEST_ID = "req_011CS"
# The account of this key is misconfigured at the vendor; a key of another account may work.
OTHER_ACCOUNT = Verdict(others=True, opens=True)
# The consequences of each type of error, and the code that the reader receives.
TYPES: Mapping[str, tuple[Verdict, str]] = {
    "invalid_request_error": (USER, FAILED),
    "authentication_error": (disable(), FAILED),
    "billing_error": (disable(), FAILED),
    "permission_error": (deny(HOUR), FAILED),
    "forbidden": (OPS, FAILED),
    "not_found_error": (deny(HOUR), FAILED),
    "request_too_large": (USER, TOO_LONG),
    "rate_limit_error": (switch(5), FAILED),
    "api_error": (wait(), FAILED),
    "timeout_error": (wait(1), FAILED),
    "overloaded_error": (wait(others=False), FAILED),
}
# Causes in `details.error_code`, each with the type that it comes with.
CODES: Mapping[str, tuple[str, Verdict, str]] = {
    "contract_spend_limit_reached": ("permission_error", disable(), FAILED),
    "enforced_spend_limit_reached": ("invalid_request_error", disable(), FAILED),
    "organization_on_hold": ("permission_error", disable(), FAILED),
    "ramp_limit_exceeded": ("rate_limit_error", switch(5), FAILED),
    "request_body_too_large_after_decoding": ("request_too_large", USER, TOO_LONG),
    "image_dimensions_too_large": ("invalid_request_error", USER, FAILED),
    "cmek_key_disabled": ("permission_error", OTHER_ACCOUNT, FAILED),
    "cmek_key_network_blocked": ("permission_error", OTHER_ACCOUNT, FAILED),
    "cmek_key_unreachable": ("api_error", OTHER_ACCOUNT, FAILED),
    "cmek_context_unavailable": ("api_error", OTHER_ACCOUNT, FAILED),
}
# Wordings of the general type of error.
WORDINGS: Mapping[str, tuple[Verdict, str]] = {
    "prompt is too long: 210000 tokens > 200000 maximum": (USER, TOO_LONG),
    "Your credit balance is too low to access the Anthropic API.": (disable(), FAILED),
    "You have reached your specified API usage limits.": (disable(), FAILED),
    "This organization has been disabled.": (disable(), FAILED),
    "Output blocked by content filtering policy": (USER, BLOCKED),
}


def says(does: str, verdict: Verdict, vendor_code: str, told: str) -> Row:
    return Row(does, verdict, vendor_code, told, REQUEST_ID)


ROWS = {
    **{kind: says(f"error:{kind}", verdict, kind, told) for kind, (verdict, told) in TYPES.items()},
    **{code: says(f"code:{kind}:{code}", verdict, code, told) for code, (kind, verdict, told) in CODES.items()},
    **{
        text: says(f"error:invalid_request_error:{text}", verdict, "invalid_request_error", told)
        for text, (verdict, told) in WORDINGS.items()
    },
    **{
        f"{kind} as an event": says(f"error_first:{kind}", verdict, kind, told)
        for kind, (verdict, told) in TYPES.items()
        if kind != "forbidden"
    },
    "a rate with a hint": says("limited:7", switch(7), "rate_limit_error", FAILED),
    "a rate with a long hint": says("limited:120", switch(120), "rate_limit_error", FAILED),
    "a long context that costs extra": says(
        "error:rate_limit_error:Extra usage is required for long context requests.", USER, "rate_limit_error", TOO_LONG
    ),
    "nothing": Row("eof", wait(1), "empty", request_id="req-1"),
}
ENDINGS = {
    "length": Ending("stop:max_tokens", "done length", PLAIN),
    "context window": Ending("stop:model_context_window_exceeded", "done length", PLAIN),
    "refusal": Ending("stop:refusal", "done content_filter", PLAIN),
    "refusal before text": Ending("stop:refusal:", "done content_filter", charged=0, moderated=True),
    "pause": Ending("stop:pause_turn", "done stop", PLAIN),
    "tools": Ending("stop:tool_use", "done stop", PLAIN),
    "nothing": Ending("stop:end_turn:", "done stop", charged=0),
    "thoughts": Ending("thinking", "done stop", PLAIN, reasoning=REASONING),
    "moderation": Ending(
        "error_mid:invalid_request_error:Output blocked by content filtering policy", "done content_filter", PLAIN[:8]
    ),
    "cut": Ending("cut", "error upstream_error", PLAIN[:8]),
    **{
        kind: Ending(f"error_mid:{kind}", "error upstream_error", PLAIN[:8])
        for kind in ("overloaded_error", "api_error", "rate_limit_error")
    },
}
RESENDS = {
    "large cap": Resend("window:100:4000", "done stop", model={"parameters": {"max_tokens": 4_000}}),
    "shorter": Resend("turns:6", "done stop", history=HISTORY),
    "still too long": Resend("turns:0", "error prompt_too_long", history=HISTORY),
}
TABLE = Table(FakeAnthropic, "anthropic", ROWS, ENDINGS, RESENDS)
