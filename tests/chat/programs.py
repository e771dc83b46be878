"""Programs that call /v1, and how they read what comes back."""

import json
import re
from typing import Any

import httpx

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def ask(caller: httpx.Client, model: str = "echo", messages: Any = HELLO, **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "messages": messages, **body})


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
