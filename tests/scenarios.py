"""The scenarios of the fake OpenAI upstream, one function each, named like the model.

The first line of its docstring is what `python -m tests.upstreams --list` prints. The server is in `tests.loopback`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.loopback import Exchange

PLAIN = "你好，**世界**！👋 Here is `code`:\n\n- one\n- two\n"
REASONING = "让我想想… two plus two."
TOOL_ARGUMENTS = '{"city": "杭州", "days": 2}'
LONG_LINE_BYTES = 200 * 1024 * 1024
CITED = ("https://example.org/water?a=1&b=2", "https://例子.example/水")
USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
# A PNG of 40 × 20 pixels, as OpenRouter sends images.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAACgAAAAUCAIAAABwJOjsAAAAKklEQVR4nGP8z0A+YGQgXzcTBfZSBEYtHrV41OJRi0"
    "ctHrV41OJRi+kPAGYwAicTDGA1AAAAAElFTkSuQmCC"
)
MADE_IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PNG}"}, "index": 0}


def event_bytes(**chunk: Any) -> bytes:
    """Return one event as OpenAI sends it."""
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1704164645, "model": "m-1", **chunk}
    return b"data: " + json.dumps(whole, ensure_ascii=False).encode() + b"\n\n"


def delta_bytes(finish_reason: str | None = None, **delta: Any) -> bytes:
    """Return one event with one choice."""
    return event_bytes(choices=[{"index": 0, "delta": delta, "finish_reason": finish_reason}])


def tokens(text: str, size: int = 4) -> list[str]:
    """Cut `text` into deltas of `size` characters."""
    return [text[i : i + size] for i in range(0, len(text), size)]


class ChatExchange(Exchange):
    """An exchange with the vocabulary of chat completions."""

    @property
    def last_prompt(self) -> str:
        return str(self.request.body["messages"][-1]["content"])

    async def run(self, name: str) -> None:
        """Run the scenario of that name, with its arguments."""
        await run_scenario(self, name)

    async def refuse(
        self, status: int, code: str | None, message: str = "no", param: str | None = None, **headers: str
    ) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        await self.respond(status, json.dumps({"error": error}).encode(), **headers)

    async def embed(self) -> None:
        """Embed each text as its length; models that are called like failures fail."""
        if (name := self.request.scenario).startswith(("http_", "hang", "json_200", "flaky")):
            await self.run(name)
            return
        given = self.request.body["input"]
        data = [{"object": "embedding", "index": n, "embedding": [len(text), 0.5]} for n, text in enumerate(given)]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        body = {"object": "list", "data": data, "model": "vendor-name", "usage": usage}
        await self.respond(200, json.dumps(body).encode())

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        await self.send(delta_bytes(finish_reason, **delta))

    async def think(self, seconds: float) -> None:
        """Let so much time pass between reasoning and content."""
        await asyncio.sleep(seconds)

    async def texts(self, texts: Sequence[str], pause: float = 0.0) -> None:
        for text in texts:
            await self.delta(content=text)
            if pause:
                await asyncio.sleep(pause)

    async def stop(self, completion_tokens: int = USAGE["completion_tokens"], reason: str = "stop") -> None:
        """End well: finish reason, usage if asked for, terminator."""
        end = delta_bytes(reason)
        if self.request.body.get("stream_options", {}).get("include_usage"):
            end += event_bytes(choices=[], usage={**USAGE, "completion_tokens": completion_tokens})
        await self.send(end + b"data: [DONE]\n\n")

    async def answer(self, texts: Sequence[str], pause: float = 0.0) -> None:
        """Stream a whole completion, one event per text."""
        await self.start()
        await self.delta(role="assistant", content="")
        await self.texts(texts, pause)
        await self.stop(len(texts))


Scenario = Callable[..., Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments come from the model's name, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


async def run_scenario(exchange: Exchange, name: str) -> None:
    """Run `name[:argument...]`; names that are no scenario, such as real models', are `plain`."""
    word, *arguments = name.split(":")
    if word.startswith("http_"):
        word, arguments = "http", [word.removeprefix("http_"), *arguments]
    await SCENARIOS.get(word, SCENARIOS["plain"])(exchange, *arguments)


