"""A fake Spark over HTTP on loopback: OpenAI's shape written in Spark's way, and Spark's codes.

The model's name chooses the scenario, as with `tests.upstreams.FakeOpenAI`, whose scenarios are all known here too.
Nothing of the product is imported here.
"""

import json
from typing import Any

from tests.loopback import Exchange
from tests.scenarios import PLAIN, ChatExchange, Scenario, run_scenario, tokens
from tests.spark_scenarios import SID
from tests.upstreams import FakeOpenAI

USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}


class FakeSparkHTTP(FakeOpenAI):
    """Spark's HTTP interface under `/v1`."""

    def exchange(self, *args: Any) -> Exchange:
        return SparkHTTPExchange(*args)


class SparkHTTPExchange(ChatExchange):
    """Chunks with a code and a `sid`, no space after `data:`, no finish reason, the usage with the last text."""

    async def run(self, name: str) -> None:
        word, *arguments = name.split(":")
        if word in SCENARIOS:
            await SCENARIOS[word](self, *arguments)
        else:
            await run_scenario(self, name)

    async def chunk(self, **fields: Any) -> None:
        whole = {"code": 0, "message": "Success", "sid": SID, **fields}
        await self.send(b"data:" + json.dumps(whole, ensure_ascii=False).encode() + b"\n\n")

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        choice: dict[str, Any] = {"delta": {"role": "assistant", **delta}, "index": 0}
        if finish_reason:
            choice["finish_reason"] = finish_reason
        await self.chunk(choices=[choice])

    async def stop(self, completion_tokens: int = USAGE["completion_tokens"]) -> None:
        usage = {**USAGE, "completion_tokens": completion_tokens}
        await self.chunk(choices=[{"delta": {"role": "assistant", "content": ""}, "index": 0}], usage=usage)
        await self.send(b"data:[DONE]\n\n")

    async def refuse(
        self, status: int, code: str | None, message: str = "no", param: str | None = None, **headers: str
    ) -> None:
        error = {"message": message, "type": "api_error", "param": param, "code": code}
        await self.respond(status, json.dumps({"error": error}).encode(), **headers)

    async def code(self, number: str) -> None:
        await self.chunk(code=int(number), message=f"sk-leak {self.request.key}")


SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments follow it, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


@scenario
async def code(x: SparkHTTPExchange, number: str) -> None:
    """code:<n>: that code as the only chunk of a stream."""
    await x.start()
    await x.code(number)


@scenario
async def code_body(x: SparkHTTPExchange, number: str, status: str = "200") -> None:
    """code_body:<n>[:<status>]: that code as JSON instead of a stream, with 200 or that status."""
    body = {"code": int(number), "message": f"sk-leak {x.request.key}", "sid": SID}
    await x.respond(int(status), json.dumps(body).encode())


@scenario
async def code_mid(x: SparkHTTPExchange, number: str) -> None:
    """code_mid:<n>: three deltas, then that code."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    await x.code(number)


@scenario
async def code_first(x: SparkHTTPExchange, number: str) -> None:
    """code_first:<n>: that code, then the plain completion."""
    await x.start()
    await x.code(number)
    await x.texts(tokens(PLAIN))
    await x.stop()


@scenario
async def code_last(x: SparkHTTPExchange, number: str) -> None:
    """code_last:<n>: the plain text, then that code and the end."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.code(number)
    await x.send(b"data:[DONE]\n\n")


@scenario
async def no_done(x: SparkHTTPExchange) -> None:
    """The plain text, then the end of the body: without [DONE] nothing says that it is whole."""
    await x.start()
    await x.texts(tokens(PLAIN))


@scenario
async def tool_object(x: SparkHTTPExchange) -> None:
    """A tool call in the vendor's own form, an object, before the plain completion."""
    await x.start()
    await x.delta(tool_calls={"type": "function", "function": {"name": "f", "arguments": "{}"}})
    await x.texts(tokens(PLAIN))
    await x.stop()


@scenario
async def search(x: SparkHTTPExchange, shape: str = "object") -> None:
    """search[:list]: the pages of a web search as a tool call, in an object or a list, then the plain completion."""
    await x.start()
    pages = [{"index": 1, "url": "https://example.org/a", "title": "A"}]
    found = {"type": "web_search", "web_search": {"outputs": pages}}
    await x.delta(content="", tool_calls=found if shape == "object" else [found])
    await x.texts(tokens(PLAIN))
    await x.stop()


@scenario
async def text_numbers(x: SparkHTTPExchange) -> None:
    """The plain completion with all numbers as strings."""
    await x.start()
    for text in tokens(PLAIN):
        await x.chunk(code="0", choices=[{"delta": {"role": "assistant", "content": text}, "index": "0"}])
    usage = {name: str(count) for name, count in USAGE.items()}
    await x.chunk(code="0", choices=[{"delta": {"role": "assistant", "content": ""}, "index": "0"}], usage=usage)
    await x.send(b"data:[DONE]\n\n")


@scenario
async def one_call(x: SparkHTTPExchange) -> None:
    """A tool call in the vendor's own form, an object, and nothing else."""
    await x.start()
    await x.delta(tool_calls={"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}})
    await x.stop()


@scenario
async def words(x: SparkHTTPExchange, number: str, *message: str) -> None:
    """words:<n>:<message>: that code with that message as JSON instead of a stream."""
    body = {"code": int(number), "message": ":".join(message), "sid": SID}
    await x.respond(200, json.dumps(body).encode())


def listing() -> str:
    """Return the scenarios beyond those of the fake OpenAI, one a line."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
