"""Kinds 11 to 15: odd data lines, odd HTTP, errors within a 200, large events, reasoning in other places."""

import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import brotli

from tests.wire_cases.shapes import (
    NINE_TWO,
    WORKS,
    Case,
    D,
    Reply,
    S,
    T,
    U,
    body,
    delta,
    error,
    event,
    page,
    stream,
    text,
    usage,
)

BROKEN: dict[str, Any] = {"text": "", "ends": "upstream_error", "charge": 0, "calls": (1, 2, 3, 4)}

DATA_LINES = [
    Case("words after the finish", [stream(T, S, "OK", D)]),
    Case("null between", [stream(text("It "), "null", text("works."), S, D)]),
    Case("the terminator in quotes", [stream(T, S, '"[DONE]"')]),
    Case(
        "NaN",
        [
            stream(
                '{"choices":[{"index":0,"delta":{"content":"It works."},'
                '"logprobs":{"content":[{"token":"It","logprob":NaN}]}}]}',
                S,
                D,
            )
        ],
    ),
    Case("a word between", [stream(text("It "), "ping", text("works."), S, D)]),
    Case("twice", [stream(T, S, D, D)]),
    Case("the terminator in small letters", [stream(T, "[done]")], source="operators"),
    Case("other JSON between", [stream(text("It "), "7", '"text"', [], text("works."), S, D)], source="operators"),
    Case(
        "half an object after the finish",
        [stream(T, S, "{half", {"error": {"message": "late"}}, D)],
        source="https://github.com/Wei-Shaw/sub2api/issues/1471",
    ),
    Case("chunks in lists", [stream([T], [S], D)], source="https://ai.google.dev/gemini-api/docs/openai"),
    Case(
        "content of other types",
        [stream(delta(content=7), delta(content={"type": "text", "text": "!"}), S, D)],
        text="7!",
        source="operators",
    ),
    Case(
        "a comment as data",
        [stream(": OPENROUTER PROCESSING", text("It "), ": OPENROUTER PROCESSING", text("works."), S, D)],
        source="https://github.com/mnfst/llm-gateway/issues/2053",
    ),
    Case(
        "fields without data",
        [stream(b"retry: 3000\n\n", T, b"id: 7\n\n", b"event: end\n\n", S, D)],
        source="https://github.com/openai/openai-python/pull/2721",
    ),
    Case(
        "an error in words",
        [stream(text("Half"), "error: the engine stopped")],
        text="Half",
        ends="upstream_error",
        charge=0,
        source="https://github.com/lucasjinreal/Crane/pull/121",
    ),
]


def compressed(coding: str, pieces: list[bytes]) -> Reply:
    return Reply(tuple((0.0, piece) for piece in pieces), headers={"Content-Encoding": coding})


