"""What a fake vendor sends in one case, and the outcome that a user must see; data without behaviour."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Surface = Literal["chat", "streamed", "whole"]
SURFACES: tuple[Surface, ...] = ("chat", "streamed", "whole")
PROGRAMS: tuple[Surface, ...] = ("streamed", "whole")

WORKS = "It works."
NINE_TWO = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
D = "[DONE]"
# Instead of a pause: the vendor waits until the reader has the text, but not for ever.
UNTIL_READ = -1.0
MOST_HELD_SECONDS = 60.0
# The prompt to which a vendor reacts oddly, and the tools that programs offer.
TRIGGER = "Please do the odd thing"
OFFERED = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
# Where the cases without another source come from.
TABLE = "wire-cases"


@dataclass(frozen=True)
class Reply:
    """One response: head, and pieces of the body or frames of a WebSocket, each after a pause in seconds."""

    pieces: tuple[tuple[float, bytes], ...]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One row of the tables.

    `sends`: the replies to one user's prompt, the last of them again and again; other prompts get a plain completion.
    `fits`: only prompts of more messages get them, and an earlier question of the same conversation is answered.
    `accuses_key`: the first key that is used gets them for every prompt, other keys never. `refuses`: only requests
    with this field get them. `ends` is a finish reason of `done`, or an error code; `usage` the exact usage, None: an
    estimate, `...`: either. `keys` are the other statuses than `ok` in the end. `served`: other users are answered.
    """

    name: str
    sends: Sequence[Reply]
    text: str = WORKS
    reasoning: str = ""
    ends: str = "stop"
    charge: int = 1
    usage: tuple[int, int] | Any | None = None
    calls: Sequence[int] = (1,)
    keys: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    withdrawn: bool = False
    served: bool = True
    accuses_key: bool = False
    refuses: str = ""
    fits: int = 0
    param: str = ""
    kind: str = "openai"
    pool: int = 2
    # A second route leads to another upstream, which gives plain completions; the first gets no plain prompt right.
    second_route: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # Fields of the request; `messages` among them arrive at the vendor as they are.
    asks: Mapping[str, Any] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    # Seconds within which the first text comes, and within which the completion ends.
    first_text_s: float = 120.0
    end_s: float = 120.0
    surfaces: Sequence[Surface] = SURFACES
    soak: bool = False
    source: str = TABLE


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def text(content: str, reason: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}], **fields}


def stop(reason: Any = "stop", **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], **fields}


def usage(output: int, given: int = 9) -> dict[str, int]:
    return {"prompt_tokens": given, "completion_tokens": output, "total_tokens": given + output}


T, S, R = text(WORKS), stop(), delta(role="assistant", content="")
U: dict[str, Any] = {"choices": [], "usage": NINE_TWO}


def event(value: Any) -> bytes:
    """Return a value as one event; a text stands as it is."""
    return f"data: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n\n".encode()


def stream(*events: Any, **reply: Any) -> Reply:
    """Return a stream; a number is a pause before the next piece, bytes stand as they are."""
    pieces, pause, waiting = [], 0.0, b""
    for part in events:
        if isinstance(part, int | float):
            pieces.append((pause, waiting))
            pause, waiting = float(part), b""
        else:
            waiting += part if isinstance(part, bytes) else event(part)
    return Reply((*pieces, (pause, waiting)), **reply)


def body(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return a body of JSON."""
    data = json.dumps(value, ensure_ascii=False).encode()
    return Reply(
        ((0.0, data),), status, "application/json", {name.replace("_", "-"): headers[name] for name in headers}
    )


def page(status: int = 200, text: str = "<html><body>Please log in</body></html>", **headers: str) -> Reply:
    return Reply(((0.0, text.encode()),), status, "text/html", headers)


def error(status: int, message: str, /, **fields: Any) -> Reply:
    """Return a refusal in OpenAI's envelope."""
    return body({"error": {"message": message, **fields}}, status)


def frames(*values: Any) -> Reply:
    """Return the frames of a WebSocket."""
    return Reply(tuple((0.0, json.dumps(value).encode()) for value in values), 101)


PLAIN = stream(R, T, S, U, D)