@scenario
async def plain(x: ChatExchange) -> None:
    """A short fixed text with Chinese, emoji and Markdown, usage, [DONE]."""
    await x.answer(tokens(PLAIN))


@scenario
async def slow(x: ChatExchange) -> None:
    """The plain completion, 1 s before the first delta and 0.2 s between deltas."""
    await asyncio.sleep(1)
    await x.answer(tokens(PLAIN), 0.2)


@scenario
async def silent(x: ChatExchange, seconds: str = "3") -> None:
    """silent:<s>: the plain completion after so many seconds without a byte."""
    await asyncio.sleep(float(seconds))
    await x.answer(tokens(PLAIN))


@scenario
async def echo(x: ChatExchange) -> None:
    """The last message comes back, four characters a delta."""
    await x.answer(tokens(x.last_prompt))


@scenario
async def typed(x: ChatExchange, chars: str = "8", milliseconds: str = "30") -> None:
    """typed:<chars>:<ms>: the prompt comes back slowly; what is before ||| as reasoning, before ^^^ at once."""
    reasoning, _, text = x.last_prompt.rpartition("|||")
    head, _, text = text.rpartition("^^^")
    await x.start()
    await x.delta(role="assistant", content="")
    for delta in tokens(reasoning, int(chars)):
        await x.delta(reasoning_content=delta)
        await asyncio.sleep(int(milliseconds) / 1000)
    await x.texts(tokens(head, int(chars)))
    await x.texts(tokens(text, int(chars)), int(milliseconds) / 1000)
    await x.stop()


@scenario
async def titler(x: ChatExchange) -> None:
    """Asked for a title of a prompt `<what> = <title>`: that title; `fail` is refused, `back` is written backward."""
    what, _, title = x.last_prompt.splitlines()[1].partition(" = ")
    title = title[::-1] if what == "back" else title
    await (http(x, "400") if what == "fail" else x.answer(tokens(title)))


@scenario
async def pieces(x: ChatExchange) -> None:
    """The last message comes back, one delta for each part between | signs."""
    await x.answer(x.last_prompt.split("|"))


@scenario
async def long(x: ChatExchange, count: str = "1000") -> None:
    """long:<n>: n numbered deltas as fast as possible."""
    await x.answer([f"{n} " for n in range(int(count))])


@scenario
async def large(x: ChatExchange, count: str = "100", chars: str = "10000") -> None:
    """large:<n>:<chars>: n deltas of so many Chinese characters, as fast as possible."""
    await x.answer(["字" * int(chars)] * int(count))


@scenario
async def growing(x: ChatExchange, count: str = "100", chars: str = "10000", milliseconds: str = "30") -> None:
    """growing:<n>:<chars>:<ms>: n deltas of so many Chinese characters, ms milliseconds apart."""
    await x.answer(["字" * int(chars)] * int(count), int(milliseconds) / 1000)


@scenario
async def paced(x: ChatExchange, count: str = "100", milliseconds: str = "50") -> None:
    """paced:<n>:<ms>: n numbered deltas, ms milliseconds apart."""
    await x.answer([f"{n} " for n in range(int(count))], int(milliseconds) / 1000)


@scenario
async def reasoning(x: ChatExchange) -> None:
    """Thinking text in reasoning_content, then the plain completion."""
    await x.start()
    for text in tokens(REASONING):
        await x.delta(role="assistant", reasoning_content=text)
    await x.texts(tokens(PLAIN))
    await x.stop()


@scenario
async def thinking(x: ChatExchange, reason: str = "stop") -> None:
    """thinking[:<reason>]: thinking text only, and that finish reason."""
    await x.start()
    for text in tokens(REASONING):
        await x.delta(reasoning_content=text)
    await x.send(delta_bytes(reason) + b"data: [DONE]\n\n")


