"""Gemini against a fake upstream on a real socket: what goes out, what comes back, and what a refusal means."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.setup import first_run_values
from providers.wire.base import (
    Delta,
    Endpoint,
    Event,
    Finished,
    FirstRun,
    PromptMessage,
    Source,
    Sources,
    ToolCallDelta,
    Usage,
)
from providers.wire.errors import BadParameter, ContentBlocked, PromptTooLong, ProviderError, Retry
from providers.wire.gemini.adapter import BASE_URL, Gemini
from providers.wire.gemini.request import NO_SIGNATURE
from providers.wire.images import CompletionImages
from tests.gemini import INPUT_TOKENS, KEY, MODELS, FakeGemini
from tests.gemini_scenarios import PIXEL, SIGNATURE, SOURCES
from tests.providers.streams import PATIENT, collect, reasoning, request, text, until
from tests.scenarios import PLAIN, REASONING

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA, "strict": True},
}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeGemini]:
    """A fake upstream in this event loop."""
    async with FakeGemini() as server:
        yield server


@pytest.fixture
async def provider(upstream: FakeGemini) -> AsyncIterator[Gemini]:
    """A provider of that upstream."""
    provider = Gemini(Endpoint(upstream.base_url, clocks=PATIENT))
    yield provider
    await provider.aclose()


async def read(provider: Gemini, model: str, *messages: PromptMessage, **fields: Any) -> list[Event]:
    return await collect(provider.stream(request(model, *messages, **fields), KEY))


async def failure(provider: Gemini, model: str, **fields: Any) -> ProviderError | Retry:
    with pytest.raises((ProviderError, Retry)) as failed:
        await read(provider, model, **fields)
    return failed.value


def calls_of(events: list[Event]) -> list[dict[str, Any]]:
    """Return the calls as a client has them; each comes in one piece."""
    return [piece for event in events if isinstance(event, ToolCallDelta) for piece in json.loads(event.json)]


# --- what goes out ---------------------------------------------------------------------------------------------------


async def test_the_request(provider: Gemini, upstream: FakeGemini) -> None:
    """The key stands in a header alone, the settings under the vendor's names, and other parameters pass through."""
    parameters = {
        "temperature": 0.5,
        "max_tokens": 7,
        "n": 3,
        "thinkingConfig": {"includeThoughts": True},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"topK": 3, "temperature": 1},
        "tools": [{"googleSearch": {}}],
    }
    extras = {
        "tools": [WEATHER, {"type": "url_context"}],
        "tool_choice": "required",
        "stop": "END",
        "seed": 2**40 + 5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    }
    turns = (PromptMessage("system", "Be brief."), PromptMessage("user", "hello"))

    await read(provider, "plain", *turns, parameters=parameters, extras=extras)

    sent = upstream.requests[0]
    assert sent.path == "/v1beta/models/plain:streamGenerateContent?alt=sse"
    assert sent.headers["x-goog-api-key"] == KEY
    assert "authorization" not in sent.headers
    assert sent.body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "safetySettings": parameters["safetySettings"],
        "tools": [
            {"googleSearch": {}},
            {
                "functionDeclarations": [
                    {"name": "weather", "description": "The weather", "parametersJsonSchema": SCHEMA}
                ]
            },
            {"urlContext": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "temperature": 0.5,
            "maxOutputTokens": 7,
            "topK": 3,
            "topP": 0.9,
            "seed": 5,
            "stopSequences": ["END"],
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "thinkingConfig": {"includeThoughts": True},
        },
    }


async def test_what_operators_leave_out(provider: Gemini, upstream: FakeGemini) -> None:
    """Fields to drop are left out under OpenAI's name, those of the caller too; a model may have no cap."""
    parameters = {"temperature": 0.5, "max_tokens": 7}
    extras = {"seed": 1, "stop": ["a", "b"]}
    drop = frozenset({"temperature", "seed"})

    await read(provider, "plain", parameters=parameters, extras=extras, drop=drop, token_cap_field="none")

    assert upstream.requests[0].body["generationConfig"] == {"stopSequences": ["a", "b"]}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
