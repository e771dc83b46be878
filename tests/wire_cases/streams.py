"""Kinds 0, 1, 7 and 8: plain answers, a finish reason that is not the end, silence, and the choice's index."""

import json
import os
from typing import Any

from tests.wire_cases.shapes import (
    MOST_HELD_SECONDS,
    NINE_TWO,
    UNTIL_READ,
    WORKS,
    Case,
    D,
    R,
    S,
    T,
    U,
    delta,
    stop,
    stream,
    text,
    usage,
)

SOAK = bool(os.environ.get("SOAK"))
# The silences of models and queues in seconds, with the clocks as shipped; else short ones with short clocks.
LONG, CLOCKS = (65.0, {}) if SOAK else (1.5, {"idle": 1.0})
# A queue's comments are no payload, but they restart the clock of the first one. All of them take a little longer than
# that clock allows, and the pause between two is a small part of it: on a busy machine it may be much longer.
QUEUED, FIRST = (LONG, 8.0) if SOAK else (8.5, 8.0)
QUEUE_CLOCKS = {} if SOAK else {"first": FIRST, "idle": 1.0}


def whole_message(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": "stop", "index": 0, "message": {"content": WORKS, **fields}}]}


PLAIN_ANSWERS = [
    Case(
        "comments first",
        [
            stream(
                b": keep-alive\n\n\n\n: keep-alive\n\n",
                delta(role="assistant", content=None, reasoning_content=""),
                delta(content=None, reasoning_content="Hmm"),
                delta(content=WORKS, reasoning_content=None),
                stop() | {"usage": NINE_TWO},
                D,
            )
        ],
        reasoning="Hmm",
        usage=(9, 2),
    ),
    Case(
        "one thought, two fields",
        [
            stream(
                delta(content="", reasoning="Hm", reasoning_details=[{"type": "reasoning.text", "text": "Hm"}]), T, S, D
            )
        ],
        reasoning="Hm",
    ),
    Case(
        "failed half-way",
        [
            stream(
                text("Par"),
                {
                    "error": {"code": "server_error", "message": "Provider disconnected"},
                    "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
                },
                D,
            )
        ],
        text="Par",
        ends="upstream_error",
        charge=0,
    ),
    Case(
        "filter results first",
        [
            stream(
                {"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
                R,
                T,
                S,
                {"choices": [{"content_filter_offsets": {"check_offset": 0}, "finish_reason": None, "index": 0}]},
                U,
                D,
            )
        ],
        usage=(9, 2),
    ),
    Case("cut by a filter", [stream(text("Part"), stop("content_filter"), D)], text="Part", ends="content_filter"),
    Case(
        "running usage",
        [stream(text("It ", usage=usage(1)), text("works.", usage=usage(2)), stop() | {"usage": usage(2)}, D)],
        usage=(9, 2),
    ),
    Case(
        "whole message repeated",
        [stream(T, whole_message(role="assistant") | {"usage": {"total_tokens": 11}, "base_resp": {"status_code": 0}})],
        usage=...,
    ),
    Case(
        "message so far beside the delta",
        [
            stream(
                text("It ", message={"content": "It "}),
                text("works.", message={"content": WORKS}),
                stop() | {"message": {"content": WORKS}},
                D,
            )
        ],
    ),
    Case(
        "careless lines",
        [
            stream(
                b'\xef\xbb\xbfdata:{"choices":[{"delta":{"content":"It "}}]}\r\n\r\n',
                b'data:{"choices":[{"delta":{"content":"works."}}]}\r\n\r\ndata:[DONE]\r\n\r\n',
            )
        ],
    ),
    Case(
        "nulls",
        [
            stream(
                {"choices": None},
                {"id": "x"},
                {"choices": [{"index": 0, "delta": None}]},
                delta(content=None),
                T,
                {"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]},
                D,
            )
        ],
    ),
    Case("empty finish reason", [stream(text("It ", ""), text("works.", ""), S, D)]),
    Case("no terminator at all", [stream(T)], ends="upstream_error", charge=0),
    Case("half a terminator: done", [stream(T, D)]),
    Case("half a terminator: stop", [stream(T, S)]),
    Case(
        "pings with names",
        [stream(b'event: ping\ndata: {"type":"ping"}\n\n', b"event: message\n", text("It "), text("works."), S, D)],
    ),
    Case(
        "split surrogates",
        [
            stream(
                b'data: {"choices":[{"index":0,"delta":{"content":"A \\ud83d"}}]}\n\n',
                b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00 B"}}]}\n\n',
                S,
                D,
            )
        ],
        text="A 😀 B",
    ),
    Case(
        "tags cut by deltas",
        [stream(text("<thi"), text("nk>Hm</th"), text("ink>\n\nIt works."), S, D)],
        reasoning="Hm",
    ),
    Case(
        "late usage",
        [stream(T, S, 7.0 if SOAK else UNTIL_READ, U, D)],
        usage=...,
        first_text_s=4.0 if SOAK else MOST_HELD_SECONDS / 2,
        soak=SOAK,
    ),
    Case(
        "Zhipu, twice finished",
        [stream(T, S, stop() | {"usage": NINE_TWO}, D)],
        kind="zhipu",
        usage=(9, 2),
    ),
    Case(
        "Spark HTTP",
        [
            stream(
                b'data:{"code":0,"message":"Success","sid":"cha1","choices":[{"delta":{"role":"assistant",'
                b'"content":"It "},"index":0}]}\n\n',
                b'data:{"code":0,"message":"Success","sid":"cha1","choices":[{"delta":{"role":"assistant",'
                b'"content":"works."},"index":0}],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}'
                b"\n\ndata:[DONE]\n\n",
            )
        ],
        kind="spark_http",
        usage=(9, 2),
    ),
]
PLAIN_ANSWERS += [
    Case(
        "a line break behind data:",
        [stream(*(f"data:\n {json.dumps(each)}\n\n".encode() for each in (T, S)), b"data:\n[DONE]\n\n")],
        source="https://github.com/0xPlaygrounds/rig/issues/534",
    ),
    Case(
        "no blank lines",
        [stream(*(f"data: {json.dumps(each)}\n".encode() for each in (text("It "), text("works."), S, U)), D)],
        usage=(9, 2),
        source="https://github.com/langgenius/dify/issues/2144",
    ),
    Case(
        "an event in several data lines",
        [
            stream(
                *(
                    "data: ".join(["", *json.dumps(each, indent=1).splitlines(True)]).encode() + b"\n\n"
                    for each in (T, S)
                )
            )
        ],
        source="https://github.com/SamSaffron/term-llm/pull/454",
    ),
    Case(
        "an empty list of calls on every chunk",
        [stream(delta(reasoning_content="H", tool_calls=[]), delta(reasoning_content="m", tool_calls=[]), T, S, D)],
        reasoning="Hm",
        source="https://github.com/vercel/ai/issues/20203",
    ),
    Case(
        "padding on every chunk",
        [stream(T | {"obfuscation": "YhS7A", "service_tier": "default"}, S | {"obfuscation": "eLeR8"}, D)],
        source="https://github.com/dongri/openai-api-rs/pull/186",
    ),
]


def paced(pause: float, *events: Any) -> list[Any]:
    """Put a pause between events."""
    return [part for event in events for part in (event, pause)][:-1]


FINISH_IS_NO_END = [
    Case(
        "stop on every chunk",
        [stream(*paced(1.0, *(text(f"{n} ", "stop") for n in range(7)), text("7", "stop")), D)],
        text="0 1 2 3 4 5 6 7",
    ),
    Case(
        "and usage with it",
        [stream(*paced(0.4, *(text(f"{n} ", "stop", usage=usage(n + 1)) for n in range(6))), D)],
        text="0 1 2 3 4 5 ",
        usage=(9, 6),
    ),
    Case(
        "and usage with it, slowly",
        [stream(*paced(0.8, *(text(f"{n} ", "stop", usage=usage(n + 1)) for n in range(4))), D)],
        text="0 1 2 3 ",
        usage=(9, 4),
    ),
    Case(
        "stop on thoughts too",
        [
            stream(
                *paced(
                    0.7,
                    {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}, "finish_reason": "stop"}]},
                    text("It ", "stop"),
                    text("works.", "stop"),
                ),
                D,
            )
        ],
        reasoning="Hm",
        source="https://github.com/su-kaka/gcli2api/issues/403",
    ),
    Case(
        "stop on every chunk, and no terminator",
        [stream(*paced(0.7, text("It ", "STOP"), text("works.", "STOP")))],
        source="https://github.com/BerriAI/litellm/issues/2195",
    ),
    Case(
        "a finish without text first",
        [stream(*paced(0.3, stop(), text("It "), S, text("works.")), S, D)],
        source="https://github.com/songquanpeng/one-api/pull/1477",
    ),
]

