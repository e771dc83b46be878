"""A request in OpenAI's shape as Gemini's: contents, tools and settings of the generation.

Source: https://ai.google.dev/api/generate-content. Nothing is sent here.
"""

import base64
import mimetypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import orjson

from providers.wire.base import JSON, ChatRequest, PromptMessage, as_objects, json_object
from providers.wire.errors import field_not_taken
from providers.wire.turns import IS_ERROR, sent_turns

# The documented stand-in for the signature of a call that the model did not make itself, or whose client lost it.
NO_SIGNATURE = "skip_thought_signature_validator"
# Ids that begin so were made up, here or by other vendors. Gemini takes back only its own.
MADE_UP = "call_"

# Gemini's names of parameters that it has under `generationConfig`.
CONFIG_NAMES: Mapping[str, str] = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
# Parameters beside `generationConfig`. All others are part of it, under the name that they have.
_BESIDE = frozenset({"safetySettings", "cachedContent", "labels", "serviceTier"})
_ELSEWHERE = frozenset(
    {"generationConfig", "tools", "toolConfig", "tool_choice", "response_format", "reasoning_effort", "n"}
)
# Tokens of thought for each effort.
_BUDGETS: Mapping[str, int] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
_MODES: Mapping[JSON, str] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
# The vendor's seeds have 32 bits with a sign.
_MAX_SEED = 2**31

Part = dict[str, JSON]


def body_of(request: ChatRequest, takes: frozenset[str]) -> dict[str, JSON]:
    """Return the JSON body of a request; raise BadParameter for what Gemini cannot be asked."""
    extras = {name: value for name, value in request.extras.items() if name in takes and name not in request.drop}
    parameters = {name: value for name, value in request.parameters.items() if name not in request.drop}
    if request.token_cap_field == "none":  # noqa: S105  (a field name, no secret)
        parameters.pop("max_tokens", None)
    system, contents = contents_of(sent_turns(request))
    body: dict[str, JSON] = {name: value for name, value in parameters.items() if name in _BESIDE}
    body["contents"] = contents
    if system:
        body["systemInstruction"] = {"parts": system}
    if tools := [*_tools(parameters.get("tools")), *_tools(extras.get("tools"))]:
        body["tools"] = tools
    if config := _tool_config(parameters, extras):
        body["toolConfig"] = config
    if generation := _generation_config(request.model, {**parameters, **extras}):
        body["generationConfig"] = generation
    return body


def contents_of(messages: Sequence[PromptMessage]) -> tuple[list[JSON], list[JSON]]:
    """Return the parts of the system's instruction, and the turns.

    Neighbours of one role become one turn.
    """
    system: list[JSON] = [{"text": turn.content} for turn in messages if turn.role == "system" and turn.content]
    names = _call_names(messages)
    turns = [turn for turn in messages if turn.role != "system"]
    contents: list[JSON] = []
    for role, group in groupby(turns, key=lambda turn: "model" if turn.role == "assistant" else "user"):
        found = [part for turn in group for part in _parts(turn, names)]
        # Results of calls stand before images and texts.
        parts: list[JSON] = [*sorted(found, key=lambda part: "functionResponse" not in part)]
        if parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        # The vendor wants a turn of the user at least.
        return [], [{"role": "user", "parts": system}]
    return system, contents


def signed(messages: Sequence[PromptMessage]) -> tuple[PromptMessage, ...]:
    """Return the messages with a stand-in signature in each turn whose first call has none."""
    return tuple(map(_signed, messages))


def _signed(turn: PromptMessage) -> PromptMessage:
    calls = as_objects(turn.fields.get("tool_calls"))
    if not calls or _signature(calls[0]):
        return turn
    first: JSON = {**calls[0], "extra_content": {"google": {"thought_signature": NO_SIGNATURE}}}
    return replace(turn, fields={**turn.fields, "tool_calls": [first, *calls[1:]]})


def _parts(turn: PromptMessage, names: Mapping[str, str]) -> Iterator[Part]:
    if turn.role == "tool":
        yield _response(turn, names)
        yield from (_content_part(part) for part in turn.parts if "text" not in part)
    elif turn.parts:
        yield from map(_content_part, turn.parts)
    elif turn.content:
        yield {"text": turn.content}
    for call in as_objects(turn.fields.get("tool_calls")):
        yield _call(call)


def _content_part(part: Mapping[str, JSON]) -> Part:
    if "text" in part:
        return {"text": part["text"]}
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise field_not_taken("messages")
    return _inline(url) if url[:5].lower() == "data:" else _linked(url)


def _inline(url: str) -> Part:
    head, comma, data = url[5:].partition(",")
    kind, *options = head.split(";")
    if not comma or not kind:
        raise field_not_taken("messages")
    if "base64" not in options:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return {"inlineData": {"mimeType": kind, "data": data}}


def _linked(url: str) -> Part:
    kind = mimetypes.guess_type(urlsplit(url).path)[0]
    return {"fileData": {"fileUri": url, **({"mimeType": kind} if kind else {})}}