async def test_tool_choice(provider: Gemini, upstream: FakeGemini, choice: Any, sent: Any) -> None:
    await read(provider, "plain", extras={"tools": [WEATHER], "tool_choice": choice})

    assert upstream.requests[0].body["toolConfig"] == {"functionCallingConfig": sent}


async def test_a_choice_without_tools_is_left_out(provider: Gemini, upstream: FakeGemini) -> None:
    """The vendor refuses a choice among no functions."""
    await read(provider, "plain", extras={"tool_choice": "none", "response_format": {"type": "text"}})

    assert upstream.requests[0].body.keys() == {"contents"}


@pytest.mark.parametrize(
    ("field", "extras"),
    [
        ("tools", {"tools": [{"type": "function"}]}),
        ("tool_choice", {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}),
        ("tool_choice", {"tools": [WEATHER], "tool_choice": "perhaps"}),
        ("response_format", {"response_format": {"type": "grammar"}}),
        ("response_format", {"response_format": {"type": "json_schema"}}),
    ],
)
async def test_what_gemini_cannot_be_asked(
    provider: Gemini, upstream: FakeGemini, field: str, extras: dict[str, Any]
) -> None:
    """A field without a counterpart is refused by name before anything is sent."""
    failed = await failure(provider, "plain", extras=extras)

    assert isinstance(failed, BadParameter)
    assert (failed.param, failed.action, upstream.requests) == (field, "user", [])


async def test_images(provider: Gemini, upstream: FakeGemini) -> None:
    """Images in the request go out as data, those at an address as a file whose kind its name shows."""
    urls = [
        f"data:image/png;base64,{PIXEL}",
        "data:image/svg+xml,%3Csvg/%3E",
        "https://e.org/a.jpg?x",
        "https://e.org/b",
    ]
    parts = ({"type": "text", "text": "Look:"}, *({"type": "image_url", "image_url": {"url": url}} for url in urls))

    await read(provider, "plain", PromptMessage("user", "Look:", parts))

    assert upstream.requests[0].body["contents"][0]["parts"] == [
        {"text": "Look:"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"inlineData": {"mimeType": "image/svg+xml", "data": "PHN2Zy8+"}},
        {"fileData": {"fileUri": "https://e.org/a.jpg?x", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://e.org/b"}},
    ]


@pytest.mark.parametrize(("whole", "first"), [(False, ["a\n\nb"]), (True, ["a", "b"])])
async def test_turns(provider: Gemini, upstream: FakeGemini, whole: bool, first: list[str]) -> None:
    """Neighbours of one role become one turn, a program's texts stay apart, and empty texts are left out."""
    turns = [("user", "a"), ("user", "b"), ("assistant", ""), ("assistant", "c"), ("system", "s"), ("user", "d")]

    messages = [PromptMessage(role, content) for role, content in turns]  # type: ignore[arg-type]

    await read(provider, "plain", *messages, whole=whole)

    body = upstream.requests[0].body
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": text} for text in first]},
        {"role": "model", "parts": [{"text": "c"}]},
        {"role": "user", "parts": [{"text": "d"}]},
    ]
    assert body["systemInstruction"] == {"parts": [{"text": "s"}]}


async def test_a_system_message_alone(provider: Gemini, upstream: FakeGemini) -> None:
    """The vendor wants a turn of the user, so the only message becomes one."""
    await read(provider, "echo", PromptMessage("system", "s"))

    assert upstream.requests[0].body == {"contents": [{"role": "user", "parts": [{"text": "s"}]}]}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine"),
        ("名字", "/v1beta/models/%E5%90%8D%E5%AD%97"),
    ],
)
async def test_names_of_models(provider: Gemini, upstream: FakeGemini, model: str, path: str) -> None:
    await read(provider, model)

    assert upstream.requests[0].path == f"{path}:streamGenerateContent?alt=sse"


