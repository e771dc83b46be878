"""The scenarios of the fake Gemini, one function each, named like the model.

The server, which judges requests first, is in `tests.gemini`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.loopback import Exchange
from tests.scenarios import PLAIN, REASONING, tokens

SIGNATURE = "c2lnbmF0dXJlIG9mIGEgdGhvdWdodA=="
USAGE = {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16}
CALL = {"functionCall": {"name": "weather", "args": {"city": "杭州", "days": 2}}}
SIGNED_CALL = {**CALL, "thoughtSignature": SIGNATURE}
SOURCES = [("https://example.org/a", "First page"), ("https://example.org/b", "")]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def text_part(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, **more}


def answer(*parts: dict[str, Any], reason: str = "", usage: dict[str, int] | None = None, **more: Any) -> Any:
    """Return one object of a stream."""
    candidate: dict[str, Any] = {"index": 0, **more}
    if parts:
        candidate["content"] = {"parts": list(parts), "role": "model"}
    if reason:
        candidate["finishReason"] = reason
    found = {"candidates": [candidate], "modelVersion": "gemini-3-flash", "responseId": "kYhZaeXq"}
    return {**found, "usageMetadata": usage} if usage else found


def error_body(status: int, word: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    """Return the vendor's envelope."""
    error = {"code": status, "message": message, "status": word}
    return {"error": {**error, "details": list(details)} if details else error}


