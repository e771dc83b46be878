"""Kinds 10, 18 and 20: tool calls, usage in other shapes, and Spark over WebSocket."""

from typing import Any

from tests.wire_cases.shapes import (
    NINE_TWO,
    OFFERED,
    PLAIN,
    PROGRAMS,
    TRIGGER,
    WORKS,
    Case,
    D,
    S,
    T,
    body,
    delta,
    frames,
    stop,
    stream,
)


def call(arguments: Any = '{"x":1}', name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def piece(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"function": {"arguments": arguments}, **fields}


def called(*calls: dict[str, Any]) -> dict[str, Any]:
    return delta(tool_calls=list(calls))


def made(id_: str = "a", x: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a call as clients put it together; without an id it may have any."""
    return {"name": "f", "arguments": f'{{"x":{x}}}', **({"id": id_} if id_ else {}), **fields}


TOOLS: dict[str, Any] = {"text": "", "ends": "tool_calls", "surfaces": PROGRAMS}
ENDED = stop("tool_calls")
SIGNED = {"google": {"thought_signature": "SIG"}}
TOOL_CALLS = [
    Case(
        "in pieces",
        [
            stream(
                called(call("", index=0, id="a")),
                called(piece('{"x":', index=0)),
                called(piece("1}", index=0)),
                ENDED,
                D,
            )
        ],
        tools=(made(),),
        **TOOLS,
    ),
    Case(
        "without index",
        [stream(called(call(id="a", extra_content=SIGNED)), called(call('{"x":2}', id="b")), S, D)],
        tools=(made(extra_content=SIGNED), made("b", 2)),
        **TOOLS,
    ),
    Case(
        "one index for all",
        [stream(called(call(index=0, id="a")), called(call('{"x":2}', index=0, id="b")), ENDED, D)],
        tools=(made(), made("b", 2)),
        **TOOLS,
    ),
    Case("an object", [stream(called(call({"x": 1}, index=0, id="a")), ENDED, D)], tools=(made(),), **TOOLS),
    Case(
        "an object, in one piece",
        [body({"choices": [{"message": {"tool_calls": [call({"x": 1}, id="a")]}, "finish_reason": "tool_calls"}]})],
        tools=(made(),),
        **TOOLS,
    ),
    Case(
        "without id",
        [stream(called(call("{}", index=0)), ENDED, D)],
        tools=({"name": "f", "arguments": "{}"},),
        **TOOLS,
    ),
    Case(
        "GLM, in two chunks",
        [stream(called(call("", index=0, id="a")), called(piece('{"x":1}', index=0, id="a")), ENDED, D)],
        kind="zhipu",
        tools=(made(),),
        **TOOLS,
    ),
    Case(
        "GLM, in one chunk", [stream(called(call(index=0, id="a")), ENDED, D)], kind="zhipu", tools=(made(),), **TOOLS
    ),
    Case(
        "Ollama's parallel calls",
        [
            stream(
                called(call(index=0, id="abc123")),
                called(call('{"x":2}', index=0, id="def456")),
                called(call('{"x":3}', index=0, id="ghi789")),
                stop("stop"),
                D,
            )
        ],
        tools=(made("abc123"), made("def456", 2), made("ghi789", 3)),
        source="https://github.com/ollama/ollama/issues/15457",
        **TOOLS,
    ),
    Case(
        "several calls in one delta, without index",
        [stream(called(call(id="a"), call('{"x":2}', id="b")), ENDED, D)],
        tools=(made(), made("b", 2)),
        source="https://github.com/router-for-me/CLIProxyAPI/issues/5058",
        **TOOLS,
    ),
    Case(
        "pieces of parallel calls with one index",
        [
            stream(
                called(call("", index=0, id="a")),
                called(piece('{"x":1}', index=0)),
                called(call("", index=0, id="b")),
                called(piece('{"x":', index=0)),
                called(piece("2}", index=0)),
                ENDED,
                D,
            )
        ],
        tools=(made(), made("b", 2)),
        source="https://github.com/BerriAI/litellm/issues/21331",
        **TOOLS,
    ),
    Case(
        "the older field",
        [
            stream(
                delta(function_call={"name": "f", "arguments": ""}),
                delta(function_call={"arguments": '{"x":1}'}),
                stop("function_call"),
                D,
            )
        ],
        tools=(made(""),),
        source="https://platform.openai.com/docs/api-reference/chat/streaming",
        **TOOLS,
    ),
]

BACK: dict[str, Any] = {"surfaces": PROGRAMS, "usage": (9, 2)}


def way_back(name: str, **fields: Any) -> Case:
    """Return a case in which the vendor gets back what came with its tool call."""
    turn = {"role": "assistant", "content": None, "tool_calls": [call(id="a")], **fields}
    asked = {"role": "user", "content": "Hello"}
    messages = [asked, turn, {"role": "tool", "tool_call_id": "a", "content": TRIGGER}]
    return Case(f"the way back: {name}", [PLAIN], asks={"messages": messages, "tools": OFFERED}, **BACK)


WAY_BACK = [
    way_back("reasoning_content", reasoning_content="Hm"),
    way_back("reasoning_details", reasoning_details=[{"type": "reasoning.encrypted", "data": "c2ln"}], reasoning="Hm"),
    way_back("extra_content", tool_calls=[call(id="a", extra_content=SIGNED)]),
]


def counted(name: str, source: str, *events: Any) -> Case:
    return Case(name, [stream(*events, D)], usage=(9, 2), source=source)


USAGE = [
    counted("elsewhere", "wire-cases", T, S | {"x_groq": {"id": "req", "usage": NINE_TWO}}),
    counted("other names", "wire-cases", T, S | {"usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11}}),
    counted("in the choice", "wire-cases", T, {"choices": [{**S["choices"][0], "usage": NINE_TWO}]}),
    counted("in text and fractions", "operators", T, S | {"usage": {"prompt_tokens": "9", "completion_tokens": 2.0}}),
    counted(
        "nulls beside other names",
        "https://github.com/QuantumNous/new-api",
        T,
        S | {"usage": {"prompt_tokens": None, "completion_tokens": None, "input_tokens": 9, "output_tokens": 2}},
    ),
    counted(
        "in the chunk before the last",
        "https://github.com/BerriAI/litellm/issues/17136",
        T,
        S | {"usage": NINE_TWO},
        {"choices": []},
    ),
    counted(
        "details first",
        "https://github.com/theopenco/llmgateway/pull/2861",
        T | {"usage": {"prompt_tokens_details": {"cached_tokens": 0}}},
        S,
        {"choices": [], "usage": NINE_TWO},
    ),
    counted(
        "null and empty first",
        "https://github.com/jeremychone/rust-genai/pull/242",
        T | {"usage": {}},
        S | {"usage": None},
        {"choices": [], "usage": NINE_TWO},
    ),
    counted(
        "zeroes last",
        "https://github.com/openai/openai-agents-python/pull/2126",
        T,
        S | {"usage": NINE_TWO},
        {"choices": [], "usage": None},
    ),
]


def frame(content: Any, status: Any, *, code: Any = 0, **payload: Any) -> dict[str, Any]:
    listed = content if isinstance(content, list | int) else [{"content": content, "role": "assistant", "index": 0}]
    return {
        "header": {"code": code, "message": "Success", "sid": "cht1", "status": status},
        "payload": {"choices": {"status": status, "seq": 0, "text": listed}, **payload},
    }


SPARK_USAGE = {"text": {"question_tokens": 1, **NINE_TWO}}
SPARK_FAILED: dict[str, Any] = {"text": "", "ends": "upstream_error", "charge": 0, "calls": (1, 2, 3, 4)}
SPARK: dict[str, Any] = {"kind": "spark"}
WEBSOCKET = [
    Case(
        "text a number",
        [frames(frame(7, 0), frame("It ", 1), frame("works.", 2, usage=SPARK_USAGE))],
        usage=(9, 2),
        **SPARK,
    ),
    Case(
        "status a string",
        [frames(frame("It ", "0"), frame("works.", "2", usage=SPARK_USAGE))],
        usage=(9, 2),
        **SPARK,
    ),
    Case(
        "code and counts as strings",
        [
            frames(
                frame("It ", 0, code="0"),
                frame("works.", 2, code="0", usage={"text": {"prompt_tokens": "9", "completion_tokens": "2"}}),
            )
        ],
        usage=(9, 2),
        source="https://www.xfyun.cn/doc/spark/Web.html",
        **SPARK,
    ),
    Case(
        "content a number",
        [frames(frame(4, 0), frame([{"content": 42, "role": "assistant"}], 2, usage=SPARK_USAGE))],
        text="42",
        usage=(9, 2),
        source="https://www.xfyun.cn/doc/spark/Web.html",
        **SPARK,
    ),
    Case(
        "closed without a frame",
        [frames()],
        source="https://github.com/songquanpeng/one-api/issues/1218",
        **SPARK,
        **SPARK_FAILED,
    ),
    Case(
        "thoughts of X1",
        [frames(frame([{"reasoning_content": "Hm", "content": ""}], 0), frame(WORKS, 2, usage=SPARK_USAGE))],
        reasoning="Hm",
        usage=(9, 2),
        source="https://www.xfyun.cn/doc/spark/X1ws.html",
        **SPARK,
    ),
    Case(
        "plugins without choices",
        [
            frames(
                {"header": {"code": 0, "status": 0, "sid": "cht1"}, "payload": {"plugins": {"text": []}}},
                frame(WORKS, 2, usage=SPARK_USAGE),
            )
        ],
        usage=(9, 2),
        source="https://www.xfyun.cn/doc/spark/Web.html",
        **SPARK,
    ),
]

CASES = [*TOOL_CALLS, *WAY_BACK, *USAGE, *WEBSOCKET]