async def test_the_operators_query_and_headers_win(upstream: FakeGemini) -> None:
    """Headers and query of the upstream are added to each request."""
    endpoint = Endpoint(
        upstream.base_url + "/models/", clocks=PATIENT, headers=(("x-team", "a"),), query=(("tier", "b"),)
    )
    provider = Gemini(endpoint)
    await read(provider, "plain")
    await provider.aclose()

    assert upstream.requests[0].path.endswith("?alt=sse&tier=b")
    assert upstream.requests[0].headers["x-team"] == "a"


# --- what comes back -------------------------------------------------------------------------------------------------


async def test_plain_completion(provider: Gemini) -> None:
    """A completion arrives as text, the usage last, and the one `Finished`."""
    events = await read(provider, "plain")

    assert text(events) == PLAIN
    assert isinstance(events[-2], Usage)
    assert (events[-2].input_tokens, events[-1]) == (9, Finished("stop"))


async def test_thoughts(provider: Gemini) -> None:
    """Thoughts are reasoning, and counted in the output."""
    events = await read(provider, "thoughts")

    assert (reasoning(events), text(events)) == (REASONING, PLAIN)
    assert events[-2:] == [Usage(9, 12, 4, 5), Finished("stop")]


async def test_calls_are_numbered_and_named(provider: Gemini) -> None:
    """Each call is whole, with a number, an id of its own, arguments as text, and the signature where it had one."""
    events = await read(provider, "tool", extras={"tools": [WEATHER]})

    first, second = calls_of(events)
    assert (first["index"], second["index"]) == (0, 1)
    assert first["id"] != second["id"]
    assert first["function"] == {"name": "weather", "arguments": '{"city":"杭州","days":2}'}
    assert first["extra_content"] == {"google": {"thought_signature": SIGNATURE}}
    assert second["function"] == {"name": "clock", "arguments": "{}"}
    assert "extra_content" not in second
    assert events[-1] == Finished("tool_calls")


async def test_calls_beside_text_end_with_tool_calls(provider: Gemini) -> None:
    """The vendor says STOP; programs look for `tool_calls`. Its own id stays."""
    events = await read(provider, "tool_with_text", extras={"tools": [WEATHER]})

    assert (text(events), events[-1]) == ("Let me look. ", Finished("tool_calls"))
    assert calls_of(events)[0]["id"] == "8f2b1a3c"


async def test_calls_that_nobody_offered(provider: Gemini) -> None:
    """Without tools a call is no event, and text beside it ends as usual."""
    events = await read(provider, "tool_with_text")

    assert calls_of(events) == []
    assert (text(events), events[-1]) == ("Let me look. ", Finished("stop"))


@pytest.mark.parametrize("own_id", [False, True])
async def test_the_way_back_of_a_call(provider: Gemini, upstream: FakeGemini, own_id: bool) -> None:
    """A call goes back with its signature, its result under the name of the function, the vendor's ids with both."""
    call = calls_of(await read(provider, "tool_round", extras={"tools": [WEATHER]}))[0]
    if own_id:
        call["id"] = "8f2b1a3c"
    history = (
        PromptMessage("user", "hello"),
        PromptMessage("assistant", "", fields={"tool_calls": [call]}),
        PromptMessage("tool", "sunny", fields={"tool_call_id": call["id"]}),
    )
    events = await read(provider, "tool_round", *history, extras={"tools": [WEATHER]})

    assert json.loads(text(events)) == {"output": "sunny"}
    _user, model, response = upstream.requests[-1].body["contents"]
    ids = {"id": "8f2b1a3c"} if own_id else {}
    assert model["parts"] == [
        {
            "functionCall": {"name": "weather", "args": {"city": "杭州", "days": 2}, **ids},
            "thoughtSignature": SIGNATURE,
        }
    ]
    assert response == {
        "role": "user",
        "parts": [{"functionResponse": {"name": "weather", "response": {"output": "sunny"}, **ids}}],
    }