def reason_detail(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def retry_detail(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_detail(quota: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


class GeminiExchange(Exchange):
    """An exchange with the vocabulary of `streamGenerateContent`."""

    @property
    def contents(self) -> list[dict[str, Any]]:
        return list(self.request.body["contents"])

    @property
    def last_prompt(self) -> str:
        return "".join(part.get("text", "") for part in self.contents[-1]["parts"])

    async def run(self, name: str) -> None:
        """Run `name[:argument...]`; names that are no scenario, such as real models', are `plain`."""
        word, *arguments = name.split(":")
        await SCENARIOS.get(word, plain)(self, *arguments)

    async def fail(self, status: int, word: str, message: str, *details: dict[str, Any], listed: bool = True) -> None:
        """Refuse; the streaming method of the vendor puts its errors into a list."""
        body = error_body(status, word, message, *details)
        await self.respond(status, json.dumps([body] if listed else body, indent=2).encode())

    async def data(self, value: Any) -> None:
        await self.send(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n")

    async def texts(self, texts: Sequence[str], pause: float = 0.0) -> None:
        for text in texts:
            await self.data(answer(text_part(text), usage={"promptTokenCount": 9, "totalTokenCount": 9}))
            if pause:
                await asyncio.sleep(pause)

    async def stop(self, *parts: dict[str, Any], reason: str = "STOP", **usage: int) -> None:
        await self.data(answer(*parts, reason=reason, usage={**USAGE, **usage}))

    async def stream(self, texts: Sequence[str], pause: float = 0.0) -> None:
        """Stream a whole completion; the last text carries the finish reason, as the vendor writes it."""
        await self.start("text/event-stream")
        await self.texts(texts[:-1], pause)
        await self.stop(*(text_part(text) for text in texts[-1:]), candidatesTokenCount=len(texts))


Scenario = Callable[..., Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments follow it, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


@scenario
async def plain(x: GeminiExchange) -> None:
    """A short fixed text with Chinese, emoji and Markdown."""
    await x.stream(tokens(PLAIN))


@scenario
async def echo(x: GeminiExchange) -> None:
    """The last turn comes back, four characters a part."""
    await x.stream(tokens(x.last_prompt))


@scenario
async def long(x: GeminiExchange, count: str = "1000") -> None:
    """long:<n>: n numbered parts as fast as possible."""
    await x.stream([f"{n} " for n in range(int(count))])


@scenario
async def paced(x: GeminiExchange, count: str = "100", milliseconds: str = "50") -> None:
    """paced:<n>:<ms>: n numbered parts, ms milliseconds apart."""
    await x.stream([f"{n} " for n in range(int(count))], int(milliseconds) / 1000)


@scenario
async def thoughts(x: GeminiExchange) -> None:
    """Thoughts, then the plain completion, and a last empty part with a signature."""
    await x.start("text/event-stream")
    for text in tokens(REASONING):
        await x.data(answer(text_part(text, thought=True)))
    await x.texts(tokens(PLAIN))
    await x.stop(text_part("", thoughtSignature=SIGNATURE), thoughtsTokenCount=5, cachedContentTokenCount=4)


@scenario
async def thinking(x: GeminiExchange, reason: str = "MAX_TOKENS") -> None:
    """thinking[:<reason>]: thoughts only, and that finish reason."""
    await x.start("text/event-stream")
    await x.data(answer(text_part(REASONING, thought=True)))
    await x.stop(reason=reason, candidatesTokenCount=0, thoughtsTokenCount=5)


@scenario
async def finish_everywhere(x: GeminiExchange, reason: str = "STOP") -> None:
    """finish_everywhere[:<reason>]: STOP with running usage on every object, and that reason on the last."""
    await x.start("text/event-stream")
    for n, text in enumerate(tokens(PLAIN), 1):
        await x.stop(text_part(text), candidatesTokenCount=n)
    await x.stop(reason=reason)


@scenario
async def finish(x: GeminiExchange, reason: str, text: str = PLAIN) -> None:
    """finish:<reason>[:<text>]: a completion (empty with an empty text) that ends with that finish reason."""
    await x.start("text/event-stream")
    await x.texts(tokens(text))
    await x.stop(reason=reason)


@scenario
async def empty(x: GeminiExchange) -> None:
    """A well-formed stream without a part."""
    await x.start("text/event-stream")
    await x.stop(candidatesTokenCount=0)


@scenario
async def blocked(x: GeminiExchange, reason: str = "PROHIBITED_CONTENT") -> None:
    """blocked[:<reason>]: the prompt is blocked, and there is no candidate."""
    await x.start("text/event-stream")
    usage = {"promptTokenCount": 9, "totalTokenCount": 9}
    await x.data({"promptFeedback": {"blockReason": reason}, "usageMetadata": usage, "modelVersion": "gemini-3-flash"})


@scenario
async def tool(x: GeminiExchange) -> None:
    """A signed call, one more beside it, and no text."""
    await x.start("text/event-stream")
    await x.data(answer(SIGNED_CALL, {"functionCall": {"name": "clock", "args": {}}}))
    await x.stop(text_part(""))


@scenario
async def tool_with_text(x: GeminiExchange) -> None:
    """Text, then a call with an id of the vendor's."""
    await x.start("text/event-stream")
    call = {"functionCall": {**CALL["functionCall"], "id": "8f2b1a3c"}, "thoughtSignature": SIGNATURE}
    await x.texts(["Let me ", "look. "])
    await x.stop(call)


@scenario
async def tool_round(x: GeminiExchange) -> None:
    """A signed call of the first function declared; with its response at hand, that response."""
    responses = [
        part["functionResponse"] for turn in x.contents for part in turn["parts"] if "functionResponse" in part
    ]
    if responses:
        await x.stream(tokens(json.dumps(responses[-1]["response"], ensure_ascii=False)))
        return
    await x.start("text/event-stream")
    name = x.request.body["tools"][0]["functionDeclarations"][0]["name"]
    await x.data(answer({"functionCall": {**CALL["functionCall"], "name": name}, "thoughtSignature": SIGNATURE}))
    await x.stop(text_part(""))


@scenario
async def grounded(x: GeminiExchange, oddly: str = "") -> None:
    """grounded[:oddly]: text that cites pages of a search, perhaps among entries that are none."""
    await x.start("text/event-stream")
    await x.texts(tokens(PLAIN))
    chunks = [{"web": {"uri": uri, **({"title": title} if title else {})}} for uri, title in SOURCES]
    odd: list[Any] = [{"web": {"uri": "javascript:alert(1)"}}, {"web": None}, 7, chunks[0]] if oddly else []
    await x.data(answer(reason="STOP", usage=USAGE, groundingMetadata={"groundingChunks": [*chunks, *odd]}))


@scenario
async def image(x: GeminiExchange) -> None:
    """Text around an image."""
    await x.start("text/event-stream")
    await x.texts(["Here it is: "])
    await x.data(answer({"inlineData": {"mimeType": "image/png", "data": PIXEL}, "thought": True}))
    await x.data(answer({"inlineData": {"mimeType": "image/png", "data": PIXEL}}))
    await x.texts(["done."])
    await x.stop()


@scenario
async def array(x: GeminiExchange) -> None:
    """A JSON array that grows, as the vendor sends without `alt=sse`."""
    await x.start("application/json; charset=UTF-8")
    texts = tokens(PLAIN)
    objects = [answer(text_part(text)) for text in texts] + [answer(reason="STOP", usage=USAGE)]
    for place, value in enumerate(objects):
        await x.send((b",\r\n" if place else b"[") + json.dumps(value, indent=2, ensure_ascii=False).encode())
        await asyncio.sleep(0.005)
    await x.send(b"\n]\n")


@scenario
async def array_open(x: GeminiExchange) -> None:
    """The same array, after which the connection stays open."""
    await array(x)
    await asyncio.Event().wait()


@scenario
async def whole(x: GeminiExchange) -> None:
    """One object instead of a stream."""
    await x.respond(200, json.dumps(answer(text_part(PLAIN), reason="STOP", usage=USAGE)).encode())


@scenario
async def cut(x: GeminiExchange) -> None:
    """Three parts, then the end of the connection."""
    await x.start("text/event-stream")
    await x.texts(["one ", "two ", "three "])
    x.cut()


@scenario
async def no_reason(x: GeminiExchange) -> None:
    """Three parts, then the end of the body without a finish reason."""
    await x.start("text/event-stream")
    await x.texts(["one ", "two ", "three "])


@scenario
async def error(x: GeminiExchange, status: str, word: str, *message: str) -> None:
    """error:<status>:<word>[:<message>]: that refusal."""
    await x.fail(int(status), word, ":".join(message) or f"leak {x.request.user}")


@scenario
async def error_reason(x: GeminiExchange, status: str, word: str, reason: str) -> None:
    """error_reason:<status>:<word>:<reason>: that refusal, with a reason among its details."""
    await x.fail(int(status), word, "no", reason_detail(reason), listed=False)


@scenario
async def error_mid(x: GeminiExchange, status: str, word: str) -> None:
    """error_mid:<status>:<word>: three parts, then that error."""
    await x.start("text/event-stream")
    await x.texts(["one ", "two ", "three "])
    await x.data(error_body(int(status), word, "no"))


@scenario
async def error_first(x: GeminiExchange, status: str, word: str) -> None:
    """error_first:<status>:<word>: that error as the only event of a stream."""
    await x.start("text/event-stream")
    await x.data(error_body(int(status), word, "no"))


@scenario
async def limited(
    x: GeminiExchange, quota: str = "GenerateRequestsPerMinutePerProjectPerModel", delay: str = "7s"
) -> None:
    """limited[:<quota>[:<delay>]]: 429 for that quota, with that delay among the details."""
    message = "You exceeded your current quota, please check your plan and billing details."
    await x.fail(429, "RESOURCE_EXHAUSTED", message, quota_detail(quota), retry_detail(delay))


@scenario
async def context(x: GeminiExchange, turns: str) -> None:
    """context:<n>: more than n turns are too long, else plain."""
    if len(x.contents) > int(turns):
        text = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        await x.fail(400, "INVALID_ARGUMENT", text)
    else:
        await plain(x)


@scenario
async def without(x: GeminiExchange, name: str) -> None:
    """without:<name>: a field of the settings that this model does not know is refused, else plain."""
    if name in x.request.body.get("generationConfig", {}):
        text = f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': Cannot find field."
        await x.fail(400, "INVALID_ARGUMENT", text)
    else:
        await plain(x)


@scenario
async def unable(x: GeminiExchange, name: str, *message: str) -> None:
    """unable:<name>:<message>: refuse in these words while that field is among the settings, else plain."""
    if name in x.request.body.get("generationConfig", {}):
        await x.fail(400, "INVALID_ARGUMENT", ":".join(message))
    else:
        await plain(x)


@scenario
async def page(x: GeminiExchange, status: str) -> None:
    """page:<status>: a page of something in between."""
    await x.respond(int(status), b"<html>leak</html>", "text/html")


@scenario
async def hang(x: GeminiExchange) -> None:
    """Silence."""
    await asyncio.Event().wait()


def listing() -> str:
    """Return the names of the scenarios with the first lines of their docstrings."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
