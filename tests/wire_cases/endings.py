"""Kinds 2, 4 and 19: finish words, nothing to show, and the token cap reached while thinking."""

from typing import Any

from tests.wire_cases.shapes import (
    WORKS,
    Case,
    D,
    R,
    S,
    T,
    U,
    body,
    delta,
    stop,
    stream,
    text,
    usage,
)

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
    Case("two reasons, the worse first", [stream(text(WORKS, "length"), S, D)], ends="length", source="operators"),
    Case(
        "three reasons", [stream(T, S, stop("length"), stop("safety"), S, D)], ends="content_filter", source="operators"
    ),
    finished("never heard of", source="operators"),
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
    finished(
        "guardrail_intervened", ends="content_filter", source="https://github.com/pydantic/pydantic-ai/issues/7816"
    ),
    Case(
        "finish word in another spelling of the field",
        [stream(T, {"choices": [{"index": 0, "delta": {}, "finish_reason": None, "finishReason": "stop"}]})],
        source="https://github.com/jakobdylanc/llmcord/issues/84",
    ),
    Case(
        "finish word MAX_TOKENS without a delta",
        [stream(T, {"choices": [{"index": 0, "finish_reason": "MAX_TOKENS"}]}, D)],
        ends="length",
        source="https://github.com/envoyproxy/ai-gateway/pull/2107",
    ),
    finished("insufficient_system_resource", **CUT, source="https://api-docs.deepseek.com/api/create-chat-completion"),
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
    Case(
        "only a finish reason",
        [stream(S, D)],
        source="https://github.com/tailcallhq/forgecode/issues/531",
        **NOTHING,
    ),
    Case(
        "filtered before the first token",
        [stream(R, stop("content_filter"), D)],
        ends="content_filter",
        source="https://github.com/epam/ai-dial-adapter-openai/issues/118",
        **NOTHING,
    ),
    Case(
        "nothing, in one piece",
        [
            body(
                {
                    "object": "chat.completion",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "stop"}
                    ],
                    "usage": usage(0),
                }
            )
        ],
        usage=(9, 0),
        source="https://github.com/su-kaka/gcli2api/pull/406",
        **NOTHING,
    ),
]

THOUGHTS: dict[str, Any] = {"text": "", "reasoning": "thinking", "charge": 1}
CAP = [
    Case("no text left", [stream(delta(reasoning_content="thinking"), stop("length"), D)], ends="length", **THOUGHTS),
    Case(
        "stop, and no text",
        [stream(R, delta(content="", reasoning_content="thinking"), S, D)],
        source="https://github.com/kekzl/imp/pull/1442",
        **THOUGHTS,
    ),
    Case(
        "no text left, in one piece",
        [
            body(
                {
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "", "reasoning_content": "thinking"},
                            "finish_reason": "length",
                        }
                    ],
                    "usage": usage(2),
                }
            )
        ],
        ends="length",
        usage=(9, 2),
        source="https://github.com/sipeed/picoclaw/issues/966",
        **THOUGHTS,
    ),
    Case(
        "only thinking parts",
        [stream(delta(content=[{"type": "thinking", "thinking": "thinking"}]), stop("length"), D)],
        ends="length",
        source="https://github.com/unslothai/unsloth/pull/7418",
        **THOUGHTS,
    ),
    Case(
        "a tag that is never closed",
        [stream(text("<think>"), text("thinking"), stop("length"), D)],
        ends="length",
        source="https://github.com/nashsu/llm_wiki/issues/743",
        **THOUGHTS,
    ),
]

CASES = [*FINISH_WORDS, *NOTHING_TO_SHOW, *CAP]