async def test_parallel_results_are_one_turn(provider: Gemini, upstream: FakeGemini) -> None:
    """Results of parallel calls answer them in one turn; a JSON object is the response itself."""
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": ""}} for name in ("f", "g")
    ]
    history = (
        PromptMessage("user", "hello"),
        PromptMessage("assistant", "Looking", fields={"tool_calls": calls}),
        PromptMessage("tool", '{"a": 1}', fields={"tool_call_id": "call_f"}),
        PromptMessage("tool", "[2]", fields={"tool_call_id": "call_g"}),
        PromptMessage("user", "and?"),
    )
    await read(provider, "plain", *history)

    assert upstream.requests[0].body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "Looking"},
                {"functionCall": {"name": "f", "args": {}}},
                {"functionCall": {"name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"a": 1}}},
                {"functionResponse": {"name": "g", "response": {"output": "[2]"}}},
                {"text": "and?"},
            ],
        },
    ]


@pytest.mark.parametrize(
    "turn",
    [
        PromptMessage("tool", "x", fields={"tool_call_id": "unknown"}),
        PromptMessage("assistant", "", fields={"tool_calls": [{"id": "a"}]}),
        PromptMessage("assistant", "", fields={"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
        PromptMessage("assistant", "", fields={"tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}),
        PromptMessage("user", "", ({"type": "image_url", "image_url": {"url": "data:,"}},)),
        PromptMessage("user", "", ({"type": "image_url", "image_url": {}},)),
    ],
)
async def test_turns_that_cannot_be_converted(provider: Gemini, upstream: FakeGemini, turn: PromptMessage) -> None:
    """A call without a name, with arguments that are no object, or a result without its call names `messages`."""
    with pytest.raises(BadParameter) as failed:
        await read(provider, "plain", PromptMessage("user", "hello"), turn)

    assert (failed.value.param, upstream.requests) == ("messages", [])


async def test_a_lost_signature_is_replaced_once(provider: Gemini, upstream: FakeGemini) -> None:
    """When the vendor misses the signature of a call, the request goes out once more with the documented stand-in."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    history = (
        PromptMessage("user", "hello"),
        PromptMessage("assistant", "", fields={"tool_calls": [call]}),
        PromptMessage("tool", "sunny", fields={"tool_call_id": "call_1"}),
    )
    with pytest.raises(Retry) as again:
        await read(provider, "gemini-3-pro", *history, extras={"tools": [WEATHER]})
    events = await collect(provider.stream(again.value.request, KEY))

    assert text(events) == PLAIN
    assert upstream.requests[1].body["contents"][1]["parts"][0]["thoughtSignature"] == NO_SIGNATURE
    assert again.value.learned == {}


@pytest.mark.parametrize("model", ["grounded", "grounded:oddly"])
async def test_sources(provider: Gemini, model: str) -> None:
    """The pages of a search are sources, each once, without addresses that are none."""
    events = await read(provider, model)

    found = [event for event in events if isinstance(event, Sources)]
    assert found == [Sources(tuple(Source(*source) for source in SOURCES))]


async def test_images_of_completions(provider: Gemini) -> None:
    """An image arrives between the texts in OpenAI's shape; a sketch of the thought is none."""
    events = await read(provider, "image")

    assert (text(events), events[-1]) == ("Here it is: done.", Finished("stop"))
    (image,) = (event for event in events if isinstance(event, CompletionImages))
    assert json.loads(image.json) == [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]


@pytest.mark.parametrize("model", ["array", "whole", "array_open"])
async def test_json_instead_of_events(provider: Gemini, model: str) -> None:
    """Relays send an array that grows, or one object; both are read as they come."""
    events = await read(provider, model)

    assert (text(events), events[-2:]) == (PLAIN, [Usage(9, 7), Finished("stop")])
    assert (sum(isinstance(event, Delta) for event in events) > 1) == (model != "whole")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("finish_everywhere", "stop"),
        ("finish_everywhere:MAX_TOKENS", "length"),
        ("finish_everywhere:SAFETY", "content_filter"),
        ("finish:MAX_TOKENS", "length"),
        *((f"finish:{word}", "content_filter") for word in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT")),
        *((f"finish:{word}", "content_filter") for word in ("SPII", "IMAGE_SAFETY", "LANGUAGE", "MODEL_ARMOR")),
        ("finish:NEW_IN_2027", "stop"),
    ],
)
async def test_finish_reasons(provider: Gemini, model: str, reason: str) -> None:
    """The last reason holds, and text that was cut never looks whole."""
    events = await read(provider, model)

    assert (text(events), events[-1]) == (PLAIN, Finished(reason))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "word", ["OTHER", "MALFORMED_FUNCTION_CALL", "MISSING_THOUGHT_SIGNATURE", "UNEXPECTED_TOOL_CALL"]
)
async def test_reasons_that_are_failures(provider: Gemini, word: str) -> None:
    """A generation that broke off is a failure, after which another route may answer."""
    failed = await failure(provider, f"finish:{word}:")

    assert isinstance(failed, ProviderError)
    assert (failed.vendor_code, failed.action) == (word.lower(), "wait")


async def test_the_cap_reached_while_thinking(provider: Gemini) -> None:
    events = await read(provider, "thinking")

    assert (reasoning(events), text(events), events[-1]) == (REASONING, "", Finished("length"))


async def test_a_blocked_prompt(provider: Gemini) -> None:
    failed = await failure(provider, "blocked")

    assert isinstance(failed, ContentBlocked)
    assert failed.vendor_code == "PROHIBITED_CONTENT"


@pytest.mark.parametrize("model", ["cut", "no_reason", "finish:FINISH_REASON_UNSPECIFIED"])
async def test_half_completions_are_failures(provider: Gemini, model: str) -> None:
    """A stream that ends without a finish reason was cut."""
    events: list[Event] = []
    with pytest.raises(ProviderError) as failed:
        await collect(provider.stream(request(model), KEY), events)

    assert failed.value.vendor_code in ("connection_lost", "truncated")
    assert text(events) in (PLAIN, "one two three ")


async def test_connections_are_kept(provider: Gemini, upstream: FakeGemini) -> None:
    """Streams that end with their body leave the connection for the next request."""
    for _turn in range(3):
        await read(provider, "plain")

    assert upstream.connections == 1


async def test_a_stop_closes_the_connection(provider: Gemini, upstream: FakeGemini) -> None:
    stream = provider.stream(request("paced:1000:20"), KEY)
    await anext(stream)
    assert upstream.open_streams == 1
    await stream.aclose()  # type: ignore[attr-defined]
    await until(lambda: not upstream.open_streams)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "action", "scope", "vendor_code"),
    [
        ("error:400:FAILED_PRECONDITION:User location is not supported", "ops", "all", "REGION_NOT_SUPPORTED"),
        ("error:403:PERMISSION_DENIED:Your API key was reported as leaked.", "disable", "key", "API_KEY_LEAKED"),
        ("error:429:RESOURCE_EXHAUSTED:Your prepayment credits are depleted.", "disable", "key", "CREDITS_DEPLETED"),
        ("error:429:RESOURCE_EXHAUSTED:The monthly spending cap is reached.", "disable", "key", "CREDITS_DEPLETED"),
        ("error_reason:403:PERMISSION_DENIED:SERVICE_DISABLED", "disable", "key", "SERVICE_DISABLED"),
        ("error_reason:403:PERMISSION_DENIED:CONSUMER_SUSPENDED", "disable", "key", "CONSUMER_SUSPENDED"),
        ("error_reason:403:PERMISSION_DENIED:API_KEY_SERVICE_BLOCKED", "disable", "key", "API_KEY_SERVICE_BLOCKED"),
        ("error_reason:400:INVALID_ARGUMENT:API_KEY_INVALID", "disable", "key", "API_KEY_INVALID"),
        ("error:403:PERMISSION_DENIED:no", "switch", "key_model", "PERMISSION_DENIED"),
        ("error:401:UNAUTHENTICATED:no", "disable", "key", "UNAUTHENTICATED"),
        ("gone", "switch", "key_model", "NOT_FOUND"),
        ("limited", "switch", "key_model", "RESOURCE_EXHAUSTED"),
        ("error:503:UNAVAILABLE:The model is overloaded.", "wait", "all", "UNAVAILABLE"),
        ("error:500:INTERNAL:no", "wait", "key_model", "INTERNAL"),
        ("error:504:DEADLINE_EXCEEDED:no", "wait", "key_model", "DEADLINE_EXCEEDED"),
        ("error_first:429:RESOURCE_EXHAUSTED", "switch", "key_model", "RESOURCE_EXHAUSTED"),
        ("page:404", "ops", "all", ""),
    ],
)
async def test_refusals(provider: Gemini, does: str, action: str, scope: str, vendor_code: str) -> None:
    """Each refusal in Gemini's words gets its action, alone and in a list."""
    failed = await failure(provider, does)

    assert isinstance(failed, ProviderError)
    assert (failed.action, failed.scope, failed.vendor_code) == (action, scope, vendor_code)
    assert "leak" not in str(failed)