@scenario
async def thinking_paced(x: ChatExchange, count: str = "100", milliseconds: str = "50") -> None:
    """thinking_paced:<n>:<ms>: n numbered pieces of thinking text, ms milliseconds apart, then stop."""
    await x.start()
    for number in range(int(count)):
        await x.delta(reasoning_content=f"{number} ")
        await asyncio.sleep(int(milliseconds) / 1000)
    await x.stop()


@scenario
async def thinking_cut(x: ChatExchange) -> None:
    """Thinking text, then the connection is cut."""
    await x.start()
    await x.delta(reasoning_content=REASONING)
    x.cut()


@scenario
async def think_tags(x: ChatExchange) -> None:
    """A leading <think> block inside the content, its tags cut by delta borders."""
    await x.answer(tokens(f"<think>{REASONING}</think>\n\n{PLAIN}", 3))


@scenario
async def content_parts(x: ChatExchange) -> None:
    """Content as lists of text parts."""
    await x.answer([[{"type": "text", "text": text}] for text in tokens(PLAIN)])  # type: ignore[misc]


@scenario
async def tools(x: ChatExchange) -> None:
    """A tool call and no text."""
    await x.start()
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    await x.delta(tool_calls=[call])
    await x.send(delta_bytes("tool_calls") + b"data: [DONE]\n\n")


@scenario
async def tool_round(x: ChatExchange) -> None:
    """A call of the first tool offered, in pieces; with its result at hand, that result."""
    results = [message["content"] for message in x.request.body["messages"] if message["role"] == "tool"]
    if results:
        await x.answer(tokens(results[-1]))
        return
    await x.start()
    function = {"name": x.request.body["tools"][0]["function"]["name"], "arguments": ""}
    await x.delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": function}])
    for piece in tokens(TOOL_ARGUMENTS):
        await x.delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
    await x.send(delta_bytes("tool_calls") + event_bytes(choices=[], usage=USAGE) + b"data: [DONE]\n\n")


@scenario
async def cited(x: ChatExchange, title: str = "First page") -> None:
    """cited:<title>: reasoning, a text that cites pages as Perplexity lists them, and usage with details."""
    pages = [{"title": title, "url": CITED[0], "date": None}, {"title": "", "url": CITED[1]}]
    await x.start()
    await x.delta(role="assistant", content="")
    await x.delta(reasoning_content=REASONING)
    await x.think(0.3)
    addresses = [*CITED, "javascript:alert(1)"]
    await x.send(event_bytes(choices=[{"index": 0, "delta": {"content": "Water is wet [1][2]."}}], citations=addresses))
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3}}
    end = event_bytes(choices=[{"delta": {}, "finish_reason": "stop"}], search_results=pages)
    await x.send(end + event_bytes(choices=[], usage={**USAGE, **details}) + b"data: [DONE]\n\n")


@scenario
async def detailed(x: ChatExchange) -> None:
    """Thinking as OpenRouter structures it, then the plain completion, a call of a tool, or the result of one."""
    if x.request.body["messages"][-1]["role"] == "tool":
        await x.answer(tokens(x.request.body["messages"][-1]["content"]))
        return
    await x.start()
    for text in tokens(REASONING):
        piece = {"type": "reasoning.text", "text": text, "signature": None, "index": 0}
        await x.delta(content="", reasoning=text, reasoning_details=[piece])
    await x.delta(reasoning_details=[{"type": "reasoning.text", "signature": "c2ln", "index": 0}])
    cipher = {"type": "reasoning.encrypted", "data": "Y2lwaGVy", "id": "r1", "index": 1}
    if tools := x.request.body.get("tools"):
        function = {"name": tools[0]["function"]["name"], "arguments": "{}"}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        await x.delta(tool_calls=[call], reasoning_details=[cipher])
        await x.send(delta_bytes("tool_calls") + b"data: [DONE]\n\n")
        return
    await x.delta(reasoning_details=[cipher])
    await x.texts(tokens(PLAIN))
    await x.stop()