def gzipped(*events: Any) -> list[bytes]:
    """Return the pieces of a stream that is flushed after each event."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    pieces = [packer.compress(event(value)) + packer.flush(zlib.Z_SYNC_FLUSH) for value in events]
    return [*pieces, packer.flush()]


def brotlied(*events: Any) -> list[bytes]:
    packer = brotli.Compressor()
    pieces = [packer.process(event(value)) + packer.flush() for value in events]
    return [*pieces, packer.finish()]


def deflated(*events: Any, wbits: int) -> list[bytes]:
    packer = zlib.compressobj(wbits=wbits)
    return [packer.compress(b"".join(map(event, events))) + packer.flush()]


WHOLE = {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": WORKS, "reasoning_content": "Hm"},
            "finish_reason": "stop",
        }
    ],
    "usage": NINE_TWO,
}
BODY = stream(T, S, D).pieces
HTTP = [
    Case("a completion", [body(WHOLE)], reasoning="Hm", usage=(9, 2)),
    Case(
        "a completion called a stream",
        [Reply(((0.0, json.dumps({**WHOLE, "padding": "x" * 200_000}, indent=2).encode()),))],
        reasoning="Hm",
        usage=(9, 2),
        source="https://github.com/Hmbown/Codewhale/pull/1717",
    ),
    Case("another type", [Reply(BODY, content_type="text/plain; charset=utf-8")]),
    Case("no type", [Reply(BODY, content_type="")]),
    Case("201", [Reply(BODY, 201)]),
    Case("a long header", [Reply(BODY, headers={"X-Long": "x" * 12_000})]),
    Case("compressed: gzip", [compressed("gzip", gzipped(T, S, U, D))], usage=(9, 2)),
    Case("a login page", [page()], **BROKEN),
    Case("a gateway's page", [page(524)], **BROKEN),
    Case("a redirect", [page(308, Location="https://x/v1")], **BROKEN),
    Case(
        "another protocol",
        [
            Reply(
                ((0.0, b'{"message":{"role":"assistant","content":"It works."},"done":false}\n{"done":true}\n'),),
                content_type="application/x-ndjson",
            )
        ],
        **BROKEN,
    ),
    Case(
        "a stream called JSON",
        [Reply(BODY, content_type="application/json")],
        source="https://github.com/openclaw/openclaw/pull/97454",
    ),
    Case(
        "compressed: br",
        [compressed("br", brotlied(T, S, U, D))],
        usage=(9, 2),
        source="https://github.com/ChatGPTNextWeb/NextChat/pull/3215",
    ),
    Case(
        "compressed: deflate",
        [compressed("deflate", deflated(T, S, D, wbits=zlib.MAX_WBITS))],
        source="https://www.rfc-editor.org/rfc/rfc9110#name-deflate-coding",
    ),
    Case(
        "compressed: deflate without a header",
        [compressed("deflate", deflated(T, S, D, wbits=-zlib.MAX_WBITS))],
        source="https://www.rfc-editor.org/rfc/rfc9110#name-deflate-coding",
    ),
    Case(
        "compressed: in two members",
        [compressed("x-gzip", [gzip.compress(event(T)), gzip.compress(event(S) + event(D))])],
        source="https://www.rfc-editor.org/rfc/rfc1952#page-5",
    ),
    Case(
        "a compressed refusal",
        [
            Reply(
                ((0.0, brotli.compress(error(400, "Content Exists Risk").pieces[0][1])),),
                400,
                "application/json",
                {"Content-Encoding": "br"},
            )
        ],
        text="",
        ends="content_blocked",
        charge=0,
        source="https://github.com/ChatGPTNextWeb/NextChat/pull/3215",
    ),
]

QUOTA = {
    "error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
}
SWITCHED: dict[str, Any] = {"accuses_key": True, "calls": (2,), "usage": (9, 2)}
SPARK_11200: dict[str, Any] = {
    "kind": "spark_http",
    "pool": 1,
    "accuses_key": True,
    "keys": ("quarantined",),
    "served": False,
    "text": "",
    "ends": "upstream_error",
    "charge": 0,
}
NO_AUTH = '{"code":11200,"message":"AppIdNoAuthError","sid":"cha@dx"}'
ERRORS = [
    Case(
        "bare JSON",
        [Reply(body(QUOTA).pieces)],
        keys=("quarantined",),
        **SWITCHED,
    ),
    Case("Spark, bare", [Reply(((0.0, NO_AUTH.encode() + b"\n"),))], **SPARK_11200),
    Case("Spark, as an event", [stream(NO_AUTH)], **SPARK_11200),
    Case(
        "a rate in an event",
        [
            stream(
                {
                    "id": "x",
                    "choices": None,
                    "base_resp": {"status_code": 1002, "status_msg": "rate limit exceeded(RPM)"},
                }
            )
        ],
        keys=("cooling",),
        **SWITCHED,
    ),
    Case(
        "429 in an event", [stream({"error": {"code": 429, "message": "Rate limited"}})], keys=("cooling",), **SWITCHED
    ),
    Case("a string", [stream({"error": "model not loaded"})], **BROKEN),
    Case(
        "no dead key",
        [body({"code": 500, "msg": "404 NOT_FOUND", "success": False})],
        kind="zhipu",
        **BROKEN,
    ),
    Case(
        "an error and a terminator",
        [stream({"error": "STREAM_EXPLODED"}, D)],
        source="https://github.com/fox1245/NeoGraph/issues/124",
        **BROKEN,
    ),
    Case(
        "a message alone and a terminator",
        [stream({"error": {"message": "quota exceeded"}}, D)],
        source="https://github.com/apache/rocketmq-dashboard/issues/2178",
        **BROKEN,
    ),
    Case(
        "busy, with 200",
        [body({"error": {"message": "The service is busy, try again later", "code": 503}})],
        source="https://github.com/Hmbown/Codewhale/pull/1717",
        **BROKEN,
    ),
]


def image(size: int) -> dict[str, Any]:
    url = "data:image/png;base64," + "A" * size
    return delta(content="", images=[{"type": "image_url", "image_url": {"url": url}}])


def cut(reply: Reply, size: int) -> Reply:
    """Return the reply in pieces of this size."""
    data = b"".join(piece for _pause, piece in reply.pieces)
    return replace(reply, pieces=tuple((0.0, data[start : start + size]) for start in range(0, len(data), size)))


LARGE = [
    Case(
        "an image after text",
        [stream(text("Here it is: "), image(1_500_000), text("done."), S, D)],
        text="Here it is: done.",
    ),
    Case("a large delta", [stream(text("x" * 900_000), S, D)], text="x" * 900_000),
    Case(
        "two images in small pieces",
        [cut(stream(text("Two: "), image(3_000_000), image(3_000_000), text("done."), S, D), 16_384)],
        text="Two: done.",
        source="https://github.com/googleapis/python-genai/issues/2248",
    ),
    Case(
        "an image in a whole completion",
        [cut(body({**WHOLE, "images": "A" * 3_000_000}), 4_096)],
        reasoning="Hm",
        usage=(9, 2),
        source="https://github.com/open-webui/open-webui/issues/20634",
    ),
    Case(
        "an image of eight megabytes",
        [stream(text("One: "), image(8_000_000), text("done."), S, D)],
        text="One: done.",
        source="https://github.com/open-webui/open-webui/issues/20634",
    ),
]


def thought(name: str, source: str, *events: Any, reasoning: str = "Hm") -> Case:
    return Case(name, [stream(*events, S, D)], reasoning=reasoning, source=source)


REASONING = [
    thought(
        "details alone",
        "wire-cases",
        delta(content="", reasoning_details=[{"type": "reasoning.text", "text": "Hm"}]),
        T,
    ),
    thought(
        "parts of content",
        "wire-cases",
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "The user asks"}]}]),
        delta(content=[{"type": "text", "text": WORKS}]),
        reasoning="The user asks",
    ),
    thought("another tag", "wire-cases", text("<thought>Hm"), text("</thought>It works.")),
    Case(
        "only the closing tag",
        [stream(text("Hm\n</th"), text("ink>\n\nIt works."), S, D)],
        reasoning="Hm\n",
        surfaces=("chat", "whole"),
    ),
    Case(
        "only the closing tag, after text was sent",
        [stream(text("Hm\n</th"), text("ink>\n\nIt works."), S, D)],
        text="Hm\n</think>\n\nIt works.",
        surfaces=("streamed",),
    ),
    Case(
        "parts in one piece",
        [
            body(
                {
                    "choices": [
                        {
                            "message": {
                                "content": [
                                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                                    {"type": "text", "text": WORKS},
                                ]
                            },
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": usage(2),
                }
            )
        ],
        reasoning="Hm",
        usage=(9, 2),
        source="https://github.com/spring-projects/spring-ai/issues/5019",
    ),
    thought(
        "Copilot's field",
        "https://github.com/BerriAI/litellm/issues/35021",
        delta(content="", reasoning_text="Hm"),
        delta(content="", reasoning_opaque="c2ln"),
        T,
    ),
    thought(
        "fields of relays: thinking_content",
        "https://github.com/nhatbien/copilot-helper/pull/7",
        delta(thinking_content="H"),
        delta(thought="m"),
        T,
    ),
    thought(
        "a summary in the details",
        "https://openrouter.ai/docs/use-cases/reasoning-tokens",
        delta(content="", reasoning_details=[{"type": "reasoning.summary", "summary": "Hm"}]),
        T,
    ),
    thought(
        "Ollama's field",
        "https://github.com/dirac-run/dirac/pull/227",
        delta(role="assistant", content="", reasoning="H"),
        delta(content="", reasoning="m"),
        T,
    ),
    thought(
        "a tag in pieces",
        "https://github.com/LibreChat-AI/agents/pull/40",
        *map(text, ("<", "thinking", ">Hm", "</", "thinking", ">", " It works.")),
    ),
    thought(
        "the tag reasoning",
        "https://github.com/ephraimduncan/opencode-cursor/pull/12",
        text("<reasoning>Hm</reasoning>"),
        T,
    ),
]

CASES = [*DATA_LINES, *HTTP, *ERRORS, *LARGE, *REASONING]
