"""OpenAI-shaped prompts, tools and fields in the shape of Anthropic's Messages API.

Standard: https://platform.claude.com/docs/en/api/messages. A turn's content is a list of blocks, roles alternate, tool
results stand in turns of the user, and system prompts stand apart from the turns.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from providers.wire.base import JSON, PromptMessage, json_object
from providers.wire.errors import field_not_taken
from providers.wire.turns import IS_ERROR

Block = dict[str, JSON]
# Name of this vendor in the `extra_content` of a tool call, and of the field with the thinking blocks before the call.
VENDOR, THINKING = "anthropic", "thinking"
THINKING_TYPES = ("thinking", "redacted_thinking")

# The first turn must be the user's. This text precedes a conversation that begins with the assistant.
OPENING = "Hello."
# Characters that an id of a tool call may have. Other vendors, whose calls may be in a history, use more.
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_MAX_MEDIA_TYPE_CHARS = 100


def turns_of(messages: Sequence[PromptMessage]) -> tuple[str, list[tuple[str, list[Block]]]]:
    """Return the system prompt and the turns, each with its role and its blocks.

    Neighbouring turns of one role become one, because roles alternate. Blank texts are left out, because the vendor
    refuses them.
    """
    system = "\n\n".join(
        message.content for message in messages if message.role == "system" and message.content.strip()
    )
    turns: list[tuple[str, list[Block]]] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [] if message.role == "system" else _blocks(message)
        if blocks and turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if not turns and system:
        return "", [("user", [_text(system)])]
    if turns and turns[0][0] == "assistant":
        turns.insert(0, ("user", [_text(OPENING)]))
    for role, blocks in turns:
        if role == "user":
            # Results of tools stand before the user's own text.
            blocks.sort(key=lambda block: block["type"] != "tool_result")
    if turns and turns[-1][0] == "assistant":
        _strip_end(turns[-1][1])
    return system, turns


def _strip_end(blocks: list[Block]) -> None:
    """Strip the end of the text that the model is to continue.

    The vendor refuses white space there.
    """
    if isinstance(text := blocks[-1].get("text"), str):
        blocks[-1] = {**blocks[-1], "text": text.rstrip()}


def system_of(system: str, messages: Sequence[PromptMessage]) -> JSON:
    """Return the system prompt with the last mark of its turns."""
    marks = [message.cache_control for message in messages if message.role == "system" and message.cache_control]
    return [{**_text(system), "cache_control": marks[-1]}] if marks else system


def _blocks(message: PromptMessage) -> list[Block]:
    if message.role == "tool":
        blocks = [_tool_result(message)]
    else:
        content = _content(message)
        blocks = _with_calls(message, content) if message.role == "assistant" else content
    if blocks and message.cache_control:
        blocks[-1] = {**blocks[-1], "cache_control": message.cache_control}
    return blocks


def _content(message: PromptMessage) -> list[Block]:
    parts: Iterable[Mapping[str, JSON]] = message.parts or ({"type": "text", "text": message.content},)
    blocks = [_image(part) if "text" not in part else _text(str(part["text"])) for part in parts]
    return [block for block in blocks if str(block.get("text", "-")).strip()]


def _with_calls(message: PromptMessage, content: list[Block]) -> list[Block]:
    """Return the blocks of an assistant's turn: thinking, text, calls.

    The thinking before the first call began the turn, so it stands before the text too.
    """
    given = message.fields.get("tool_calls")
    calls = [call for call in given if isinstance(call, dict)] if isinstance(given, list) else []
    blocks: list[Block] = []
    for place, call in enumerate(calls):
        blocks += thinking_of(call)
        if not place:
            blocks += content
        blocks.append(_tool_use(call))
    return blocks or content


def thinking_of(call: Mapping[str, JSON]) -> list[Block]:
    """Return the signed thinking blocks of a tool call, as the vendor sent them."""
    extra = call.get("extra_content")
    ours = extra.get(VENDOR) if isinstance(extra, dict) else None
    found = ours.get(THINKING) if isinstance(ours, dict) else None
    blocks = [block for block in found if isinstance(block, dict)] if isinstance(found, list) else []
    return [block for block in blocks if block.get("type") in THINKING_TYPES]


def without_thinking(message: PromptMessage) -> PromptMessage:
    """Return a turn without the signed thinking blocks of its calls."""
    calls = message.fields.get("tool_calls")
    if not isinstance(calls, list) or not any(isinstance(call, dict) and thinking_of(call) for call in calls):
        return message
    bare: list[JSON] = [
        {name: value for name, value in call.items() if name != "extra_content"} if isinstance(call, dict) else call
        for call in calls
    ]
    return replace(message, fields={**message.fields, "tool_calls": bare})


def _tool_use(call: Mapping[str, JSON]) -> Block:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return {
        "type": "tool_use",
        "id": _id(call.get("id")),
        "name": function.get("name"),
        "input": _input(function.get("arguments")),
    }


def _input(arguments: JSON) -> JSON:
    """Return arguments as an object, which the vendor demands.

    Other text becomes an object that holds it.
    """
    if isinstance(arguments, dict):
        return arguments
    text = arguments.strip() if isinstance(arguments, str) else ""
    return json_object(text) or ({} if text in ("", "{}", "null") else {"arguments": text})


def _tool_result(message: PromptMessage) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _id(message.fields.get("tool_call_id"))}
    if message.parts:
        block["content"] = [*_content(message)]
    elif message.content.strip():
        block["content"] = message.content
    if message.fields.get(IS_ERROR):
        block["is_error"] = True
    return block


def _id(value: JSON) -> str:
    return _NOT_IN_IDS.sub("_", value) if isinstance(value, str) else ""


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image(part: Mapping[str, JSON]) -> Block:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    address = url if isinstance(url, str) else ""
    if address[:5].lower() != "data:":
        return {"type": "image", "source": {"type": "url", "url": address}}
    head, _comma, data = address[5:].partition(",")
    media_type, *attributes = head[:_MAX_MEDIA_TYPE_CHARS].lower().split(";")
    if "base64" not in attributes:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    media_type = "image/jpeg" if media_type.strip() == "image/jpg" else media_type.strip()
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


# --- tools -----------------------------------------------------------------------------------------------------------


def tool(given: JSON) -> JSON:
    """Return a tool in the vendor's shape.

    Tools of other types than `function` are the vendor's own.
    """
    function = given.get("function") if isinstance(given, dict) and given.get("type") == "function" else None
    if not isinstance(function, dict):
        return given
    schema = function.get("parameters")
    made: Block = {
        "name": function.get("name"),
        "input_schema": {"type": "object", **(schema if isinstance(schema, dict) else {})},
    }
    if description := function.get("description"):
        made["description"] = description
    if function.get("strict") is True:
        made["strict"] = True
    if isinstance(given, dict) and (mark := given.get("cache_control")):
        made["cache_control"] = mark
    return made


def tool_choice(given: JSON, parallel: JSON) -> JSON:
    """Return which tools the model may or must call; None: it decides."""
    choice: JSON = None
    if given in ("auto", "none", "required"):
        choice = {"type": "any" if given == "required" else given}
    elif isinstance(given, dict) and isinstance(function := given.get("function"), dict):
        choice = {"type": "tool", "name": function.get("name")}
    elif given is not None:
        raise field_not_taken("tool_choice")
    if parallel is False:
        choice = choice if isinstance(choice, dict) else {"type": "auto"}
        if choice["type"] != "none":
            return {**choice, "disable_parallel_tool_use": True}
    return choice


def tools_of(turns: Iterable[tuple[str, list[Block]]]) -> list[JSON]:
    """Return a definition, which the vendor wants, of each tool that the turns call."""
    called = (block for _role, blocks in turns for block in blocks if block["type"] == "tool_use")
    names = dict.fromkeys(str(block["name"]) for block in called)
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def output_format(given: JSON) -> JSON:
    """Return the `output_config.format` for a `response_format`; None for plain text.

    Raises BadParameter for JSON without a schema, which the vendor does not have.
    """
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("text", None):
        return None
    described = given.get("json_schema") if isinstance(given, dict) else None
    schema = described.get("schema") if isinstance(described, dict) else None
    if kind != "json_schema" or not isinstance(schema, dict):
        raise field_not_taken("response_format")
    return {"type": "json_schema", "schema": schema}