@scenario
async def pictured(x: ChatExchange) -> None:
    """Text around an image in OpenRouter's shape; a prompt that ends with JSON replaces the list of images."""
    given = x.last_prompt[x.last_prompt.find("[") :] if "[" in x.last_prompt else ""
    await x.start()
    await x.texts(["Here it is: "])
    await x.delta(content="", images=json.loads(given) if given else [MADE_IMAGE])
    await x.texts(["done."])
    await x.stop()


@scenario
async def pictures_only(x: ChatExchange) -> None:
    """No text, but the images that the prompt lists as JSON."""
    await x.start()
    await x.delta(content="", images=json.loads(x.last_prompt))
    await x.stop()


@scenario
async def scored(x: ChatExchange) -> None:
    """The last message comes back, three characters a token, always with log probabilities."""
    await x.start()
    for token in tokens(x.last_prompt, 3):
        score = {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "other": 1}
        probs = {"content": [{**score, "top_logprobs": [score]}], "refusal": None}
        await x.send(event_bytes(choices=[{"index": 0, "delta": {"content": token}, "logprobs": probs}]))
    await x.send(delta_bytes("stop") + b"data: [DONE]\n\n")


@scenario
async def cites_prompt(x: ChatExchange) -> None:
    """A text that cites the words of the prompt as pages."""
    await x.start()
    await x.send(event_bytes(choices=[{"index": 0, "delta": {"content": "See [1]."}}], citations=x.last_prompt.split()))
    await x.send(delta_bytes("stop") + b"data: [DONE]\n\n")


@scenario
async def usage_every_chunk(x: ChatExchange) -> None:
    """Running usage totals on every chunk, none of its own."""
    await x.start()
    for n, text in enumerate(tokens(PLAIN), 1):
        await x.send(event_bytes(choices=[{"delta": {"content": text}}], usage={**USAGE, "completion_tokens": n}))
    await x.send(delta_bytes("stop") + b"data: [DONE]\n\n")


@scenario
async def no_done(x: ChatExchange) -> None:
    """A finish reason, then the end of the body without [DONE]."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.delta("stop")


@scenario
async def no_done_open(x: ChatExchange) -> None:
    """A finish reason, then nothing; the connection stays open."""
    await no_done(x)
    await asyncio.Event().wait()


@scenario
async def only_done(x: ChatExchange) -> None:
    """[DONE] without any finish reason."""
    await x.start()
    await x.texts(tokens(PLAIN))
    await x.send(b"data:[DONE]")


@scenario
async def only_end(x: ChatExchange) -> None:
    """[DONE] and nothing before it."""
    await x.start()
    await x.send(b"data: [DONE]\n\n")


@scenario
async def done_then_cut(x: ChatExchange) -> None:
    """A whole completion whose connection is cut before the closing chunk."""
    await plain(x)
    x.cut()


@scenario
async def done_open(x: ChatExchange) -> None:
    """A whole completion whose body never ends."""
    await plain(x)
    await asyncio.Event().wait()


@scenario
async def finish(x: ChatExchange, reason: str = "length", text: str = PLAIN) -> None:
    """finish:<reason>[:<text>]: a completion (empty with an empty text) that ends with that finish reason."""
    await x.start()
    await x.texts(tokens(text))
    await x.send(delta_bytes(reason) + b"data: [DONE]\n\n")


@scenario
async def empty(x: ChatExchange) -> None:
    """A well-formed stream without text."""
    await x.answer([])


@scenario
async def whitespace(x: ChatExchange) -> None:
    """A well-formed stream of white space."""
    await x.answer([" \n", "\t\n"])


@scenario
async def http(x: ChatExchange, status: str, code: str = "", param: str = "") -> None:
    """http_<status>[:<code>[:<param>]]: that status with OpenAI's envelope; 429 asks to wait 1 s."""
    hint = {"retry_after": "1"} if status == "429" else {}
    await x.refuse(int(status), code or None, f"sk-leak {x.request.key}", param or None, **hint)


