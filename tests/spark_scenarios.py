"""The scenarios of the fake Spark, one function each; `tests.spark` chooses among them."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection

from tests.scenarios import LONG_LINE_BYTES, PLAIN, REASONING, tokens

SID = "cht000b0001@dx18"
USAGE = {"question_tokens": 4, "prompt_tokens": 21, "completion_tokens": 40, "total_tokens": 61}


class SparkExchange:
    """A scenario's request and connection, and how many calls it has had."""

    def __init__(self, connection: ServerConnection, request: Any, calls: int) -> None:
        self.connection: Any = connection
        self.request = request
        self.calls = calls
        self._seq = 0

    async def json(self, frame: object) -> None:
        await self.connection.send(json.dumps(frame, ensure_ascii=False))

    async def frame(self, content: str = "", *, status: int | None = None, usage: bool = False, **text: str) -> None:
        """Send one frame of the completion."""
        status = min(self._seq, 1) if status is None else status
        payload: dict[str, Any] = {
            "choices": {"status": status, "seq": self._seq, "text": [{"content": content, "role": "assistant", **text}]}
        }
        if usage:
            payload["usage"] = {"text": USAGE}
        self._seq += 1
        await self.json({"header": {"code": 0, "message": "Success", "sid": SID, "status": status}, "payload": payload})

    async def error(self, code: int, message: str = "no") -> None:
        """Send a failure, which has no payload and status 2."""
        await self.json({"header": {"code": code, "message": f"{message} sk-leak", "sid": SID, "status": 2}})

    async def texts(self, texts: Sequence[str], pause: float = 0.0) -> None:
        for text in texts:
            await self.frame(text)
            if pause:
                await asyncio.sleep(pause)

    async def three(self) -> None:
        await self.texts(["one ", "two ", "three "])

    async def finish(self, text: str = "") -> None:
        await self.frame(text, status=2, usage=True)

    async def answer(self, texts: Sequence[str], pause: float = 0.0) -> None:
        """Send a whole completion; the last frame carries text."""
        await self.texts(texts[:-1], pause)
        await self.finish(texts[-1])

    async def hang(self) -> None:
        """Do nothing until the client has gone."""
        await self.connection.gone.wait()

    def raw(self, data: bytes) -> None:
        self.connection.transport.write(data)


