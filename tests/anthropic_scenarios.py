"""The scenarios of the fake Anthropic, one function each, named like the model.

A message is a list of blocks; it goes out as a stream, or whole to a client that asked for no stream. Nothing of the
product is imported here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from tests.anthropic_rules import blocks_of, sign
from tests.loopback import Exchange
from tests.scenarios import PLAIN, REASONING, tokens

Block = dict[str, Any]
Scenario = Callable[..., Awaitable[None]]

USAGE = {"input_tokens": 9, "output_tokens": 7}
REDACTED = "EmwKAhgBEgy3va3pzix"
TOOL_ID = "toolu_01A09q90qw90lq917835lq9"
CITY = {"city": "杭州", "days": 2}
STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "forbidden": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def said(text: str) -> Block:
    return {"type": "text", "text": text}


def thought(text: str = REASONING, signature: str | None = None) -> Block:
    return {"type": "thinking", "thinking": text, "signature": sign(text) if signature is None else signature}


def called(name: str = "weather", given: Any = CITY, id_: str = TOOL_ID) -> Block:
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def event(kind: str, **fields: Any) -> bytes:
    """Return one event as the vendor writes it."""
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


def message_start(model: str, usage: dict[str, Any]) -> bytes:
    empty = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, **empty}
    return event("message_start", message=message)


def message_end(reason: str | None, usage: dict[str, Any], **delta: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None, **delta}, usage=usage) + event(
        "message_stop"
    )


def block_events(index: int, block: Block) -> Iterator[bytes]:
    """Yield the events of one block: its start without content, the content in pieces, its end."""
    deltas: list[Block] = []
    empty = block
    match block["type"]:
        case "text":
            empty = {"type": "text", "text": "", **({"citations": []} if "citations" in block else {})}
            deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
            deltas += [{"type": "text_delta", "text": text} for text in tokens(block["text"])]
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            deltas += [{"type": "thinking_delta", "thinking": text} for text in tokens(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "tool_use" | "server_tool_use":
            empty = {**block, "input": {}}
            arguments = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            deltas += [{"type": "input_json_delta", "partial_json": text} for text in ["", *tokens(arguments, 5)]]
    yield event("content_block_start", index=index, content_block=empty)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)


class MessagesExchange(Exchange):
    """An exchange with the vocabulary of the Messages API."""

    async def run(self, name: str) -> None:
        """Run the scenario of that name, with its arguments; unknown names are `plain`."""
        word, *arguments = name.split(":")
        await SCENARIOS.get(word, plain)(self, *arguments)

    @property
    def turns(self) -> list[dict[str, Any]]:
        return list(self.request.body["messages"])

    async def message(
        self,
        blocks: Sequence[Block],
        reason: str = "end_turn",
        usage: dict[str, Any] = USAGE,
        pause: float = 0,
        **delta: Any,
    ) -> None:
        """Send a message."""
        if not self.request.body.get("stream"):
            await self.whole(blocks, reason, usage, **delta)
            return
        await self.begin(usage)
        for index, block in enumerate(blocks):
            for data in block_events(index, block):
                await self.send(data)
                await asyncio.sleep(pause)
        await self.send(message_end(reason, usage, **delta))

    async def whole(self, blocks: Sequence[Block], reason: str, usage: dict[str, Any], **delta: Any) -> None:
        content = {"content": list(blocks), "stop_reason": reason, "stop_sequence": None, "usage": usage, **delta}
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": self.request.body["model"],
            **content,
        }
        await self.respond(200, json.dumps(message).encode())

    async def begin(self, usage: dict[str, Any] = USAGE) -> None:
        await self.start()
        await self.send(message_start(self.request.body["model"], usage) + event("ping"))

    async def refuse(self, kind: str, text: str = "no", status: int = 0, code: str = "", **headers: str) -> None:
        """Refuse the request in the vendor's envelope; its header for the id of a request has another name."""
        head = {"x-request-id": "", "request-id": "req_011CS", **headers}
        await self.respond(status or STATUSES[kind], json.dumps(error_of(kind, text, code)).encode(), **head)


def error_of(kind: str, text: str, code: str = "") -> dict[str, Any]:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": kind, "message": text, **details}, "request_id": "req_011CS"}


SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments come from the model's name, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


