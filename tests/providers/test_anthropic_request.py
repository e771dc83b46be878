"""OpenAI-shaped requests in the shape of Anthropic's Messages API, without a network."""

from typing import Any

import pytest

from providers.wire.anthropic.adapter import Anthropic
from providers.wire.base import Endpoint, PromptMessage, Role
from providers.wire.errors import BadParameter, Retry
from providers.wire.openai.errors import read_complaint
from tests.anthropic_rules import NEW_VERSION, OLD_VERSION, complaint
from tests.providers.streams import request

PROVIDER = Anthropic(Endpoint("https://api.anthropic.com"))
USER = PromptMessage("user", "hello")


def body_of(*turns: PromptMessage, **options: Any) -> dict[str, Any]:
    """Return the body of a request, which the vendor would take."""
    body: dict[str, Any] = PROVIDER.body(request("m", *(turns or (USER,)), **options))
    assert complaint({"x-api-key": "k", "anthropic-version": OLD_VERSION}, body) is None
    return body


def turns_of(*turns: PromptMessage, **options: Any) -> list[tuple[str, list[Any]]]:
    """Return the turns that go out, a text as itself and other blocks by their type."""

    def shown(block: dict[str, Any]) -> str:
        return str(block.get("text", block["type"]))

    return [(turn["role"], list(map(shown, turn["content"]))) for turn in body_of(*turns, **options)["messages"]]


def said(role: Role, content: str, **fields: Any) -> PromptMessage:
    return PromptMessage(role, content, fields=fields)


def call(name: str = "f", arguments: Any = '{"x":1}', id_: str = "a") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def function(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


# --- turns -----------------------------------------------------------------------------------------------------------


def test_system_prompts_stand_apart() -> None:
    """All system prompts go out as one, wherever they stood."""
    body = body_of(said("system", "Be kind."), USER, said("system", "Be short."))
    assert body["system"] == "Be kind.\n\nBe short."
    assert [turn["role"] for turn in body["messages"]] == ["user"]


def test_only_a_system_prompt() -> None:
    """A prompt without any turn becomes the user's turn, because the vendor wants one."""
    assert turns_of(said("system", "Speak.")) == [("user", ["Speak."])]
    assert "system" not in body_of(said("system", "Speak."))


def test_roles_alternate() -> None:
    """Neighbours of one role become one turn, and empty turns are left out."""
    turns = [USER, said("assistant", " \n"), said("user", "again"), said("assistant", "a"), said("assistant", "b")]
    assert turns_of(*turns, said("user", "c")) == [
        ("user", ["hello", "again"]),
        ("assistant", ["a", "b"]),
        ("user", ["c"]),
    ]


def test_a_conversation_begins_with_the_user() -> None:
    """An assistant's greeting follows a turn of the user."""
    assert turns_of(said("assistant", "Welcome!"), USER)[:2] == [("user", ["Hello."]), ("assistant", ["Welcome!"])]


def test_a_text_to_continue_has_no_space_at_its_end() -> None:
    """White space at the end of a last turn of the assistant is left out, because the vendor refuses it."""
    assert turns_of(USER, said("assistant", "It is \n"))[-1] == ("assistant", ["It is"])


def test_tool_turns() -> None:
    """Results of tools stand in a turn of the user directly behind the calls, before other text."""
    tools = said("assistant", "Wait.", tool_calls=[call(), call("g", "", "b:2")])
    results = [said("tool", "one", tool_call_id="a"), said("tool", "", tool_call_id="b:2")]
    body = body_of(USER, tools, said("user", "Well?"), *results, extras={"tools": [function("f")]})
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "Wait."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b_2", "name": "g", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "one"},
        {"type": "tool_result", "tool_use_id": "b_2"},
        {"type": "text", "text": "Well?"},
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"x": 1}', {"x": 1}),
        ({"x": 1}, {"x": 1}),
        ("", {}),
        (" {} ", {}),
        (None, {}),
        ('{"x": 1', {"arguments": '{"x": 1'}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
def test_arguments_are_objects(arguments: Any, expected: Any) -> None:
    """Arguments of a call go out as an object, whatever text they were."""
    tools = said("assistant", "", tool_calls=[call("f", arguments)])
    body = body_of(USER, tools, said("tool", "r", tool_call_id="a"))
    assert body["messages"][1]["content"][0]["input"] == expected


def test_a_history_with_tools_defines_them() -> None:
    """When the caller offers no tools any more, those of the history are defined, and none may be called."""
    turns = USER, said("assistant", "", tool_calls=[call()]), said("tool", "r", tool_call_id="a")
    body = body_of(*turns)
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("data:image/png;base64,AAAA", {"type": "base64", "media_type": "image/png", "data": "AAAA"}),
        ("DATA:image/JPG;base64,AAAA", {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}),
        ("data:image/gif,%00%01", {"type": "base64", "media_type": "image/gif", "data": "AAE="}),
        ("https://example.org/a.png", {"type": "url", "url": "https://example.org/a.png"}),
    ],
)
def test_images(url: str, source: dict[str, str]) -> None:
    """Images go out with their data or their address, in turns of the user and in results of tools."""
    image: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    parts: tuple[dict[str, Any], ...] = ({"type": "text", "text": "Look:"}, image)
    turns = [
        PromptMessage("user", "Look:", parts),
        said("assistant", "", tool_calls=[call()]),
        PromptMessage("tool", "Look:", parts, {"tool_call_id": "a"}),
    ]
    messages = body_of(*turns)["messages"]
    expected = [{"type": "text", "text": "Look:"}, {"type": "image", "source": source}]
    assert messages[0]["content"] == expected
    assert messages[2]["content"][0]["content"] == expected


