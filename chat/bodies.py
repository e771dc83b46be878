"""Parse the bodies of chat requests; a refusal names each wrong or unknown field."""

import codecs
import re
from typing import Annotated, Any, Literal, TypeVar

import orjson
from django.http import HttpRequest, QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic import ValidationError as PydanticError
from pydantic_core import ErrorDetails

from web import body_limits
from web.refusals import InvalidRequest, TooLarge

T = TypeVar("T", bound=BaseModel)

REQUIRED, BLANK = _("This field is required."), _("This field may not be empty.")
# Attachments of one prompt at most.
MOST_ATTACHMENTS = 10
# Characters of an idempotency key at most, as many as its column holds.
MAX_KEY_CHARS = 255
_NOT_JSON = _("This is not valid JSON.")
INVALID, NOT_JSON_OBJECT = _("This value is not valid."), _("A JSON object is expected.")
# Half of a surrogate pair without its other half, where each backslash begins an escape sequence. Both alternatives
# share their beginning, so that the search for it is fast.
_HIGH, _LOW = rb"[89abAB][0-9a-fA-F]{2}", rb"[c-fC-F][0-9a-fA-F]{2}"
_HALF = re.compile(rb"\\u[dD](?:%b(?!\\u[dD]%b)|(?<!\\u[dD]%b\\u[dD])%b)" % (_HIGH, _LOW, _HIGH, _LOW))
# Halves that one body may have; with more it is refused, because each costs time of the event loop.
_MOST_HALVES = 10_000
# Fields that one body may have, more than any shape knows: each unknown one costs time of the event loop.
_MOST_FIELDS = 1_000
# Texts for pydantic's types of errors; others are INVALID.
_TEXTS: dict[str, Promise] = {
    "missing": REQUIRED,
    "extra_forbidden": _("There is no such field."),
    "string_too_short": BLANK,
    "string_too_long": _("This value is too long."),
    "too_long": _("These are too many."),
}


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


class Parameters(BaseModel):
    """The parameters that a prompt or a preset may have."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    temperature: Annotated[StrictFloat | StrictInt, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=10_000_000)] | None = None
    reasoning_effort: Literal["low", "medium", "high"] | None = None

    def given(self) -> dict[str, Any]:
        """Return all of them that are set."""
        return self.parameters() | self.extras()

    def parameters(self) -> dict[str, Any]:
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in given.items() if value is not None}

    def extras(self) -> dict[str, Any]:
        """Return those that only some upstreams know, and get unchanged."""
        return {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}


class ChatBody(Parameters):
    """The body of `POST /api/chat/`, and the query of its GET twin.

    A preset may give the model.
    """

    model: Slug = ""
    prompt: Text
    conversation: Id | None = None
    parent: Parent | None = None
    system_prompt: Text | None = None
    text_tool: Slug | None = None
    target_language: Slug | None = None
    attachments: Annotated[list[Id], Field(max_length=MOST_ATTACHMENTS)] = []
    preset: Id | None = None
    temporary: StrictBool = False

    def model_post_init(self, context: Any, /) -> None:
        if not self.model and self.preset is None:
            raise wrong("model", REQUIRED)
        if not self.prompt.strip() and not self.attachments:
            raise wrong("prompt", BLANK)
        if self.text_tool is None and self.target_language is not None:
            raise wrong("target_language", _("A target language needs its text tool."))
        for name in ("conversation", "parent", "system_prompt", "attachments") if self.text_tool else ():
            if getattr(self, name) not in (None, []):
                raise wrong(name, _("A text tool's run belongs to no conversation."))  # it is not kept
        if self.parent is not None and self.conversation is None:
            raise wrong("parent", _("A parent needs its conversation."))
        if self.temporary and (self.conversation is not None or self.text_tool):
            raise wrong("temporary", _("Only a new conversation can be temporary."))


class RegenerateBody(BaseModel):
    """The body of `POST /api/messages/<id>/regenerate/`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Slug | None = None


class ContinueBody(BaseModel):
    """The body of `POST /api/messages/<id>/continue/`, which has no fields."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def from_json(request: HttpRequest, shape: type[T]) -> T:
    """Parse a JSON body; an empty one counts as `{}`. Raises TooLarge or InvalidRequest."""
    if request.content_type in {"multipart/form-data", "application/x-www-form-urlencoded"}:
        raise InvalidRequest(details={"body": [NOT_JSON_OBJECT]}, status=415)
    return checked(shape, json_object(request))


def json_object(request: HttpRequest) -> dict[str, Any]:
    """Return the body, `{}` for an empty one. Raises TooLarge or InvalidRequest."""
    if getattr(request, "scope", {}).get("body_too_large"):
        raise TooLarge(body_limits.message_of(request.path))
    text = request.body.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as error:
        value = _without_halves(text, error)
    if not isinstance(value, dict):
        raise wrong("body", NOT_JSON_OBJECT)
    return value


def _without_halves(text: bytes, error: orjson.JSONDecodeError) -> object:
    """Parse JSON that orjson refuses for halves of characters: programs cut texts at any place."""
    # Escaped backslashes in another form, so that each backslash that stays begins an escape sequence.
    whole, halves = _HALF.subn(rb"\\ufffd", text.replace(rb"\\", rb"\u005c"), count=_MOST_HALVES)
    if not halves:
        raise wrong("body", _NOT_JSON) from error
    try:
        return orjson.loads(whole)
    except orjson.JSONDecodeError:
        raise wrong("body", _NOT_JSON) from error


def from_query(query: QueryDict, shape: type[T], ignored: frozenset[str]) -> T:
    """Parse a query string but for the names in `ignored`. Raises InvalidRequest."""
    return checked(shape, {name: value for name, value in query.items() if name not in ignored and value != ""})


def checked(shape: type[T], value: dict[str, Any]) -> T:
    """Return the value in its shape; raise InvalidRequest naming each wrong field."""
    if len(value) > _MOST_FIELDS:
        raise wrong("body")
    try:
        return shape.model_validate(value)
    except PydanticError as error:
        errors = error.errors(include_url=False, include_input=False)
        details = {str(each["loc"][0]): [_TEXTS.get(_kind(each), INVALID)] for each in errors}
        raise InvalidRequest(details=details) from error


def _kind(error: ErrorDetails) -> str:
    # Pydantic counts the characters of a text that another check has seen like the items of any value.
    counts_characters = error.get("ctx", {}).get("field_type") == "Value"
    return f"string_{error['type']}" if counts_characters else error["type"]


def idempotency_key(request: HttpRequest, in_query: str = "") -> str | None:
    """Return the key of the query or the header, None without one; raise InvalidRequest."""
    key = in_query or request.META.get("HTTP_IDEMPOTENCY_KEY", "")
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        raise wrong("Idempotency-Key", _("At most 255 printable characters."))
    return key or None


def wrong(field: str, reason: str | Promise = INVALID) -> InvalidRequest:
    """Return the refusal of one field."""
    return InvalidRequest(details={field: [reason]})