def _call(call: Mapping[str, Any]) -> Part:
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        raise field_not_taken("messages")
    part: Part = {
        "functionCall": {"name": name, "args": _arguments(function.get("arguments")), **_own_id(call.get("id"))}
    }
    if signature := _signature(call):
        part["thoughtSignature"] = signature
    return part


def _arguments(given: object) -> dict[str, JSON]:
    """Return the arguments of a call as an object; their text may be empty."""
    try:
        arguments = orjson.loads(given.strip() or "{}") if isinstance(given, str) else given or {}
    except orjson.JSONDecodeError:
        raise field_not_taken("messages") from None
    if not isinstance(arguments, dict):
        raise field_not_taken("messages")
    return arguments


def _response(turn: PromptMessage, names: Mapping[str, str]) -> Part:
    id_ = turn.fields.get("tool_call_id")
    name = names.get(str(id_)) or turn.fields.get("name")
    if not isinstance(name, str):
        raise field_not_taken("messages")
    name_of_text = "error" if turn.fields.get(IS_ERROR) else "output"
    response: JSON = json_object(turn.content) or {name_of_text: turn.content}
    return {"functionResponse": {"name": name, "response": response, **_own_id(id_)}}


def _own_id(value: object) -> dict[str, JSON]:
    return {"id": value} if isinstance(value, str) and value and not value.startswith(MADE_UP) else {}


def _signature(call: Mapping[str, Any]) -> str:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def _call_names(messages: Iterable[PromptMessage]) -> dict[str, str]:
    """Return the names of the functions by the ids of their calls."""
    calls = [call for turn in messages for call in as_objects(turn.fields.get("tool_calls"))]
    named = ((str(call.get("id")), call.get("function")) for call in calls)
    return {id_: str(function.get("name")) for id_, function in named if isinstance(function, dict)}


def _tools(given: JSON) -> list[JSON]:
    """Return the tools in Gemini's shape, which those of the model's parameters have already."""
    tools = as_objects(given)
    declared: list[JSON] = [_declaration(tool) for tool in tools if tool.get("type") == "function"]
    others: list[JSON] = [_hosted(tool) for tool in tools if tool.get("type") != "function"]
    return [{"functionDeclarations": declared}, *others] if declared else others


def _declaration(tool: Mapping[str, Any]) -> Part:
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise field_not_taken("tools")
    declaration: Part = {name: function[name] for name in ("name", "description") if function.get(name)}
    if parameters := function.get("parameters"):
        declaration["parametersJsonSchema"] = parameters
    return declaration


def _hosted(tool: Mapping[str, Any]) -> Part:
    """Return a tool that the vendor runs: `{"type": "google_search"}` is `{"googleSearch": {}}`."""
    kind = tool.get("type")
    if not isinstance(kind, str):
        return dict(tool)
    first, *rest = kind.split("_")
    return {first + "".join(word.capitalize() for word in rest): tool.get(kind) or {}}


def _tool_config(parameters: Mapping[str, JSON], extras: Mapping[str, JSON]) -> dict[str, JSON]:
    configured = parameters.get("toolConfig")
    config = dict(configured) if isinstance(configured, dict) else {}
    choice = extras.get("tool_choice")
    if choice is None or not extras.get("tools"):
        return config
    if isinstance(choice, str):
        if choice not in _MODES:
            raise field_not_taken("tool_choice")
        return {**config, "functionCallingConfig": {"mode": _MODES[choice]}}
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise field_not_taken("tool_choice")
    return {**config, "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}


def _generation_config(model: str, given: Mapping[str, JSON]) -> dict[str, JSON]:
    configured = given.get("generationConfig")
    config = dict(configured) if isinstance(configured, dict) else {}
    for name, value in given.items():
        if name not in _BESIDE and name not in _ELSEWHERE:
            config[CONFIG_NAMES.get(name, name)] = value
    if isinstance(stop := config.get("stopSequences"), str):
        config["stopSequences"] = [stop]
    if isinstance(seed := config.get("seed"), int):
        config["seed"] = seed % _MAX_SEED
    if (effort := given.get("reasoning_effort")) is not None:
        config["thinkingConfig"] = _thinking(model, effort, config.get("thinkingConfig"))
    return {**config, **_format(given.get("response_format"))}


def _thinking(model: str, effort: JSON, configured: JSON) -> dict[str, JSON]:
    """Return how much to think, as Google's OpenAI-compatible address reads the effort.

    Models of 2.5 have budgets, later ones levels. The vendor refuses both together.
    """
    if not isinstance(effort, str) or effort not in _BUDGETS:
        raise field_not_taken("reasoning_effort")
    kept = dict(configured) if isinstance(configured, dict) else {}
    for name in ("thinkingBudget", "thinkingLevel"):
        kept.pop(name, None)
    if effort == "none" or "2.5" in model:
        return {**kept, "thinkingBudget": _BUDGETS[effort]}
    return {**kept, "thinkingLevel": effort}


def _format(wanted: JSON) -> dict[str, JSON]:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or kind == "text":
        return {}
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise field_not_taken("response_format")
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}
