"""Bodies of `POST /v1/chat/completions`: known fields are checked, unknown ones are ignored.

https://platform.openai.com/docs/api-reference/chat/create. Each refusal names the field as OpenAI does.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from chat import bodies
from chat.bodies import BLANK, INVALID, REQUIRED, Slug, wrong
from chat.openai import legacy
from providers.errors import Unsupported
from providers.wire.base import PASSED_ON, PromptMessage, Role
from providers.wire.net.hosts import is_public_url

# Newer models of OpenAI call the system role `developer`; other vendors know only `system`.
_ROLES: dict[str, Role] = {role: role for role in get_args(Role)} | {"developer": "system"}
MAX_MESSAGES = 10_000
# What else a model may want back with its calls: signed thoughts, under the names of different vendors.
_RETURNED = ("reasoning", "reasoning_details", "extra_content")
# Levels of nested JSON: more than a tool schema needs, and no more than orjson can encode.
MAX_LEVELS = 64
# Tools of one request, and tokens that `logit_bias` may name; more than any upstream takes. Of a list, only the first
# wrong element is reported, because each costs time of the event loop.
MAX_TOOLS, MAX_BIASES = 1_000, 2_000


def _few(value: object) -> object:
    if isinstance(value, dict) and len(value) > MAX_BIASES:
        raise ValueError("too many")
    return value


Number = StrictFloat | StrictInt
Penalty = Annotated[Number, Field(ge=-2, le=2)]
TokenCap = Annotated[StrictInt, Field(ge=1, le=10_000_000)]
Bias = Annotated[Number, Field(ge=-100, le=100)]
Word = Annotated[StrictStr, Field(min_length=1, max_length=32)]
StopText = Annotated[StrictStr, Field(min_length=1, max_length=1_000)]
StopTexts = Annotated[list[StopText], Field(max_length=16, fail_fast=True)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    include_usage: StrictBool = False


class Typed(BaseModel):
    """An object that is passed on unchanged; only the presence of its type is checked."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    type: StrictStr


