"""Bodies of `POST /v1/messages`: known fields are checked, unknown ones are ignored.

https://docs.anthropic.com/en/api/messages. Each refusal names the field by its place in the body.
"""

import re
from typing import Annotated, Any

import orjson
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from chat import bodies
from chat.bodies import INVALID, REQUIRED, Slug, wrong
from chat.openai.bodies import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Number,
    StopTexts,
    TokenCap,
    Typed,
    Word,
    check_image,
    check_levels,
    check_not_blank,
    joined,
    string,
    without_null,
)
from chat.openai.calls import ApiCall
from chat.openai.turns import Parts, Turns

# This shape's names of the fields of a call.
NAMES = {
    "images": "messages",
    "stop": "stop_sequences",
    "reasoning_effort": "thinking",
    "parallel_tool_calls": "tool_choice",
    "response_format": "output_config",
}
# The effort for a budget of thinking tokens: the first one whose budget is not smaller.
_EFFORTS = ((4_096, "low"), (16_384, "medium"))
_MEDIA_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TYPES = frozenset({"text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"})


class OutputConfig(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    effort: Word | None = None
    format: Typed | None = None


class CountBody(BaseModel):
    """The body of `POST /v1/messages/count_tokens`."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: Slug
    messages: Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: StrictStr | list[Any] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS, fail_fast=True)] = []


class MessagesBody(CountBody):
    max_tokens: TokenCap | None = None
    stream: StrictBool = False
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=1_000_000)] | None = None
    stop_sequences: StopTexts | None = None
    tool_choice: Typed | None = None
    thinking: Typed | None = None
    output_config: OutputConfig = OutputConfig()
    output_format: Typed | None = None
    mcp_servers: list[Any] = []
    container: Any = None

    def model_post_init(self, context: Any, /) -> None:
        for name in ("mcp_servers", "container"):
            if getattr(self, name):
                raise wrong(name)

    def extras(self) -> dict[str, Any]:
        """Return the fields that the upstream gets, in the shape of chat completions."""
        choice = self.tool_choice.model_dump() if self.tool_choice else {}
        form = self.output_config.format or self.output_format
        given = {
            "tools": [_tool(f"tools[{place}]", tool) for place, tool in enumerate(self.tools)] or None,
            "tool_choice": _tool_choice(choice) if choice else None,
            "parallel_tool_calls": False if choice.get("disable_parallel_tool_use") is True else None,
            "response_format": _response_format(form.model_dump()) if form else None,
            "stop": self.stop_sequences or None,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "reasoning_effort": self.output_config.effort or _effort(self.thinking),
        }
        return without_null(given)


def parse(request: HttpRequest) -> tuple[MessagesBody, ApiCall]:
    """Return the body and its call; raise TooLarge or InvalidRequest."""
    body = _checked(request, MessagesBody)
    turns = _turns(body)
    parameters = without_null({"temperature": body.temperature, "max_tokens": body.max_tokens})
    names = NAMES | ({"reasoning_effort": "output_config.effort"} if body.output_config.effort else {})
    return body, ApiCall(body.model, turns.all(), parameters, body.extras(), names)


def parse_count(request: HttpRequest) -> ApiCall:
    """Return the call of a body whose tokens are to be counted."""
    body = _checked(request, CountBody)
    return ApiCall(body.model, _turns(body).all(), {}, {"tools": body.tools} if body.tools else {}, NAMES)


def _checked(request: HttpRequest, shape: type[bodies.T]) -> bodies.T:
    given = without_null(bodies.json_object(request))
    body = bodies.checked(shape, given)
    check_levels(given, "tools", "tool_choice", "messages", "system", "output_config", "output_format")
    return body


def _turns(body: CountBody) -> Turns:
    turns = Turns()
    if body.system:
        turns.add("system", *_content("system", body.system), cache_control=_mark(body.system))
    for place, message in enumerate(body.messages):
        _add(turns, f"messages[{place}]", message)
    check_not_blank("messages", turns.all())
    return turns


def _add(turns: Turns, where: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise wrong(where)
    content, role = message.get("content"), message.get("role")
    if role == "system":
        turns.add("system", *_content(f"{where}.content", content), cache_control=_mark(content))
    elif role == "assistant":
        _add_assistant(turns, f"{where}.content", content)
    elif role == "user":
        _add_user(turns, f"{where}.content", content)
    else:
        raise wrong(f"{where}.role", REQUIRED if role is None else INVALID)


def _add_assistant(turns: Turns, where: str, content: Any) -> None:
    for place, block in enumerate(_blocks(where, content)):
        at = f"{where}[{place}]"
        match block["type"]:
            case "text":
                turns.say(string(f"{at}.text", block.get("text")))
            case "tool_use":
                call_id, name = (string(f"{at}.{key}", block.get(key)) for key in ("id", "name"))
                turns.call(call_id, name, orjson.dumps(block.get("input") or {}).decode())
            case "thinking":
                turns.think(string(f"{at}.thinking", block.get("thinking")))
                if isinstance(carried := block.get("signature"), str):
                    turns.carry(carried)
            case "redacted_thinking":
                turns.carry(string(f"{at}.data", block.get("data")))
            case _:
                raise wrong(f"{at}.type")
    if mark := _mark(content):
        turns.cache(mark)


def _add_user(turns: Turns, where: str, content: Any) -> None:
    """Add a turn for each result of a tool, then one for the rest."""
    rest = []
    for place, block in enumerate(_blocks(where, content)):
        at = f"{where}[{place}]"
        if block["type"] == "tool_result":
            text, parts = _content(f"{at}.content", block.get("content") or "")
            call_id = string(f"{at}.tool_use_id", block.get("tool_use_id"))
            mark = _mark([*(block["content"] if isinstance(block.get("content"), list) else ()), block])
            failed = {"is_error": True} if block.get("is_error") is True else {}
            turns.add("tool", text, parts, mark, tool_call_id=call_id, **failed)
        else:
            rest.append((_part(at, block), block))
    if rest:
        turns.add("user", *joined([part for part, _block in rest]), _mark([block for _part, block in rest]))


def _mark(blocks: Any) -> dict[str, Any] | None:
    """Return the last `cache_control` of blocks, None without a valid one.

    It counts for the whole turn, because the blocks of a turn become one text.
    """
    for block in reversed(blocks) if isinstance(blocks, list) else ():
        given = block.get("cache_control")
        if isinstance(given, dict) and given.get("type") == "ephemeral":
            return {"type": "ephemeral", **({"ttl": given["ttl"]} if given.get("ttl") in ("5m", "1h") else {})}
    return None


def _content(where: str, content: Any) -> tuple[str, Parts]:
    return joined([_part(f"{where}[{place}]", block) for place, block in enumerate(_blocks(where, content))])


def _blocks(where: str, content: Any) -> list[dict[str, Any]]:
    """Return content as blocks, each with a known type."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise wrong(where, REQUIRED if content is None else INVALID)
    for place, block in enumerate(content):
        if not isinstance(block, dict):
            raise wrong(f"{where}[{place}]")
        if not isinstance(block.get("type"), str) or block["type"] not in _TYPES:
            raise wrong(f"{where}[{place}].type")
    return content


def _part(where: str, block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "text":
        return {"type": "text", "text": string(f"{where}.text", block.get("text"))}
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": _image(f"{where}.source", block.get("source"))}}
    raise wrong(f"{where}.type")


def _image(where: str, source: Any) -> str:
    if not isinstance(source, dict):
        raise wrong(where, REQUIRED if source is None else INVALID)
    if source.get("type") == "base64":
        kind, data = (string(f"{where}.{name}", source.get(name)) for name in ("media_type", "data"))
        if not _MEDIA_TYPE.fullmatch(kind):
            raise wrong(f"{where}.media_type")
        return f"data:{kind};base64,{data}"
    if source.get("type") == "url":
        return check_image(f"{where}.url", source.get("url"))
    raise wrong(f"{where}.type")


def _tool(where: str, tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as a function; other types, which a model may allow, stay unchanged."""
    if tool.get("type") not in (None, "custom"):
        return {**tool, "type": string(f"{where}.type", tool["type"])}
    function = {"name": string(f"{where}.name", tool.get("name")), "description": tool.get("description")}
    made = {"type": "function", "function": without_null({**function, "parameters": tool.get("input_schema")})}
    return without_null({**made, "cache_control": _mark([tool])})


def _tool_choice(choice: dict[str, Any]) -> Any:
    if choice["type"] == "tool":
        return {"type": "function", "function": {"name": string("tool_choice.name", choice.get("name"))}}
    if choice["type"] not in _TOOL_CHOICES:
        raise wrong("tool_choice.type")
    return _TOOL_CHOICES[choice["type"]]


def _response_format(form: dict[str, Any]) -> dict[str, Any]:
    if form["type"] != "json_schema":
        raise wrong("output_config.format.type")
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": form.get("schema"), "strict": True}}


def _effort(thinking: Typed | None) -> str | None:
    """Return the effort for a budget of thinking; without a budget the model decides itself."""
    if thinking is None or thinking.type in ("disabled", "adaptive"):
        return None
    budget = thinking.model_dump().get("budget_tokens")
    if thinking.type != "enabled" or not isinstance(budget, int):
        raise wrong("thinking", _("Thinking is enabled with budget_tokens, adaptive or disabled."))
    return next((effort for most, effort in _EFFORTS if budget <= most), "high")