Scenario = Callable[..., Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments follow it, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


async def run_scenario(exchange: SparkExchange, name: str) -> None:
    """Run `name[:argument...]`; names that are no scenario are `plain`."""
    word, *arguments = name.split(":")
    await SCENARIOS.get(word, SCENARIOS["plain"])(exchange, *arguments)


@scenario
async def plain(x: SparkExchange) -> None:
    """A short fixed text, usage with its last frame, then the server closes with 1000."""
    await x.answer(tokens(PLAIN))


@scenario
async def slow(x: SparkExchange) -> None:
    """The plain completion, 1 s before the first frame and 0.2 s between frames."""
    await asyncio.sleep(1)
    await x.answer(tokens(PLAIN), 0.2)


@scenario
async def paced(x: SparkExchange, count: str = "100", milliseconds: str = "50") -> None:
    """paced:<n>:<ms>: n numbered frames, ms milliseconds apart."""
    await x.answer([f"{n} " for n in range(int(count))], int(milliseconds) / 1000)


@scenario
async def echo(x: SparkExchange) -> None:
    """The last message comes back."""
    await x.answer(tokens(x.request.text[-1]["content"]))


@scenario
async def reasoning(x: SparkExchange) -> None:
    """Thinking text in reasoning_content, then the plain completion."""
    for text in tokens(REASONING):
        await x.frame(reasoning_content=text)
    await x.answer(tokens(PLAIN))


@scenario
async def thinking(x: SparkExchange) -> None:
    """Thinking text only."""
    await x.frame(reasoning_content=REASONING)
    await x.finish()


@scenario
async def thinking_paced(x: SparkExchange, count: str = "100", milliseconds: str = "50") -> None:
    """thinking_paced:<n>:<ms>: n numbered frames of thinking text, ms milliseconds apart."""
    for number in range(int(count)):
        await x.frame(reasoning_content=f"{number} ")
        await asyncio.sleep(int(milliseconds) / 1000)
    await x.finish()


@scenario
async def thinking_cut(x: SparkExchange) -> None:
    """Thinking text, then the connection is reset."""
    await x.frame(reasoning_content=REASONING)
    await reset(x)


@scenario
async def plugins(x: SparkExchange) -> None:
    """The plain completion after a frame of search references, which has no choices."""
    header = {"code": 0, "message": "Success", "sid": SID, "status": 0}
    await x.json({"header": header, "payload": {"plugins": {"text": [{"name": "ifly_search", "content": "[]"}]}}})
    await plain(x)


@scenario
async def code(x: SparkExchange, number: str) -> None:
    """code:<n>: that code at once."""
    await x.error(int(number))


@scenario
async def code_mid(x: SparkExchange, number: str) -> None:
    """code_mid:<n>: three frames, then that code."""
    await x.three()
    await x.error(int(number))


@scenario
async def code_open(x: SparkExchange, number: str) -> None:
    """code_open:<n>: that code with a status that is not the last, then the plain completion."""
    await x.json({"header": {"code": int(number), "message": "no", "sid": SID, "status": 1}})
    await plain(x)


@scenario
async def code_thinking(x: SparkExchange, number: str) -> None:
    """code_thinking:<n>: thinking text, then that code."""
    await x.frame(reasoning_content=REASONING)
    await x.error(int(number))


@scenario
async def busy_then_ok(x: SparkExchange, number: str, count: str = "2") -> None:
    """busy_then_ok:<code>:<n>: the first n calls get that code, later ones the plain completion."""
    await (code(x, number) if x.calls <= int(count) else plain(x))


@scenario
async def context(x: SparkExchange, most: str = "2") -> None:
    """context:<n>: 10907 for more than n messages, else the plain completion."""
    await (code(x, "10907") if len(x.request.text) > int(most) else plain(x))


@scenario
async def late_10019(x: SparkExchange, milliseconds: str = "50") -> None:
    """late_10019[:<ms>]: the plain completion and, a moment later, 10019 about it."""
    await plain(x)
    await asyncio.sleep(int(milliseconds) / 1000)
    await x.error(10019)


@scenario
async def withdraw_10014(x: SparkExchange) -> None:
    """Three frames, then 10014: the text has to go."""
    await code_mid(x, "10014")


@scenario
async def late_10014(x: SparkExchange) -> None:
    """The plain completion, then 10014 about it."""
    await plain(x)
    await x.error(10014)


@scenario
async def empty(x: SparkExchange) -> None:
    """A well-formed completion without text."""
    await x.finish()


@scenario
async def whitespace(x: SparkExchange) -> None:
    """A well-formed completion of white space."""
    await x.answer([" \n", "\t\n"])


@scenario
async def done_open(x: SparkExchange) -> None:
    """The plain completion; the server does not close."""
    await plain(x)
    await x.hang()


@scenario
async def done_then_reset(x: SparkExchange) -> None:
    """The plain completion, then a TCP reset."""
    await plain(x)
    await asyncio.sleep(0.02)
    await reset(x)


@scenario
async def no_status_2(x: SparkExchange) -> None:
    """The plain text without a last frame, then nothing; the connection stays open."""
    await x.texts(tokens(PLAIN))
    await x.hang()


@scenario
async def close_1000_mid(x: SparkExchange) -> None:
    """Three frames, then the server closes with 1000 as if all were well."""
    await x.three()
    await x.connection.close(1000, "close this ws conn")


@scenario
async def close_mid(x: SparkExchange, number: str = "1011") -> None:
    """close_mid:<n>: three frames, then the server closes with that code."""
    await x.three()
    await x.connection.close(int(number))


@scenario
async def half_close_mid(x: SparkExchange) -> None:
    """Three frames, then the end of the stream without a close frame."""
    await x.three()
    x.connection.transport.write_eof()
    await x.hang()


@scenario
async def reset(x: SparkExchange) -> None:
    """A TCP reset."""
    sock: socket.socket = x.connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    x.connection.transport.abort()


@scenario
async def reset_mid(x: SparkExchange) -> None:
    """Three frames, then a TCP reset."""
    await x.three()
    await asyncio.sleep(0.02)
    await reset(x)


@scenario
async def hang_after_connect(x: SparkExchange) -> None:
    """A good handshake, then nothing."""
    await x.hang()


@scenario
async def hang_mid(x: SparkExchange) -> None:
    """Three frames, then nothing."""
    await x.three()
    await x.hang()


@scenario
async def pings(x: SparkExchange) -> None:
    """A ping every 10 ms and never a frame."""
    while True:
        await x.connection.ping()
        await asyncio.sleep(0.01)


@scenario
async def pings_mid(x: SparkExchange) -> None:
    """Three frames, then pings."""
    await x.three()
    await pings(x)


@scenario
async def no_close_reply(x: SparkExchange, count: str = "0") -> None:
    """no_close_reply[:<n>]: n frames, then nothing, not even a reply to the client's close frame."""
    x.connection.mute()
    await x.texts([f"{n} " for n in range(int(count))])
    await x.hang()
    x.connection.transport.abort()


@scenario
async def garbage(x: SparkExchange) -> None:
    """Three frames, then bytes that are no frames."""
    await x.three()
    x.raw(b"\xff\xfe SSH-2.0-what\r\n" * 20)
    await x.hang()


@scenario
async def not_json(x: SparkExchange) -> None:
    """Three frames, then one that is no JSON."""
    await x.three()
    await x.connection.send("<html>sk-leak</html>")
    await x.hang()


@scenario
async def no_header(x: SparkExchange) -> None:
    """Three frames, then JSON that is no frame."""
    await x.three()
    await x.json({"error": "what"})
    await x.hang()


@scenario
async def binary(x: SparkExchange) -> None:
    """Three frames, then a binary one."""
    await x.three()
    await x.connection.send(b"\x1f\x8b\x08")
    await x.hang()


@scenario
async def huge_frame(x: SparkExchange) -> None:
    """One frame of 200 MB."""
    x.raw(b"\x81\x7f" + LONG_LINE_BYTES.to_bytes(8))
    while x.connection.gone_at is None:
        x.raw(b"x" * 65536)
        await asyncio.sleep(0)


@scenario
async def huge_fragments(x: SparkExchange) -> None:
    """One message in fragments that never end."""
    x.raw(b"\x01\x7f" + (65536).to_bytes(8) + b"x" * 65536)
    while x.connection.gone_at is None:
        x.raw(b"\x00\x7f" + (65536).to_bytes(8) + b"x" * 65536)
        await asyncio.sleep(0)


@scenario
async def endless(x: SparkExchange) -> None:
    """Frames of 1 MB that never end."""
    while x.connection.gone_at is None:
        await x.frame("x" * 2**20)


def listing() -> str:
    """Return the scenarios, one a line."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