@scenario
async def plain(x: MessagesExchange) -> None:
    """The plain completion."""
    await x.message([said(PLAIN)])


@scenario
async def echo(x: MessagesExchange) -> None:
    """The last text of the last turn comes back."""
    await x.message([said(blocks_of(x.turns[-1])[-1]["text"])])


@scenario
async def paced(x: MessagesExchange, count: str = "100", milliseconds: str = "50") -> None:
    """paced:<n>:<ms>: a text with n numbers, ms milliseconds between its events."""
    await x.message([said("".join(f"{n:03} " for n in range(int(count))))], pause=int(milliseconds) / 1000)


@scenario
async def thinking(x: MessagesExchange) -> None:
    """A signed thought, then text; the vendor says how many tokens were thoughts."""
    usage = {**USAGE, "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 12}}
    await x.message([thought(), said(PLAIN)], usage=usage)


@scenario
async def omitted(x: MessagesExchange) -> None:
    """A thought of which only the signature is shown."""
    await x.message([thought(""), said(PLAIN)])


@scenario
async def redacted(x: MessagesExchange) -> None:
    """A thought in secret writing, another one, then text."""
    await x.message([{"type": "redacted_thinking", "data": REDACTED}, thought(), said(PLAIN)])


@scenario
async def tool(x: MessagesExchange) -> None:
    """Text, then a call."""
    await x.message([said("Let me look."), called()], "tool_use")


@scenario
async def tools(x: MessagesExchange) -> None:
    """Two calls at once; the second has no arguments."""
    await x.message([called(), called("now", {}, f"{TOOL_ID}2")], "tool_use")


@scenario
async def tool_round(x: MessagesExchange) -> None:
    """A thought and two calls with a thought each; after their results text that repeats them."""
    results = [str(block.get("content")) for block in blocks_of(x.turns[-1]) if block["type"] == "tool_result"]
    if results:
        await x.message([said(" and ".join(results))])
        return
    secret = {"type": "redacted_thinking", "data": REDACTED}
    second = called("now", {}, f"{TOOL_ID}2")
    await x.message([thought(), secret, said("Let me look."), called(), thought("And now?"), second], "tool_use")


@scenario
async def search(x: MessagesExchange) -> None:
    """A search by the vendor's own tool, its results, and text that cites one of them."""
    found = [
        {"type": "web_search_result", "url": f"https://{name}.example/", "title": name, "encrypted_content": "x"}
        for name in ("one", "two")
    ]
    cite = {"type": "web_search_result_location", "url": "https://two.example/", "title": "two", "cited_text": "x"}
    document = {"type": "char_location", "document_index": 0, "document_title": "d", "cited_text": "x"}
    where = {"start_char_index": 0, "end_char_index": 1}
    await x.message(
        [
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
            said("It is "),
            {**said("so"), "citations": [{**cite, "encrypted_index": "y"}, {**document, **where}]},
            said("."),
        ],
        usage={**USAGE, "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}},
    )


@scenario
async def stop(x: MessagesExchange, reason: str, text: str = PLAIN) -> None:
    """stop:<reason>[:<text>]: a text that ends so."""
    await x.message([said(text)] if text else [], reason)


@scenario
async def cached(x: MessagesExchange) -> None:
    """Tokens that the cache held, and some that it now takes."""
    usage = {**USAGE, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000}
    await x.message([said(PLAIN)], usage=usage)


@scenario
async def odd(x: MessagesExchange) -> None:
    """Unknown events, blocks and deltas, pings and comments among the plain completion."""
    await x.start()
    await x.send(b": hello\n\n" + event("ping") + event("weather_report", sun=True))
    await x.send(
        message_start("odd", USAGE) + event("content_block_start", index=0, content_block={"type": "hologram"})
    )
    await x.send(event("content_block_delta", index=0, delta={"type": "hologram_delta", "hologram": 3}))
    await x.send(event("content_block_stop", index=0) + event("ping") + b"data: null\n\ndata: ok\n\n")
    for data in block_events(1, said(PLAIN)):
        await x.send(data + event("ping"))
    await x.send(message_end("end_turn", USAGE) + event("error", error={"type": "api_error", "message": "late"}))
    await x.send(b"data: {broken\n\n")


@scenario
async def whole(x: MessagesExchange) -> None:
    """The whole message although a stream was asked for."""
    await x.whole([thought(), said(PLAIN), called()], "tool_use", USAGE)


@scenario
async def no_stop(x: MessagesExchange) -> None:
    """The connection ends after the stop reason, without `message_stop`."""
    await x.begin()
    for data in block_events(0, said(PLAIN)):
        await x.send(data)
    await x.send(event("message_delta", delta={"stop_reason": "end_turn"}, usage=USAGE))


@scenario
async def cut(x: MessagesExchange) -> None:
    """Two deltas, then the end of the stream."""
    await x.begin()
    for data in [*block_events(0, said(PLAIN))][:3]:
        await x.send(data)


@scenario
async def eof(x: MessagesExchange) -> None:
    """A stream that ends at once."""
    await x.begin()
    await x.send(event("message_stop"))


@scenario
async def error(x: MessagesExchange, kind: str, *text: str) -> None:
    """error:<type>[:<message>]: that error with its status."""
    await x.refuse(kind, ":".join(text) or f"leak {x.request.user}")


@scenario
async def limited(x: MessagesExchange, seconds: str = "7") -> None:
    """limited[:<s>]: a rate limit that ends in s seconds."""
    headers = {"retry-after": seconds, "anthropic-ratelimit-requests-remaining": "0"}
    await x.refuse("rate_limit_error", "This request would exceed your organization's rate limit", **headers)


@scenario
async def code(x: MessagesExchange, kind: str, word: str) -> None:
    """code:<type>:<error code>: that error with the code in its details."""
    await x.refuse(kind, "no", code=word)


@scenario
async def error_first(x: MessagesExchange, kind: str, *text: str) -> None:
    """error_first:<type>[:<message>]: that error as the only event of a stream."""
    await x.start()
    await x.send(event("error", **{k: v for k, v in error_of(kind, ":".join(text) or "no").items() if k != "type"}))


@scenario
async def error_mid(x: MessagesExchange, kind: str, *text: str) -> None:
    """error_mid:<type>[:<message>]: two deltas, then that error."""
    await cut(x)
    await x.send(event("error", **{k: v for k, v in error_of(kind, ":".join(text) or "no").items() if k != "type"}))


@scenario
async def once(x: MessagesExchange, *first: str) -> None:
    """once:<scenario>: that scenario for the first call of this model name, later plain."""
    await x.run(":".join(first) if x.calls == 1 else "plain")


@scenario
async def bound(x: MessagesExchange) -> None:
    """Thinking blocks of earlier turns are those of another model; without any the plain completion."""
    kinds = [block["type"] for turn in x.turns for block in blocks_of(turn)]
    if "thinking" in kinds:
        text = "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified."
        await x.refuse("invalid_request_error", f"messages.1.content.0: {text}")
    else:
        await plain(x)


@scenario
async def adaptive(x: MessagesExchange) -> None:
    """A model that thinks as long as it likes, and knows no other way."""
    kind = x.request.body.get("thinking", {"type": "adaptive"})["type"]
    if kind == "adaptive":
        await thinking(x)
    else:
        await x.refuse("invalid_request_error", f'"thinking.type.{kind}" is not supported for this model.')


@scenario
async def unforced(x: MessagesExchange) -> None:
    """A model that cannot be forced to call a tool."""
    if x.request.body.get("tool_choice", {"type": "auto"})["type"] in ("any", "tool"):
        await x.refuse("invalid_request_error", "Thinking may not be enabled when tool_choice forces tool use.")
    else:
        await plain(x)


@scenario
async def window(x: MessagesExchange, prompt: str, limit: str) -> None:
    """window:<p>:<n>: a context of n tokens, of which the prompt has p."""
    cap = x.request.body["max_tokens"]
    if int(prompt) + cap > int(limit):
        text = f"input length and `max_tokens` exceed context limit: {prompt} + {cap} > {limit}"
        await x.refuse("invalid_request_error", f"{text}, decrease input length or `max_tokens` and try again")
    else:
        await plain(x)


@scenario
async def turns(x: MessagesExchange, most: str) -> None:
    """turns:<n>: a prompt with more than n turns is too long."""
    if len(x.turns) > int(most):
        await x.refuse("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    else:
        await plain(x)


def listing() -> str:
    """Return the scenarios, one a line."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