def test_an_image_may_be_a_bare_address() -> None:
    """An image whose address is no object goes out too."""
    image = PromptMessage("user", "", ({"type": "image_url", "image_url": "https://example.org/a.png"},))
    assert turns_of(image) == [("user", ["image"])]


# --- tools -----------------------------------------------------------------------------------------------------------


def test_tools() -> None:
    """Functions go out with a schema of an object; the vendor's own tools stay as they are, from row and caller."""
    schema = {"properties": {"x": {"type": "integer"}}, "required": ["x"]}
    own = {"type": "web_search_20250305", "name": "web_search"}
    offered = [function("f", description="d", parameters=schema, strict=True), function("g", strict=False)]
    body = body_of(parameters={"tools": [own]}, extras={"tools": offered})
    assert body["tools"] == [
        own,
        {"name": "f", "description": "d", "input_schema": {"type": "object", **schema}, "strict": True},
        {"name": "g", "input_schema": {"type": "object"}},
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": function("f")}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_tool_choice(extras: dict[str, Any], expected: Any) -> None:
    """The choice of tools, and whether several at once, are one field of the vendor's."""
    assert body_of(extras={"tools": [function("f")], **extras}).get("tool_choice") == expected
    assert "tool_choice" not in body_of(extras=extras)


# --- other fields ----------------------------------------------------------------------------------------------------


def test_fields_of_other_vendors_stay_here() -> None:
    """Fields that the vendor does not have never go out, whether the model's row holds them or the caller sent them."""
    others = {"seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0, "n": 2, "logprobs": True, "user": "u"}
    body = body_of(parameters={**others, "max_completion_tokens": 5, "top_k": 3}, extras={"presence_penalty": 0})
    assert body.keys() == {"model", "messages", "max_tokens", "stream", "top_k"}
    assert Anthropic.takes.isdisjoint({"seed", "presence_penalty", "frequency_penalty"})


def test_stop_and_format() -> None:
    """Stops become a list, and a JSON schema the vendor's format beside other options of the output."""
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    body = body_of(parameters={"output_config": {"effort": "low"}}, extras={"stop": "END", "response_format": wanted})
    assert body["stop_sequences"] == ["END"]
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    assert "output_config" not in body_of(extras={"response_format": {"type": "text"}})
    with pytest.raises(BadParameter, match="field"):
        body_of(extras={"response_format": {"type": "json_object"}})


def test_stops_of_the_row() -> None:
    """Fields that the model's row holds in OpenAI's words are converted too; the caller's win."""
    assert body_of(parameters={"stop": ["A"]})["stop_sequences"] == ["A"]
    assert body_of(parameters={"stop": ["A"]}, extras={"stop": ["B"]})["stop_sequences"] == ["B"]


def test_sampling() -> None:
    """The temperature is brought into the vendor's bounds, and a `top_p` without effect is left out."""
    assert body_of(parameters={"temperature": 1.7})["temperature"] == 1
    assert body_of(parameters={"temperature": 0.3}, extras={"top_p": 0.5})["top_p"] == 0.5
    assert "top_p" not in body_of(parameters={"top_p": 0.5}, extras={"top_p": 1})
    assert [Anthropic.takes_temperature("m", degree) for degree in (0.0, 1.0, 1.1)] == [True, True, False]


@pytest.mark.parametrize(
    ("model", "parameters", "expected"),
    [
        ("claude-sonnet-5-5", {}, 32_000),
        ("claude-sonnet-5-5", {"max_tokens": 7}, 7),
        ("claude-3-haiku-20240307", {}, 4_096),
        ("claude-3-5-sonnet-latest", {}, 8_192),
        ("m", {"thinking": {"type": "enabled", "budget_tokens": 2_000}}, 32_000),
        ("m", {"thinking": {"type": "enabled", "budget_tokens": 40_000}}, 48_192),
    ],
)
def test_the_cap_is_always_there(model: str, parameters: dict[str, Any], expected: int) -> None:
    """The vendor demands a token cap; without one of the caller's or the row's it suits the model and its thoughts."""
    assert PROVIDER.body(request(model, USER, parameters=parameters))["max_tokens"] == expected


# --- thoughts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2_000, "display": "omitted"}]
)
def test_thoughts_of_the_row(thinking: Any) -> None:
    """The row's thoughts go out unchanged; fields that the vendor refuses beside them do not."""
    body = body_of(parameters={"thinking": thinking, "temperature": 0.2, "top_k": 3})
    assert body["thinking"] == thinking
    assert body.keys().isdisjoint({"temperature", "top_k"})


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("low", {"type": "enabled", "budget_tokens": 4_096}),
        ("medium", {"type": "enabled", "budget_tokens": 16_384}),
        ("high", {"type": "enabled", "budget_tokens": 32_768}),
        ("none", None),
        ("minimal", None),
    ],
)
def test_the_callers_effort_replaces_the_thoughts_of_the_row(effort: str, thinking: Any) -> None:
    body = body_of(parameters={"thinking": {"type": "adaptive"}}, extras={"reasoning_effort": effort})
    assert body.get("thinking") == thinking
    assert "reasoning_effort" not in body