LONG_SILENCE = [
    Case("hidden thinking", [stream(R, LONG, T, S, U, D)], usage=(9, 2), clocks=CLOCKS, soak=SOAK),
    Case(
        "a queue",
        [stream(*paced(QUEUED / 12, *[b": keep-alive\n\n"] * 13), T, S, D)],
        clocks=QUEUE_CLOCKS,
        soak=SOAK,
    ),
    Case(
        "a queue of blank lines",
        [stream(*paced(8.5 / 12, *[b"\n"] * 12, b"\n\n"), T, S, D)],
        clocks={"first": FIRST},
        source="https://api-docs.deepseek.com/quick_start/rate_limit",
    ),
    Case(
        "a queue of empty chunks",
        [stream(*paced(8.5 / 12, *[R] * 13), T, S, D)],
        clocks={"first": FIRST},
        source="https://github.com/jundot/omlx/pull/1011",
    ),
    Case(
        "OpenRouter's comments",
        [stream(*paced(8.5 / 12, *[b": OPENROUTER PROCESSING\n\n"] * 13), T, S, D)],
        clocks={"first": FIRST},
        source="https://github.com/mnfst/llm-gateway/issues/2053",
    ),
]

CHOICE_INDEX = [
    Case(
        "index a string",
        [
            stream(
                {"choices": [{"index": "0", "delta": {"content": WORKS}, "finish_reason": None}]},
                {"choices": [{"index": "0", "delta": {}, "finish_reason": "stop"}]},
                D,
            )
        ],
    ),
    Case(
        "two numbers for one answer",
        [
            stream(
                delta(reasoning_content="Hm"),
                {"choices": [{"index": 1, "delta": {"content": WORKS}, "finish_reason": None}]},
                S,
                D,
            )
        ],
        reasoning="Hm",
    ),
]
CHOICE_INDEX += [
    Case(
        "the token's number as index",
        [
            stream(
                *(
                    {"choices": [{"index": n, "delta": {"role": "assistant", "content": word}, "finish_reason": end}]}
                    for n, word, end in ((1, "It", None), (2, " works", None), (3, ".", "length"))
                ),
                D,
            )
        ],
        ends="length",
        source="https://github.com/huggingface/text-generation-inference/pull/1648",
    ),
    Case(
        "an index that counts chunks",
        [
            stream(
                *(
                    {
                        "choices": [
                            {
                                "delta": {"content": word},
                                "message": {"content": word},
                                "index": n,
                                "finish_reason": None,
                            }
                        ]
                    }
                    for n, word in enumerate(("It ", "works."))
                ),
                {"choices": [{"delta": {"content": None}, "index": 2, "finish_reason": "stop"}]},
                D,
            )
        ],
        source="https://github.com/microsoft/foundry-local/issues/263",
    ),
]

CASES = [
    *PLAIN_ANSWERS,
    *FINISH_IS_NO_END,
    *LONG_SILENCE,
    *CHOICE_INDEX,
]
