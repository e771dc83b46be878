"""Parse the bodies of chat requests into typed models.

A refusal names each wrong field. Unknown fields are refused too.
"""

from typing import Annotated, Any, TypeVar

import orjson
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from pydantic import ValidationError as PydanticError

from web.refusals import InvalidRequest, TooLarge

T = TypeVar("T", bound=BaseModel)

_TEXTS: dict[str, Promise] = {
    "missing": _("This field is required."),
    "extra_forbidden": _("There is no such field."),
    "blank": _("This field may not be empty."),
    "string_too_long": _("This value is too long."),
}
_OTHERWISE = _("This value is not valid.")


def _id(value: object) -> object:
    """Accept an id as a number or as digits, as it comes from a URL."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 else value


def _storable(value: str) -> str:
    # PostgreSQL stores no NUL in texts; a prompt with one is a bug of the client.
    if "\0" in value:
        raise ValueError("NUL")
    return value


Id = Annotated[StrictInt, BeforeValidator(_id), Field(ge=1, le=2**63 - 1)]
# 0 is the place before the first message: a sibling of the first prompt.
Parent = Annotated[StrictInt, BeforeValidator(_id), Field(ge=0, le=2**63 - 1)]
Text = Annotated[StrictStr, AfterValidator(_storable)]
Slug = Annotated[Text, Field(min_length=1, max_length=100)]


class ChatBody(BaseModel):
    """The body of `POST /api/chat/`, and the query of its GET twin."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Slug
    prompt: Text
    conversation: Id | None = None
    parent: Parent | None = None
    system_prompt: Text | None = None
    text_tool: Slug | None = None
    target_language: Slug | None = None
    temperature: Annotated[StrictFloat | StrictInt, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=10_000_000)] | None = None

    def parameters(self) -> dict[str, Any]:
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}


class RegenerateBody(BaseModel):
    """The body of `POST /api/messages/<id>/regenerate/`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Slug | None = None


def from_json(request: HttpRequest, shape: type[T]) -> T:
    """Parse a JSON body; an empty one counts as `{}`. Raises TooLarge or InvalidRequest."""
    if request.content_type in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        raise InvalidRequest(details={"body": [_("A JSON object is expected.")]}, status=415)
    return checked(shape, json_object(request))


def json_object(request: HttpRequest) -> dict[str, Any]:
    """Return the body as a dictionary, empty for an empty body.

    Raises TooLarge or InvalidRequest.
    """
    if getattr(request, "scope", {}).get("body_too_large"):
        raise TooLarge
    try:
        value = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(details={"body": [_("This is not valid JSON.")]}) from error
    if not isinstance(value, dict):
        raise InvalidRequest(details={"body": [_("A JSON object is expected.")]})
    return value


def from_query(query: QueryDict, shape: type[T], ignored: frozenset[str]) -> T:
    """Parse a query string but for the names in `ignored`. Raises InvalidRequest."""
    return checked(shape, {name: value for name, value in query.items() if name not in ignored and value != ""})


def checked(shape: type[T], value: dict[str, Any]) -> T:
    """Return the value in its shape; raise InvalidRequest naming each wrong field."""
    try:
        body = shape.model_validate(value)
    except PydanticError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        details = {str(each["loc"][0]): [_TEXTS.get(each["type"], _OTHERWISE)] for each in wrong}
        raise InvalidRequest(details=details) from error
    if isinstance(body, ChatBody):
        _check_chat(body)
    return body


def _check_chat(body: ChatBody) -> None:
    if not body.prompt.strip():
        raise InvalidRequest(details={"prompt": [_TEXTS["blank"]]})
    if body.text_tool is None and body.target_language is not None:
        raise InvalidRequest(details={"target_language": [_("A target language needs its text tool.")]})
    if body.text_tool is not None:
        _check_text_tool(body)
    if body.parent is not None and body.conversation is None:
        raise InvalidRequest(details={"parent": [_("A parent needs its conversation.")]})


def _check_text_tool(body: ChatBody) -> None:
    """Refuse conversation fields, because the completion of a text tool is not kept."""
    for name in ("conversation", "parent", "system_prompt"):
        if getattr(body, name) is not None:
            raise InvalidRequest(details={name: [_("A text tool's run belongs to no conversation.")]})