async def test_delays(provider: Gemini) -> None:
    """The delay among the details is the rest of the key; a limit per day outlasts it."""
    per_minute = await failure(provider, "limited")
    per_day = await failure(provider, "limited:GenerateRequestsPerDayPerProjectPerModel-FreeTier")

    assert isinstance(per_minute, ProviderError)
    assert isinstance(per_day, ProviderError)
    assert (per_minute.cooldown_s, per_day.cooldown_s) == (7, 3600)
    assert (per_minute.blame, per_day.blame) == ("rate", "key")


async def test_a_wrong_key(upstream: FakeGemini) -> None:
    provider = Gemini(Endpoint(upstream.base_url, clocks=PATIENT))
    with pytest.raises(ProviderError) as failed:
        await collect(provider.stream(request(), "AIza-other"))
    await provider.aclose()

    assert (failed.value.action, failed.value.vendor_code) == ("disable", "API_KEY_INVALID")


async def test_too_long(provider: Gemini) -> None:
    """A program's prompt is refused; in a conversation the older turns are left out."""
    turns = [PromptMessage("user" if n % 2 == 0 else "assistant", f"{n} " * 40) for n in range(9)]

    with pytest.raises(PromptTooLong):
        await read(provider, "context:4", *turns, whole=True)
    with pytest.raises(Retry) as again:
        await read(provider, "context:4", *turns)
    assert len(again.value.request.messages) < len(turns)


