"""What Azure OpenAI says otherwise than OpenAI; the rest of its table is OpenAI's."""

from tests.azure import BAD_KEY, GONE, FakeAzure
from tests.chat.verdicts import HISTORY, OPS, THREE, USER, Ending, Resend, Row, Table, Verdict, disable, switch, wait

MISPLACED = Verdict(others=True, opens=True)
ROWS = {
    "deployment": Row(f"error:404:DeploymentNotFound:{GONE}", MISPLACED, "DeploymentNotFound", request_id="req-1"),
    "operation": Row("error:400:OperationNotSupported", MISPLACED, "OperationNotSupported", request_id="req-1"),
    "address": Row("error:404:404:Resource not found", OPS, "404", request_id="req-1"),
    "network": Row(
        "error:403:403:Access denied due to Virtual Network/Firewall rules.", OPS, "NetworkDenied", request_id="req-1"
    ),
    "key": Row(f"error:401:401:{BAD_KEY}", disable(), "401", request_id="req-1"),
    "rate": Row("limited:7", switch(7), "429", request_id="req-1"),
    "fault": Row("error:500:InternalServerError", wait(), "InternalServerError", request_id="req-1"),
    "content filter": Row("filtered", USER, "content_filter", "content_blocked", "req-1"),
}
ENDINGS = {
    "content filter": Ending("filtered_later", "done content_filter", THREE),
    "nothing": Ending("empty", "done stop", charged=0),
}
RESENDS = {
    "usage": Resend("needs_no_stream_options", "done stop", learned={"include_usage": False}),
    "shorter": Resend("context:6", "done stop", history=HISTORY),
}
TABLE = Table(FakeAzure, "azure", ROWS, ENDINGS, RESENDS)