@scenario
async def body(x: ChatExchange, status: str, *words: str) -> None:
    """body:<status>:<text>: that status with that body, JSON or a page."""
    text = ":".join(words)
    await x.respond(int(status), text.encode(), "application/json" if text.startswith("{") else "text/html")


@scenario
async def hinted(x: ChatExchange, status: str, seconds: str, code: str) -> None:
    """hinted:<status>:<seconds>:<code>: that status and code, with `Retry-After`."""
    await x.refuse(int(status), code, f"sk-leak {x.request.key}", retry_after=seconds)


@scenario
async def flaky(x: ChatExchange, failures: str, first: str, *arguments: str) -> None:
    """flaky:<n>:<scenario>: the first n calls of this model name run that scenario, later ones plain."""
    await x.run(":".join([first, *arguments]) if x.calls <= int(failures) else "plain")


@scenario
async def triggered(x: ChatExchange, *words: str) -> None:
    """triggered:<scenario>: that scenario for prompts that begin with "trigger", the plain completion for others."""
    await x.run(":".join(words) if x.last_prompt.startswith("trigger") else "plain")


@scenario
async def reasoning_only(x: ChatExchange) -> None:
    """Thinking text, then the finish reason stop without any content."""
    await x.start()
    await x.delta(role="assistant", reasoning_content=REASONING)
    await x.stop()


@scenario
async def unsupported_max_tokens(x: ChatExchange) -> None:
    """400 for max_tokens, the plain completion with max_completion_tokens or without a cap."""
    if "max_tokens" in x.request.body:
        await x.refuse(400, "unsupported_parameter", "Unsupported parameter", "max_tokens")
    else:
        await plain(x)


@scenario
async def needs_no_stream_options(x: ChatExchange) -> None:
    """400 for stream_options as an old server gives it, else the plain completion."""
    if "stream_options" in x.request.body:
        detail = [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]
        await x.respond(400, json.dumps({"detail": detail}).encode())
    else:
        await plain(x)


@scenario
async def context(x: ChatExchange, most: str = "2") -> None:
    """context:<n>: 400 context_length_exceeded for more than n messages, else the plain completion."""
    if len(x.request.body["messages"]) > int(most):
        await x.refuse(400, "context_length_exceeded", "too long", "messages")
    else:
        await plain(x)


@scenario
async def context_chars(x: ChatExchange, most: str = "1000") -> None:
    """context_chars:<n>: the same for more than n characters in all messages."""
    if sum(len(turn["content"]) for turn in x.request.body["messages"]) > int(most):
        await x.refuse(400, "context_length_exceeded", "too long", "messages")
    else:
        await plain(x)


@scenario
async def redirect(x: ChatExchange) -> None:
    """302 to somewhere else."""
    await x.respond(302, b"", location="/elsewhere")


@scenario
async def cookie(x: ChatExchange) -> None:
    """400 with a cookie."""
    await x.refuse(400, "cookie", set_cookie="affinity=1; Path=/")


@scenario
async def html_200(x: ChatExchange) -> None:
    """200 with a login page."""
    await x.respond(200, b"<html>please log in</html>", "text/html")


@scenario
async def json_200(x: ChatExchange) -> None:
    """200 with JSON that is no completion."""
    await x.respond(200, json.dumps({"page": 1}).encode())


@scenario
async def json_error_200(x: ChatExchange, code: str = "insufficient_quota") -> None:
    """json_error_200[:<code>]: 200 with a JSON error body."""
    await x.refuse(200, code)


@scenario
async def eof(x: ChatExchange) -> None:
    """The head of a stream, then a proper end of the body."""
    await x.start()


@scenario
async def bad_json(x: ChatExchange) -> None:
    """A first delta, then an event that is no JSON."""
    await x.start()
    await x.delta(content="Hel")
    await x.send(b'data: {"choices": [\n\n')


@scenario
async def garbage(x: ChatExchange) -> None:
    """Bytes that are no HTTP."""
    await x.raw(b"\x00\xff SSH-2.0-what\r\n\r\n" * 20)
    x.cut()