async def test_a_setting_that_the_model_does_not_know(provider: Gemini) -> None:
    """What the caller set is named as it was called; what the operator set is left out."""
    failed = await failure(provider, "without:presencePenalty", extras={"presence_penalty": 1})
    again = await failure(provider, "without:topK", parameters={"top_k": 3})

    assert isinstance(failed, BadParameter)
    assert failed.param == "presence_penalty"
    assert isinstance(again, Retry)
    assert again.request.parameters == {}


@pytest.mark.parametrize(
    ("name", "theirs", "value", "words"),
    [
        ("frequency_penalty", "frequencyPenalty", 1, "Penalty is not enabled for gemini-2.5-pro"),
        ("presence_penalty", "presencePenalty", 1, "Penalty is not enabled for gemini-2.5-pro"),
        ("response_format", "responseMimeType", {"type": "json_object"}, "JSON mode is not enabled for this model"),
        ("reasoning_effort", "thinkingConfig", "low", "Thinking level is not supported for this model."),
    ],
)
async def test_wordings_without_a_name(provider: Gemini, name: str, theirs: str, value: Any, words: str) -> None:
    """The field that is meant is found among those sent: the caller's is named, the operator's left out."""
    does = f"unable:{theirs}:{words}"
    again = await failure(provider, does, parameters={name: value})
    assert isinstance(again, Retry)
    assert again.request.parameters == {}

    if name in Gemini.takes:
        failed = await failure(provider, does, extras={name: value})
        assert isinstance(failed, BadParameter)
        assert failed.param == name


