"""Conversations leaving and coming: export as JSON or Markdown, and that JSON back in.

An export is made piece by piece, one conversation at a time, so that its size costs no memory; each conversation is one
consistent snapshot. An import is one transaction: all of it or nothing. Ids in a file only say which message follows
which; new ones are given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)
from pydantic import ValidationError as PydanticError

from chat.models import TITLE_CHARS, Conversation, Message
from web.refusals import InvalidRequest

FORMAT, VERSION = "rivulet", 1
MAX_DEPTH = 64
ROWS_AT_ONCE = 1_000
# How many problems of a file are named.
MOST_PROBLEMS = 20


# --- out -------------------------------------------------------------------------------------------------------------


def head(now: datetime) -> bytes:
    """Return how an export begins; one or more conversations joined by commas follow, then `TAIL`."""
    return b'{"format":%b,"version":%d,"exported_at":%b,"conversations":[' % (
        orjson.dumps(FORMAT),
        VERSION,
        orjson.dumps(_time(now)),
    )


TAIL = b"]}"


def exported(conversation: Conversation) -> bytes:
    """Return one conversation with its messages as JSON; synchronous, one query."""
    messages = Message.objects.filter(conversation=conversation).order_by("id")
    return orjson.dumps(
        {
            "id": conversation.pk,
            "title": conversation.title,
            "pinned": conversation.pinned,
            "archived": conversation.archived,
            "system_prompt": conversation.system_prompt,
            "created_at": _time(conversation.created_at),
            "updated_at": _time(conversation.updated_at),
            "messages": [_exported_message(row) for row in messages],
        }
    )


def _exported_message(row: Message) -> dict[str, Any]:
    return {
        "id": row.pk,
        "parent": row.parent_id,
        "role": row.role,
        "content": row.content,
        "reasoning": row.reasoning,
        "model": row.model,
        "created_at": _time(row.created_at),
    }


def _time(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat()


def markdown(conversation: Conversation) -> str:
    """Return one conversation for reading: the whole tree in order, later versions of a turn named as such."""
    rows = list(Message.objects.filter(conversation=conversation).order_by("id"))
    parts = [f"# {_one_line(conversation.title)}"]
    if conversation.system_prompt:
        parts.append("> " + conversation.system_prompt.replace("\n", "\n> "))
    return "\n\n".join([*parts, *_turns(rows)]) + "\n"


def _turns(rows: Sequence[Message]) -> Iterator[str]:
    children: dict[int | None, list[Message]] = {}
    for row in rows:
        children.setdefault(row.parent_id, []).append(row)
    waiting = [*reversed(children.get(None, []))]
    while waiting:
        row = waiting.pop()
        waiting += reversed(children.get(row.pk, []))
        siblings = children[row.parent_id]
        yield _heading(row, siblings.index(row) + 1, len(siblings))
        yield row.content


def _heading(row: Message, version: int, versions: int) -> str:
    who = _("You") if row.role == Message.Role.USER else _one_line(row.model) or _("Assistant")
    which = _("version %(version)d of %(versions)d") % {"version": version, "versions": versions}
    return f"## {who} ({which})" if versions > 1 else f"## {who}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- in --------------------------------------------------------------------------------------------------------------


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("NUL")
    return value


def _written(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time is written as text")  # noqa: TRY004  (pydantic reports a ValueError as a wrong field)
    return value


def _sensible(moment: datetime) -> datetime:
    # Far ends of the calendar overflow when shown in another time zone.
    if not 1970 <= moment.year < 2200:
        raise ValueError("year")
    return moment


Text = Annotated[StrictStr, AfterValidator(_storable)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_sensible)]
Id = StrictInt | Annotated[StrictStr, Field(max_length=100)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ImportedMessage(_Shape):
    id: Id
    parent: Id | None
    role: Literal["user", "assistant"]
    content: Text
    reasoning: Text = ""
    model: Annotated[Text, Field(max_length=100)] = ""
    created_at: Moment


class ImportedConversation(_Shape):
    id: Id
    title: Annotated[Text, Field(max_length=TITLE_CHARS)]
    pinned: StrictBool = False
    archived: StrictBool = False
    system_prompt: Text = ""
    created_at: Moment
    updated_at: Moment
    messages: list[ImportedMessage]


class Imported(_Shape):
    format: Literal["rivulet"]
    version: Literal[1]
    exported_at: Any = None
    conversations: list[ImportedConversation]


def read(value: object) -> Imported:
    """Check a parsed file; raise InvalidRequest naming what is wrong with it."""
    _check_depth(value)
    try:
        found = Imported.model_validate(value)
    except PydanticError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[:MOST_PROBLEMS]
        raise InvalidRequest(details={_place(each["loc"]): [_WRONG] for each in wrong}) from error
    for number, conversation in enumerate(found.conversations):
        _check_tree(f"conversations.{number}.messages", conversation.messages)
    return found


_WRONG = _("This value is not valid.")


def _place(steps: tuple[int | str, ...]) -> str:
    """Return where something stands in the file; the alternatives of an id are steps of pydantic's, not of the file."""
    known = [str(step) for step in steps if step not in {"int", "constrained-str", "constrained-int", "str"}]
    return ".".join(known) or "body"


def _check_depth(value: object) -> None:
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _inside(outer)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(details={"body": [_("This is nested too deeply.")]})


def _inside(value: object) -> Iterable[object]:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [each for each in inner if isinstance(each, Mapping | list)]


def _check_tree(where: str, messages: Sequence[ImportedMessage]) -> None:
    """A parent stands before its children, as exports have it; so nothing can be its own ancestor."""
    seen: set[Id] = set()
    for number, message in enumerate(messages):
        if message.id in seen:
            raise InvalidRequest(details={f"{where}.{number}.id": [_("This id is there twice.")]})
        if message.parent is not None and message.parent not in seen:
            raise InvalidRequest(details={f"{where}.{number}.parent": [_("No earlier message has this id.")]})
        seen.add(message.id)


def store(user_id: int, found: Imported) -> tuple[int, int]:
    """Store a checked file for a user, all or nothing; return how many conversations and messages it had."""
    with transaction.atomic():
        rows = Conversation.objects.bulk_create(
            [_conversation(user_id, each) for each in found.conversations], batch_size=ROWS_AT_ONCE
        )
        pairs = [(row, given) for row, each in zip(rows, found.conversations, strict=True) for given in each.messages]
        messages = Message.objects.bulk_create([_message(row, given) for row, given in pairs], batch_size=ROWS_AT_ONCE)
        _link(pairs, messages)
    return len(rows), len(messages)


def _conversation(user_id: int, given: ImportedConversation) -> Conversation:
    values = given.model_dump(exclude={"id", "messages"})
    return Conversation(user_id=user_id, **values)


def _message(conversation: Conversation, given: ImportedMessage) -> Message:
    return Message(conversation=conversation, **given.model_dump(exclude={"id", "parent"}))


def _link(pairs: Sequence[tuple[Conversation, ImportedMessage]], rows: Sequence[Message]) -> None:
    """Give every message its parent: known only when all have their ids."""
    ids: dict[tuple[int, Id], int] = {}
    parents: list[tuple[int, int]] = []
    for (conversation, given), row in zip(pairs, rows, strict=True):
        ids[conversation.pk, given.id] = row.pk
        if given.parent is not None:
            parents.append((ids[conversation.pk, given.parent], row.pk))
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE chat_message SET parent_id = %s WHERE id = %s", parents)