class CompletionBody(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: Slug
    messages: Annotated[list[Any], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: StrictBool = False
    stream_options: StreamOptions = StreamOptions()
    n: Annotated[StrictInt, Field(ge=1, le=1)] = 1
    max_tokens: TokenCap | None = None
    max_completion_tokens: TokenCap | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    tools: Annotated[list[Typed], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: StrictStr | Typed | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: Typed | None = None
    stop: StopText | StopTexts | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    reasoning_effort: Word | None = None
    verbosity: Word | None = None
    logit_bias: Annotated[dict[StrictStr, Bias], BeforeValidator(_few)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=1_000_000)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    functions: Annotated[list[dict[StrictStr, Any]], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    function_call: StrictStr | dict[StrictStr, Any] | None = None

    def model_post_init(self, context: Any, /) -> None:
        for place, function in enumerate(self.functions or ()):
            string(f"functions[{place}].name", function.get("name"))
        for name, other in legacy.NAMES.items():
            if getattr(self, name) and getattr(self, other):
                raise wrong(other, _("This field is outdated. Use tools and tool_choice instead."))
        if self.function_call not in (None, "auto", "none") and not self.functions:
            raise wrong("function_call")

    def parameters(self) -> dict[str, Any]:
        cap = self.max_completion_tokens or self.max_tokens
        given = {"temperature": self.temperature, "max_tokens": cap}
        return without_null(given)

    def extras(self) -> dict[str, Any]:
        """Return the fields that the upstream gets unchanged, without empty lists."""
        asked = self.model_fields_set.intersection(PASSED_ON)
        given = self.model_dump(include=asked) if asked else {}
        if self.functions:
            given |= {
                "tools": legacy.tools_of(self.functions),
                "tool_choice": legacy.tool_choice_of(self.function_call),
            }
        return {name: given[name] for name in PASSED_ON if given.get(name) not in (None, [], {})}


def parse(request: HttpRequest) -> tuple[CompletionBody, tuple[PromptMessage, ...]]:
    """Return the body, JSON with any content type, and its messages; raise TooLarge or InvalidRequest."""
    given = without_null(bodies.json_object(request))
    body = bodies.checked(CompletionBody, given)
    check_levels(given, "tools", "tool_choice", "response_format", "messages", "functions", "function_call")
    messages = tuple(_message(f"messages[{place}]", value) for place, value in enumerate(legacy.modern(body.messages)))
    check_not_blank("messages", messages)
    return body, messages


def check_not_blank(field: str, messages: Sequence[PromptMessage]) -> None:
    if not any(message.content.strip() or message.parts for message in messages):
        raise wrong(field, BLANK)


def new_text(messages: Sequence[PromptMessage]) -> str:
    """Return the new text of a prompt: the user's last turn if there is one."""
    return next((turn for turn in reversed(messages) if turn.role == "user"), messages[-1]).content


def _message(where: str, value: Any) -> PromptMessage:
    if not isinstance(value, dict):
        raise wrong(where)
    role = _ROLES.get(value["role"]) if isinstance(value.get("role"), str) else None
    if role is None:
        raise wrong(f"{where}.role", INVALID if "role" in value else REQUIRED)
    fields = _fields(where, role, value)
    content = value.get("content")
    if content is None and "tool_calls" not in fields:
        raise wrong(f"{where}.content", REQUIRED)
    if content is None or isinstance(content, str):
        return PromptMessage(role, content or "", fields=fields)
    return PromptMessage(role, *_parts(f"{where}.content", content), fields=fields)


def _fields(where: str, role: Role, value: dict[str, Any]) -> dict[str, Any]:
    """Return the fields beside the content that matter to an upstream."""
    fields: dict[str, Any] = {}
    if (name := value.get("name")) is not None:
        fields["name"] = string(f"{where}.name", name)
    if role == "tool":
        fields["tool_call_id"] = string(f"{where}.tool_call_id", value.get("tool_call_id"))
    if role == "assistant" and value.get("tool_calls"):
        calls = value["tool_calls"]
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise wrong(f"{where}.tool_calls")
        fields["tool_calls"] = calls
        # Some models need the reasoning back together with the calls that it led to, and only then.
        if (reasoning := value.get("reasoning_content")) is not None:
            fields["reasoning_content"] = string(f"{where}.reasoning_content", reasoning)
        for key in _RETURNED:
            if (given := value.get(key)) is not None:
                if not isinstance(given, dict | list | str):
                    raise wrong(f"{where}.{key}")
                fields[key] = given
    return fields


def _parts(where: str, value: Any) -> tuple[str, tuple[dict[str, Any], ...]]:
    if not isinstance(value, list) or not value:
        raise wrong(where)
    return joined([_part(f"{where}[{place}]", part) for place, part in enumerate(value)])


def joined(parts: Sequence[dict[str, Any]]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return the text of parts, and the parts unless all are text."""
    text = "".join(part["text"] for part in parts if "text" in part)
    return text, tuple(parts) if any("text" not in part for part in parts) else ()


def _part(where: str, part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        return {"type": "text", "text": string(f"{where}.{kind}", part.get(kind))}
    if kind == "image_url":
        image = part.get("image_url")
        given = image if isinstance(image, dict) else {"url": image}
        shown = {"url": check_image(f"{where}.image_url", given.get("url"))}
        # Other fields would reach the model unscreened.
        if (detail := given.get("detail")) is not None:
            shown["detail"] = string(f"{where}.image_url.detail", detail)
        return {"type": "image_url", "image_url": shown}
    raise wrong(f"{where}.type" if isinstance(part, dict) else where)


def check_image(where: str, address: Any) -> str:
    """Return the address of an image; raise InvalidRequest when vendors should not load it."""
    url = string(where, address)
    if not (url[:5].lower() == "data:" or is_public_url(url)):
        raise wrong(where, _("A data: URL or a public https: URL is expected."))
    return url


def string(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(where, REQUIRED if value is None else INVALID)
    return value


def check_levels(given: Mapping[str, Any], *names: str) -> None:
    """Raise InvalidRequest for a field that is nested too deeply to be encoded again."""
    for name in names:
        if not flat(given.get(name), MAX_LEVELS):
            raise wrong(name)


def flat(value: Any, levels: int) -> bool:
    """Return whether JSON is nested no deeper than `levels`."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(flat(each, levels - 1) for each in inner)


def without_null(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def refuse_log_probabilities(**given: object) -> None:
    """Raise Unsupported for a request of log probabilities, which this shape lacks here."""
    if asked := [name for name, value in given.items() if value]:
        raise Unsupported(asked)
