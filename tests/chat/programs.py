"""Programs that call /v1, and how they read what comes back."""

import json
import re
from typing import Any

import httpx

from tests.paused import PAUSE, PausedUpstream

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def ask(caller: httpx.Client, model: str = "echo", messages: Any = HELLO, **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "messages": messages, **body})


def read_one_by_one(
    caller: httpx.Client, upstream: PausedUpstream, path: str, deltas: list[str], **body: Any
) -> httpx.Response:
    """Return a stream whose upstream waits for each delta to arrive at the caller.

    None would arrive from a buffer that gathers them. Each delta must be short, and in no other event.
    """
    prompt = PAUSE.join(deltas)
    given = {"input": prompt} if path.endswith("/responses") else {"messages": [{"role": "user", "content": prompt}]}
    with caller.stream("POST", path, json={"model": "paused", "stream": True, **given, **body}) as response:
        pieces, content = response.iter_bytes(), b""
        for number, delta in enumerate(deltas):
            if number:
                upstream.go_on(prompt)
            while json.dumps(delta).encode() not in content:
                content += next(pieces)
        content += b"".join(pieces)
    return httpx.Response(response.status_code, headers=response.headers, content=content)


def chunks(response: httpx.Response) -> list[Any]:
    """Return the data of a stream, `[DONE]` as it is; every line must be one that OpenAI's clients understand."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(re.match(r"data: |: ", block) for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [text if text == "[DONE]" else json.loads(text) for text in data]


def error(response: httpx.Response) -> tuple[int, str, str | None, str | None]:
    """Return status, type, code and param of a refusal; its envelope must be OpenAI's and it must bear a number."""
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    assert response.headers["x-request-id"]
    return response.status_code, body["error"]["type"], body["error"]["code"], body["error"]["param"]


def generation_of(answer: dict[str, Any]) -> str:
    return str(answer["id"]).removeprefix("chatcmpl-")