@scenario
async def hang(x: ChatExchange) -> None:
    """Nothing at all."""
    await asyncio.Event().wait()


@scenario
async def hang_after_headers(x: ChatExchange) -> None:
    """The head of a stream, then nothing."""
    await x.start()
    await asyncio.Event().wait()


@scenario
async def hang_mid_stream(x: ChatExchange) -> None:
    """Three deltas, then nothing."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    await asyncio.Event().wait()


@scenario
async def comments_forever(x: ChatExchange) -> None:
    """A comment every 10 ms and never an event."""
    await x.start()
    while True:
        await x.send(b": keep-alive\n\n")
        await asyncio.sleep(0.01)


@scenario
async def comments_mid(x: ChatExchange) -> None:
    """Three deltas, then comments."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    while True:
        await x.send(b": keep-alive\n\n")
        await asyncio.sleep(0.01)


@scenario
async def huge_event(x: ChatExchange) -> None:
    """200 MB of lines that make one event."""
    await x.start()
    for _ in range(LONG_LINE_BYTES // 65536):
        await x.send(b"data: " + b"x" * 65529 + b"\n")


@scenario
async def huge_line(x: ChatExchange) -> None:
    """200 MB without a line end."""
    await x.start()
    await x.send(b"data: ")
    for _ in range(LONG_LINE_BYTES // 65536):
        await x.send(b"x" * 65536)


@scenario
async def cut_mid_stream(x: ChatExchange) -> None:
    """Three deltas, then the connection is closed without ending the body."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    x.cut()


@scenario
async def eof_mid_stream(x: ChatExchange) -> None:
    """Three deltas, then a proper end of the body without finish reason or [DONE]."""
    await x.start()
    await x.texts(["one ", "two ", "three "])


@scenario
async def half_close_mid(x: ChatExchange) -> None:
    """Three deltas, then the server's side of the connection is closed without ending the body."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    x.writer.write_eof()
    await asyncio.Event().wait()


@scenario
async def garbage_mid(x: ChatExchange) -> None:
    """Three deltas, then bytes that are no part of a body."""
    await x.start()
    await x.texts(["one ", "two ", "three "], 0.02)
    await x.raw(b"\x00\xff SSH-2.0-what\r\n" * 20)
    await asyncio.Event().wait()


@scenario
async def reset_mid_stream(x: ChatExchange) -> None:
    """Three deltas, then a TCP reset."""
    await x.start()
    await x.texts(["one ", "two ", "three "], 0.02)
    x.reset()


@scenario
async def error_mid_stream(x: ChatExchange) -> None:
    """Three deltas, then an error object with a numeric code."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    error = {"message": "upstream overloaded", "type": "server_error", "code": 503}
    await x.send(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    await asyncio.Event().wait()


@scenario
async def error_after(x: ChatExchange, code: str) -> None:
    """error_after:<code>: a first delta, then an error object with that code."""
    await x.start()
    await x.delta(content="Hel")
    await x.send(event_bytes(error={"message": "m", "code": code}))


@scenario
async def event(x: ChatExchange, *words: str) -> None:
    """event:<JSON>: a stream of one event, and its terminator."""
    await x.start()
    await x.send(f"data: {':'.join(words)}\n\ndata: [DONE]\n\n".encode())


@scenario
async def error_field(x: ChatExchange) -> None:
    """An error in a field of that name instead of data, as llama.cpp writes it."""
    await x.start()
    await x.send(b'error: {"code":400,"message":"the request exceeds the available context size."}\n\n')


@scenario
async def error_string(x: ChatExchange) -> None:
    """An error that is a string, in an event named error."""
    await x.start()
    await x.send(b'event: error\ndata: {"error": "it broke"}\n\n')


@scenario
async def error_finish(x: ChatExchange) -> None:
    """The finish reason error together with an error object."""
    await x.start()
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    await x.send(event_bytes(choices=[choice], error={"code": "server_error", "message": "gone"}))


def listing() -> str:
    """Return the scenarios, one a line."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