def test_an_unknown_effort_is_named() -> None:
    with pytest.raises(BadParameter) as refused:
        body_of(extras={"reasoning_effort": "endless"})
    assert refused.value.param == "reasoning_effort"


def test_the_row_thinks_less_than_the_caller_samples() -> None:
    """Thoughts of the row yield to the caller's sampling; with the caller's own effort that is named."""
    row: Any = {"thinking": {"type": "adaptive"}}
    sampled = body_of(parameters={**row, "temperature": 0.2}, given=frozenset({"temperature"}))
    assert (sampled.get("thinking"), sampled["temperature"]) == (None, 0.2)
    assert body_of(parameters=row, extras={"top_k": 3})["top_k"] == 3
    with pytest.raises(BadParameter) as refused:
        body_of(extras={"top_k": 3, "reasoning_effort": "low"})
    assert refused.value.param == "top_k"


def test_effort_for_models_that_decide_themselves() -> None:
    """A model that refuses a budget gets the caller's effort by its name."""
    asked = request("m", USER, extras={"reasoning_effort": "low"})
    refused = read_complaint(
        400,
        b'{"type":"error","error":{"type":"invalid_request_error","message":""thinking.type.enabled" is not '
        b'supported for this model. Use "thinking.type.adaptive" and "output_config.effort"."}}',
        {},
    )
    better = PROVIDER.refusal(asked, refused)
    assert isinstance(better, Retry)
    body = PROVIDER.body(better.request)
    assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "low"})


@pytest.mark.parametrize("kind", ["disabled", "between_tools"])
def test_other_kinds_of_thoughts(kind: str) -> None:
    """Other values of the field go out as they are."""
    assert body_of(parameters={"thinking": {"type": kind}, "temperature": 0.2})["thinking"] == {"type": kind}


def test_thoughts_yield_to_the_caller() -> None:
    """A small cap, or a tool that must be called, wins over the thoughts of the row."""
    budget: Any = {"thinking": {"type": "enabled", "budget_tokens": 9_000}}
    assert body_of(parameters={**budget, "max_tokens": 5_000})["thinking"]["budget_tokens"] == 4_999
    assert "thinking" not in body_of(parameters={**budget, "max_tokens": 500})
    forced = {"tools": [function("f")], "tool_choice": "required"}
    for thinking in (budget["thinking"], {"type": "adaptive"}):
        assert "thinking" not in body_of(parameters={"thinking": thinking}, extras=forced)


@pytest.mark.parametrize("extra", [None, 7, "x", {"google": {}}, {"anthropic": 1}, {"anthropic": {"thinking": "x"}}])
def test_odd_extra_content(extra: Any) -> None:
    """Extra content of other vendors and odd values are not taken for thoughts."""
    turns = [USER, said("assistant", "", tool_calls=[{**call(), "extra_content": extra}])]
    sent = turns_of(*turns, said("tool", "r", tool_call_id="a"))
    assert sent[1] == ("assistant", ["tool_use"])


def test_the_fake_knows_both_versions() -> None:
    """The fake refuses sampling fields with the newer version, as the vendor does."""
    body = body_of(parameters={"temperature": 0.3})
    refused = complaint({"x-api-key": "k", "anthropic-version": NEW_VERSION}, body)
    assert refused == ("invalid_request_error", "temperature: Extra inputs are not permitted")


def test_marks_of_what_is_to_be_cached() -> None:
    """Marks stand at the end of their turn, of the system prompt and of their tool."""
    mark = {"type": "ephemeral", "ttl": "1h"}
    calls = {"tool_calls": [call()]}
    body = body_of(
        PromptMessage("system", "brief", cache_control=mark),
        USER,
        PromptMessage("assistant", "I look.", fields=calls, cache_control=mark),
        PromptMessage("tool", "sunny", fields={"tool_call_id": "a"}, cache_control=mark),
        PromptMessage("user", "and now?"),
        extras={"tools": [function("f"), {**function("g"), "cache_control": mark}]},
    )
    assert body["system"] == [{"type": "text", "text": "brief", "cache_control": mark}]
    assert [["cache_control" in block for block in turn["content"]] for turn in body["messages"]] == [
        [False],
        [False, True],
        [True, False],
    ]
    assert ["cache_control" in tool for tool in body["tools"]] == [False, True]


def test_a_mark_on_text_to_continue() -> None:
    """The end of the last text is stripped, and its mark stays."""
    mark = {"type": "ephemeral"}
    body = body_of(USER, PromptMessage("assistant", "Well, ", cache_control=mark))
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "Well,", "cache_control": mark}]