@pytest.mark.parametrize(
    ("model", "effort", "sent"),
    [
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-3-flash", "medium", {"thinkingLevel": "medium"}),
        ("gemini-3-flash", "none", {"thinkingBudget": 0}),
    ],
)
async def test_the_effort(provider: Gemini, upstream: FakeGemini, model: str, effort: str, sent: Any) -> None:
    """An effort replaces the configured amount of thinking and leaves the rest of that setting."""
    thinking = {"includeThoughts": True, "thinkingBudget": 7, "thinkingLevel": "high"}
    await read(provider, model, parameters={"thinkingConfig": thinking, "reasoning_effort": effort})

    assert upstream.requests[0].body["generationConfig"] == {"thinkingConfig": {"includeThoughts": True, **sent}}


async def test_an_effort_that_gemini_does_not_know(provider: Gemini, upstream: FakeGemini) -> None:
    failed = await failure(provider, "plain", parameters={"reasoning_effort": "heroic"})

    assert isinstance(failed, BadParameter)
    assert (failed.param, upstream.requests) == ("reasoning_effort", [])


# --- models and settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1, 3, 100])
async def test_models_are_listed(provider: Gemini, upstream: FakeGemini, page_size: int) -> None:
    """All pages are read; models that generate no text are left out."""
    upstream.page_size = page_size
    found = await provider.list_models(KEY)

    assert [model.name for model in found.models] == sorted(MODELS)
    assert {model.context_tokens for model in found.models} == {INPUT_TOKENS}
    assert found.models[-1].title == "Plain"
    assert found.complete


async def test_a_long_list_is_cut(provider: Gemini, upstream: FakeGemini) -> None:
    """A list without an end is read up to a bound, and said not to be complete."""
    upstream.page_size = 0
    found = await provider.list_models(KEY)

    assert (found.models, found.complete, len(upstream.requests)) == ((), False, 5)


async def test_a_list_is_refused_to_a_wrong_key(upstream: FakeGemini) -> None:
    provider = Gemini(Endpoint(upstream.base_url, clocks=PATIENT))
    with pytest.raises(ProviderError) as failed:
        await provider.list_models("AIza-other")
    await provider.aclose()

    assert failed.value.vendor_code == "API_KEY_INVALID"


def test_the_context_of_models_of_the_environment() -> None:
    """A model of the environment starts with the size of Gemini's contexts."""
    assert first_run_values("gemini-flash-latest", "gemini-flash-latest", 0)["context_tokens"] == INPUT_TOKENS


def test_first_run() -> None:
    """Keys alone lead to Google; an address alone leads to a server that needs no key."""
    nothing: dict[str, Any] = {
        "GEMINI_API_KEYS": (),
        "GEMINI_BASE_URL": None,
        "GEMINI_PROXY": None,
        "GEMINI_MODELS": (("m", "m"),),
    }

    assert not list(Gemini.first_run(nothing))
    (found,) = Gemini.first_run({**nothing, "GEMINI_API_KEYS": (KEY,)})
    assert found == FirstRun("gemini", BASE_URL, "", (KEY,), (("m", "m"),))
    (found,) = Gemini.first_run({**nothing, "GEMINI_BASE_URL": "https://relay.example/v1beta"})
    assert (found.base_url, found.keys) == ("https://relay.example/v1beta", ())
