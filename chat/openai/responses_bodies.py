"""Bodies of `POST /v1/responses`: known fields are checked, unknown ones are ignored.

https://platform.openai.com/docs/api-reference/responses/create. Nothing is kept, so a request must bring its whole
prompt. Each refusal names the field by its place in the body.
"""

from typing import Annotated, Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from chat import bodies
from chat.bodies import INVALID, REQUIRED, Slug, wrong
from chat.openai.bodies import (
    MAX_MESSAGES,
    MAX_TOOLS,
    Number,
    TokenCap,
    Typed,
    Word,
    check_image,
    check_levels,
    check_not_blank,
    joined,
    refuse_log_probabilities,
    string,
    without_null,
)
from chat.openai.calls import ApiCall
from chat.openai.turns import Parts, Turns

# This shape's names of the fields of a call.
NAMES = {
    "messages": "input",
    "images": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
}
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
_TOKENS_OF_TEXT = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"


class ReasoningOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    effort: Word | None = None


class TextOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    format: Typed | None = None
    verbosity: Word | None = None


class ResponsesBody(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: Slug
    input: StrictStr | Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: StrictStr | None = None
    stream: StrictBool = False
    max_output_tokens: TokenCap | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    tools: Annotated[list[Typed], Field(max_length=MAX_TOOLS, fail_fast=True)] = []
    tool_choice: StrictStr | Typed | None = None
    parallel_tool_calls: StrictBool | None = None
    reasoning: ReasoningOptions = ReasoningOptions()
    text: TextOptions = TextOptions()
    metadata: dict[StrictStr, Any] = {}
    include: Annotated[list[StrictStr], Field(max_length=100, fail_fast=True)] = []
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    background: StrictBool = False
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None

    def model_post_init(self, context: Any, /) -> None:
        for name in ("previous_response_id", "conversation", "prompt", "background"):
            if getattr(self, name):
                raise wrong(name, _("Responses are not kept here. Please send the whole input."))
        refuse_log_probabilities(top_logprobs=self.top_logprobs, include=_TOKENS_OF_TEXT in self.include)

    @property
    def wants_details(self) -> bool:
        """Whether the program passes structured reasoning back."""
        return _ENCRYPTED in self.include

    def extras(self) -> dict[str, Any]:
        """Return the fields that the upstream gets, in the shape of chat completions."""
        form, choice = self.text.format, self.tool_choice
        given = {
            "tools": [_tool(f"tools[{place}]", tool.model_dump()) for place, tool in enumerate(self.tools)] or None,
            "tool_choice": _tool_choice(choice.model_dump()) if isinstance(choice, Typed) else choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": _response_format(form.model_dump()) if form else None,
            "top_p": self.top_p,
            "reasoning_effort": self.reasoning.effort,
            "verbosity": self.text.verbosity,
        }
        return without_null(given)

    def shown(self) -> dict[str, Any]:
        """Return what a response repeats of its request."""
        form, choice = self.text.format, self.tool_choice
        return {
            "background": False,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": self.reasoning.effort, "summary": None},
            "store": False,
            "temperature": self.temperature,
            "text": {"format": form.model_dump() if form else {"type": "text"}},
            "tool_choice": choice.model_dump() if isinstance(choice, Typed) else choice or "auto",
            "tools": [tool.model_dump() for tool in self.tools],
            "top_p": self.top_p,
            "truncation": "disabled",
            "user": None,
        }


def parse(request: HttpRequest) -> tuple[ResponsesBody, ApiCall]:
    """Return the body and its call; raise TooLarge or InvalidRequest."""
    given = without_null(bodies.json_object(request))
    body = bodies.checked(ResponsesBody, given)
    check_levels(given, "tools", "tool_choice", "text", "input", "metadata")
    turns = Turns()
    if body.instructions:
        turns.add("system", body.instructions)
    if isinstance(body.input, str):
        turns.add("user", body.input)
    else:
        for place, item in enumerate(body.input):
            _add(turns, f"input[{place}]", item)
    messages = turns.all()
    check_not_blank("input", messages)
    parameters = without_null({"temperature": body.temperature, "max_tokens": body.max_output_tokens})
    return body, ApiCall(body.model, messages, parameters, body.extras(), NAMES)


def _add(turns: Turns, where: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise wrong(where)
    match item.get("type", "message"):
        case "message":
            _add_message(turns, where, item)
        case "function_call":
            texts = [string(f"{where}.{name}", item.get(name)) for name in ("call_id", "name", "arguments")]
            turns.call(*texts)
        case "function_call_output":
            text, parts = _content(f"{where}.output", item.get("output"))
            turns.add("tool", text, parts, tool_call_id=string(f"{where}.call_id", item.get("call_id")))
        case "reasoning":
            for name in ("content", "summary"):
                if found := item.get(name):
                    turns.think(_content(f"{where}.{name}", found)[0])
                    break
            if isinstance(carried := item.get("encrypted_content"), str):
                turns.carry(carried)
        case "item_reference":
            raise wrong(f"{where}.type", _("Responses are not kept here. Please send the whole input."))
        case _:
            raise wrong(f"{where}.type")


def _add_message(turns: Turns, where: str, item: dict[str, Any]) -> None:
    role = item.get("role")
    text, parts = _content(f"{where}.content", item.get("content"))
    if role == "assistant":
        if parts:
            raise wrong(f"{where}.content")
        turns.say(text)
    elif role == "user":
        turns.add("user", text, parts)
    elif role in ("system", "developer"):
        turns.add("system", text, parts)
    else:
        raise wrong(f"{where}.role")


def _content(where: str, content: Any) -> tuple[str, Parts]:
    if isinstance(content, str):
        return content, ()
    if not isinstance(content, list):
        raise wrong(where, REQUIRED if content is None else INVALID)
    return joined([_part(f"{where}[{place}]", part) for place, part in enumerate(content)])


def _part(where: str, part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return {"type": "text", "text": string(f"{where}.text", part.get("text"))}
    if kind == "refusal":
        return {"type": "text", "text": string(f"{where}.refusal", part.get("refusal"))}
    if kind == "input_image":
        image: dict[str, Any] = {"url": check_image(f"{where}.image_url", part.get("image_url"))}
        if isinstance(detail := part.get("detail"), str) and detail != "auto":
            image["detail"] = detail
        return {"type": "image_url", "image_url": image}
    raise wrong(f"{where}.type" if isinstance(part, dict) else where)


def _tool(where: str, tool: dict[str, Any]) -> dict[str, Any]:
    if tool["type"] != "function":
        return tool
    function = {name: tool.get(name) for name in ("name", "description", "parameters", "strict")}
    string(f"{where}.name", function["name"])
    return {"type": "function", "function": without_null(function)}


def _tool_choice(choice: dict[str, Any]) -> dict[str, Any]:
    if choice["type"] == "function":
        return {"type": "function", "function": {"name": string("tool_choice.name", choice.get("name"))}}
    if choice["type"] == "allowed_tools" and isinstance(tools := choice.get("tools"), list):
        named = [_tool_choice(tool) if isinstance(tool, dict) and "type" in tool else tool for tool in tools]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.get("mode", "auto"), "tools": named}}
    return choice


def _response_format(form: dict[str, Any]) -> dict[str, Any]:
    if form["type"] != "json_schema":
        return form
    schema = {name: form.get(name) for name in ("name", "description", "schema", "strict")}
    return {"type": "json_schema", "json_schema": without_null(schema)}
