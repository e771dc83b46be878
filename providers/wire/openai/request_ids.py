"""Find the upstream's id of a request.

Users and operators give it to the vendor when they ask about a failure.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# OpenAI's header and those of other vendors: Anthropic, Azure, one-api, SiliconFlow, DeepSeek, Volcengine, Mistral.
_HEADERS = (
    *("x-request-id", "request-id", "apim-request-id", "x-oneapi-request-id", "x-siliconcloud-trace-id"),
    *("x-ds-trace-id", "x-tt-logid", "mistral-correlation-id"),
)
# Fields of refusals: Zhipu and others, Volcengine's and Alibaba's spelling, iFlytek.
_FIELDS = ("request_id", "requestId", "RequestId", "sid")
MAX_CHARS = 128
_ID = re.compile(rf"[A-Za-z0-9_.:@/+=-]{{1,{MAX_CHARS}}}")
# "(request id: 2024...)" of one-api, "include the request ID req_... in your message" of OpenAI.
_IN_MESSAGE = re.compile(rf"request[ _-]id:? ?(?=[a-z_-]*[0-9])([a-z0-9_-]{{8,{MAX_CHARS}}})", re.IGNORECASE)
# Characters of a message that are searched for an id, which has a digit at least.
_SEARCHED_CHARS = 2_000


def request_id(headers: Mapping[str, str]) -> str:
    """Return the id in the headers of a response; empty for none."""
    return next((value for name in _HEADERS if _ID.fullmatch(value := headers.get(name, ""))), "")


def stated_id(parts: Iterable[Mapping[str, Any]], message: str) -> str:
    """Return the id in the fields or the message of a refusal; empty for none."""
    for part in parts:
        for name in _FIELDS:
            if isinstance(value := part.get(name), str) and _ID.fullmatch(value):
                return value
    found = _IN_MESSAGE.search(message[:_SEARCHED_CHARS])
    return found[1] if found else ""
