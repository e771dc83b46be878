"""The scenarios of the fake Zhipu for v4 and v3, one function each, named like the model.

v4 knows the scenarios of `tests.scenarios` too, spoken in Zhipu's way. The server is in `tests.zhipu`.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.loopback import Exchange
from tests.scenarios import PLAIN, SCENARIOS, ChatExchange, Scenario, run_scenario, tokens

USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
TASK = "8065135252561182716"


def status_of(code: str) -> int:
    """Return the HTTP status that the vendor sends with a code."""
    if code in ("500", "1200", "1230", "1234"):
        return 500
    if code.startswith("100"):
        return 401
    return 400 if code.startswith("12") or code in ("1300", "1301") else 429


def error_of(code: str, message: str) -> dict[str, Any]:
    """Return the vendor's error body."""
    body: dict[str, Any] = {"error": {"code": code, "message": message}}
    return {"contentFilter": [{"level": 1, "role": "user"}], **body} if code in ("1300", "1301") else body


# --- v4 --------------------------------------------------------------------------------------------------------------


class V4Exchange(ChatExchange):
    """Chat completions as Zhipu speaks them: no `object`, a role on every chunk, the usage in the finish chunk."""

    async def run(self, name: str) -> None:
        word, *arguments = name.split(":")
        if word in V4:
            await V4[word](self, *arguments)
        else:
            await run_scenario(self, name)

    async def start(self, content_type: str = "text/event-stream;charset=UTF-8") -> None:
        await super().start(content_type)

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        await self.chunk(finish_reason, delta)

    async def chunk(self, finish_reason: str | None, delta: dict[str, Any], **more: Any) -> None:
        choice: dict[str, Any] = {"index": 0, "delta": {"role": "assistant", **delta}}
        if finish_reason:
            choice["finish_reason"] = finish_reason
        await self.data({"id": TASK, "created": 1704164645, "model": "glm-4.5", "choices": [choice], **more})

    async def data(self, value: dict[str, Any]) -> None:
        await self.send(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")

    async def stop(self, completion_tokens: int = USAGE["completion_tokens"]) -> None:
        await self.chunk("stop", {"content": ""}, usage={**USAGE, "completion_tokens": completion_tokens})
        await self.send(b"data: [DONE]\n\n")

    async def refuse_code(self, code: str, message: str = "no") -> None:
        await self.respond(status_of(code), json.dumps(error_of(code, message), ensure_ascii=False).encode())


V4: dict[str, Scenario] = {}


def v4(run: Scenario) -> Scenario:
    """Register a scenario of v4 under its function's name."""
    V4[run.__name__] = run
    return run


@v4
async def error(x: V4Exchange, code: str, *message: str) -> None:
    """error:<code>[:<message>]: that error with its HTTP status; `{soon}` in the message is two hours from then."""
    soon = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(hours=2)
    said = ":".join(message).replace("{soon}", f"{soon:%Y-%m-%d %H:%M:%S}")
    await x.refuse_code(code, said or f"leak {x.request.headers.get('authorization')}")


@v4
async def error_first(x: V4Exchange, code: str) -> None:
    """error_first:<code>: that error as the only event of a stream."""
    await x.start()
    await x.data(error_of(code, "no"))


@v4
async def error_mid(x: V4Exchange, code: str) -> None:
    """error_mid:<code>: three deltas, then that error."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    await x.data(error_of(code, "no"))


@v4
async def platform(x: V4Exchange, code: str) -> None:
    """platform:<code>: 200 with a JSON body in the platform's own envelope."""
    await x.respond(200, json.dumps({"code": int(code), "msg": "no", "success": False}).encode())


@v4
async def platform_event(x: V4Exchange, code: str) -> None:
    """platform_event:<code>: the platform's own envelope as the only event of a stream."""
    await x.start()
    await x.data({"code": int(code), "msg": "no", "success": False})


@v4
async def once(x: V4Exchange, *first: str) -> None:
    """once:<scenario>: that scenario for the first call of this model name, later plain."""
    await x.run(":".join(first) if x.calls == 1 else "plain")


@v4
async def deep(x: V4Exchange) -> None:
    """Thinking text, then content that begins with a line feed of its own."""
    await x.start()
    for text in ("The ", "user"):
        await x.delta(reasoning_content=text)
    await x.texts(["\n", *tokens(PLAIN)])
    await x.stop()


@v4
async def finish_twice(x: V4Exchange) -> None:
    """The plain completion, its finish chunk sent twice."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.chunk("stop", {"content": ""}, usage=USAGE)
    await x.stop()


@v4
async def tool_stream(x: V4Exchange) -> None:
    """A tool call in pieces, each with the id and the index."""
    await x.start()
    for name, arguments in (("f", ""), ("", '{"x":'), ("", "1}")):
        function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
        await x.delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": function}])
    await x.chunk("tool_calls", {"content": ""}, usage=USAGE)
    await x.send(b"data: [DONE]\n\n")


@v4
async def refused(x: V4Exchange, code: str, *message: str) -> None:
    """refused:<code>:<message>: that error while the field is sent that the message begins with, else plain."""
    said = ":".join(message)
    await (x.refuse_code(code, said) if said.split()[0] in x.request.body else x.run("plain"))


@v4
async def reason(x: V4Exchange, word: str, text: str = PLAIN) -> None:
    """reason:<finish reason>[:<text>]: a completion that ends so; `sensitive` tells the level too."""
    await x.start()
    await x.texts(tokens(text))
    more = {"content_filter": [{"role": "assistant", "level": 1}]} if word == "sensitive" else {}
    await x.chunk(word, {"content": ""}, usage=USAGE, **more)
    await x.send(b"data: [DONE]\n\n")


# --- v3 --------------------------------------------------------------------------------------------------------------


class V3Exchange(Exchange):
    """The legacy stream: events with raw text, a field `meta` at the end."""

    async def run(self, name: str) -> None:
        word, *arguments = name.split(":")
        # What needs no words of chat completions is the same here.
        await (V3.get(word) or SCENARIOS.get(word, V3["plain"]))(self, *arguments)

    async def event(self, name: str, text: str = "", *after: str, before: Sequence[str] = ()) -> None:
        lines = [*([f"event:{name}"] if name else []), f"id:{TASK}", *before]
        lines += [f"data:{line}" for line in text.split("\n")]
        await self.send(("\n".join([*lines, *after]) + "\n\n").encode())

    async def texts(self, texts: Sequence[str], pause: float = 0.0) -> None:
        """Stream texts; to a client that did not ask for increments each event repeats everything so far."""
        incremental = self.request.body.get("incremental") is True
        for n, text in enumerate(texts, 1):
            await self.event("add", text if incremental else "".join(texts[:n]))
            if pause:
                await asyncio.sleep(pause)

    def meta(self, status: str | None = "SUCCESS") -> str:
        told = {"request_id": self.request.body["request_id"], "task_id": TASK, "usage": USAGE}
        return "meta:" + json.dumps(told if status is None else {**told, "task_status": status})

    async def finish(self) -> None:
        await self.event("finish", "", self.meta())

    async def refuse_code(self, code: str, message: str = "no") -> None:
        body = {"code": int(code), "msg": message, "success": False}
        await self.respond(200, json.dumps(body).encode(), "application/json;charset=UTF-8")


V3: dict[str, Scenario] = {}


def v3(run: Scenario) -> Scenario:
    """Register a scenario of v3 under its function's name, without its prefix."""
    V3[run.__name__.removeprefix("v3_")] = run
    return run


@v3
async def plain(x: V3Exchange) -> None:
    """The plain completion, then usage and the end."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.finish()


@v3
async def multiline(x: V3Exchange) -> None:
    """Deltas with line feeds at their ends, in their middle and alone, an empty one, an English word's space."""
    await x.start()
    await x.texts(["It", " is ", "", " a small\n", "\n", " world,", " after\x20", "all."])
    await x.finish()


@v3
async def meta_before(x: V3Exchange) -> None:
    """The field `meta` before the data."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.event("finish", "", before=[x.meta()])


@v3
async def meta_after(x: V3Exchange) -> None:
    """The field `meta` after the data."""
    await plain(x)


@v3
async def meta_odd(x: V3Exchange, meta: str = "") -> None:
    """meta_odd[:<text>]: an end whose `meta` is missing or that text."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.event("finish", "", *([f"meta:{meta}"] if meta else []))


@v3
async def status(x: V3Exchange, word: str = "") -> None:
    """status[:<task status>]: an end with that task status, or with none."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.event("finish", "", x.meta(word or None))


@v3
async def relayed(x: V3Exchange) -> None:
    """An English completion written anew by a relay that puts a space after every colon."""
    await x.start()
    for text in ("It", " is", " small"):
        await x.send(f"event: add\nid: {TASK}\ndata: {text}\n\n".encode())
    await x.send(f"event: finish\nid: {TASK}\ndata: \n{x.meta().replace('meta:', 'meta: ')}\n\n".encode())


@v3
async def looks_like_an_error(x: V3Exchange) -> None:
    """Text that looks like an error object."""
    await x.start()
    await x.texts(['{"code":1113,"msg":"arrears"}'])
    await x.finish()


@v3
async def silent(x: V3Exchange) -> None:
    """An end without any text."""
    await x.start()
    await x.finish()


@v3
async def error_plain(x: V3Exchange, code: str = "") -> None:
    """error_plain[:<code>]: an error in plain text, the code in brackets."""
    await x.start()
    await x.event("error", f"[{code}][prompt 参数非法。请检查文档。]" if code else "模型服务异常")


@v3
async def error_json(x: V3Exchange, code: str) -> None:
    """error_json:<code>: an error with code and msg."""
    await x.start()
    await x.event("error", json.dumps({"code": int(code), "msg": f"leak {x.request.headers['authorization']}"}))


@v3
async def error_object(x: V3Exchange, code: str) -> None:
    """error_object:<code>: an error in the envelope of v4."""
    await x.start()
    await x.event("error", json.dumps(error_of(code, "no")))


@v3
async def error_200(x: V3Exchange, code: str) -> None:
    """error_200:<code>: an error as the only event, without a name."""
    await x.start()
    await x.send(b"data:" + json.dumps({"code": int(code), "msg": "no", "success": False}).encode() + b"\n\n")


@v3
async def error_body(x: V3Exchange, code: str) -> None:
    """error_body:<code>: 200 with a JSON body."""
    await x.refuse_code(code, f"leak {x.request.headers['authorization']}")


@v3
async def v3_error_mid(x: V3Exchange, code: str) -> None:
    """error_mid:<code>: two deltas, then an error."""
    await x.start()
    await x.texts(["one ", "two "])
    await x.event("error", json.dumps({"code": int(code), "msg": "no"}))


@v3
async def interrupted(x: V3Exchange) -> None:
    """Stopped before any text."""
    await x.start()
    await x.event("interrupted", "系统检测到敏感内容")


@v3
async def interrupted_mid(x: V3Exchange) -> None:
    """Two deltas, then stopped."""
    await x.start()
    await x.texts(["one ", "two "])
    await x.event("interrupted", "系统检测到敏感内容", x.meta("FAIL"))


@v3
async def unknown(x: V3Exchange) -> None:
    """A new kind of event before the completion."""
    await x.start()
    await x.event("thinking", "hmm")
    await x.send(b"data:\n\n")
    await x.texts(tokens(PLAIN))
    await x.finish()


@v3
async def nameless(x: V3Exchange) -> None:
    """An event without a name that is no error."""
    await x.start()
    await x.send(b"data:hello\n\n")


@v3
async def v3_paced(x: V3Exchange, count: str = "100", milliseconds: str = "50") -> None:
    """paced:<n>:<ms>: n numbered deltas, ms milliseconds apart."""
    await x.start()
    await x.texts([f"{n} " for n in range(int(count))], int(milliseconds) / 1000)
    await x.finish()


@v3
async def v3_once(x: V3Exchange, *first: str) -> None:
    """once:<scenario>: that scenario for the first call of this model name, later plain."""
    await x.run(":".join(first) if x.calls == 1 else "plain")


@v3
async def v3_echo(x: V3Exchange) -> None:
    """The last turn comes back."""
    await x.start()
    await x.texts(tokens(x.request.body["prompt"][-1]["content"]))
    await x.finish()


def listing() -> str:
    """Return the scenarios, one a line."""
    return "\n".join(
        f"{version} {name:24} {run.__doc__}"
        for version, table in (("v4", V4), ("v3", V3))
        for name, run in table.items()
    )
