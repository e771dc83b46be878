"""Kinds 0, 1, 2, 4, 7 and 8: plain answers, ends of streams, empty completions, silence, and the choice's index."""

import os
from typing import Any

from tests.wire_cases.shapes import NINE_TWO, WORKS, Case, D, R, S, T, U, delta, stop, stream, text, usage

SOAK = bool(os.environ.get("SOAK"))
# The silences of models and queues in seconds, with the clocks as shipped; else short ones with short clocks.
LONG, CLOCKS = (65.0, {}) if SOAK else (1.5, {"first": 6.0, "idle": 1.0})
# A queue's comments are no payload, but they restart the clock of the first one.
QUEUE_CLOCKS = {} if SOAK else {"first": 1.0, "idle": 1.0}


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
        [stream(T, S, 7.0 if SOAK else 1.0, U, D)],
        usage=...,
        first_text_s=4.0 if SOAK else 0.9,
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
]

CUT = {"text": "Half", "ends": "upstream_error", "charge": 0}


def finished(word: Any, name: str = "", **expected: Any) -> Case:
    """Return a case of a text with this finish word behind it."""
    content = expected.get("text", WORKS)
    return Case(f"finish word {name or word}", [stream(text(content), stop(word), D)], **expected)


FINISH_WORDS = [
    *(finished(word) for word in ("STOP", "eos", "end_turn")),
    *(finished(word, ends="length") for word in ("max_tokens", "MAX_TOKENS", "model_length")),
    *(finished(word, ends="content_filter") for word in ("SAFETY", "refusal", "content_filter: SAFETY")),
    *(finished(word, **CUT) for word in ("abort", "network_error", "error")),
    finished({"type": "stop"}, "in an object"),
    Case("two reasons", [stream(text(WORKS, "stop"), stop("length"), D)], ends="length"),
    Case(
        "Zhipu withdraws",
        [
            stream(
                text("bad text"),
                stop("sensitive") | {"content_filter": [{"role": "assistant", "level": 1}]},
                D,
            )
        ],
        kind="zhipu",
        text="bad text",
        withdrawn=True,
        ends="content_filter",
    ),
    finished("model_context_window_exceeded", "of Zhipu's window", kind="zhipu", ends="length"),
]

NOTHING: dict[str, Any] = {"text": "", "charge": 0}
IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
NOTHING_TO_SHOW = [
    Case("no token", [stream(R, S, U, D)], usage=(9, 2), **NOTHING),
    Case("an image only", [stream(delta(content="", images=IMAGE), S, D)], **NOTHING),
    Case(
        "a refusal only",
        [stream(delta(content=None, refusal=""), delta(refusal="I'm sorry, I can't help."), S, D)],
        text="I'm sorry, I can't help.",
    ),
    Case(
        "a blocked prompt",
        [stream({"choices": [], "usage": usage(0)}, D)],
        usage=...,
        **NOTHING,
    ),
]

LONG_SILENCE = [
    Case("hidden thinking", [stream(R, LONG, T, S, U, D)], usage=(9, 2), clocks=CLOCKS, soak=SOAK),
    Case(
        "a queue",
        [stream(*paced(LONG / 13, *[b": keep-alive\n\n"] * 13), T, S, D)],
        clocks=QUEUE_CLOCKS,
        soak=SOAK,
    ),
    Case(
        "a queue of blank lines",
        [stream(*paced(0.4, b"\n", b"\n", b"\n", b"\n\n"), T, S, D)],
        clocks={"first": 1.0},
        source="https://api-docs.deepseek.com/quick_start/rate_limit",
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

CASES = [
    *PLAIN_ANSWERS,
    *FINISH_IS_NO_END,
    *FINISH_WORDS,
    *NOTHING_TO_SHOW,
    *LONG_SILENCE,
    *CHOICE_INDEX,
]
