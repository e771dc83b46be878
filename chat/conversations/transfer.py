"""Export of conversations as JSON or Markdown, and import of that JSON.

An export is written one conversation at a time, so memory does not grow with its size; each conversation is a
consistent snapshot. An import is one transaction. Ids in a file only link messages; an import assigns new ids.
"""

from collections import defaultdict
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
    FailFast,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
)
from pydantic import ValidationError as PydanticError

from chat import representation, sources, storage
from chat.attachments import store as attachments
from chat.bodies import MOST_ATTACHMENTS, Text
from chat.conversations import attached_files, import_size
from chat.conversations.attached_files import ImportedAttachment
from chat.errors import StorageFull
from chat.models import TITLE_CHARS, Attachment, Conversation, Message
from providers.wire.sources import MAX_SOURCES, MAX_TITLE_CHARS, clean_title, is_web_address
from web.refusals import InvalidRequest

# Levels of nesting in an imported file at most.
MAX_DEPTH = 64
# Rows inserted by one statement of an import.
ROWS_AT_ONCE = 1_000
# Seconds of reasoning of a message at most: more than any upstream may take.
MAX_REASONING_SECONDS = 1_000_000
# Problems of a file that a refusal names at most.
MOST_PROBLEMS = 20


# --- export ----------------------------------------------------------------------------------------------------------


def head(now: datetime) -> bytes:
    """Return the beginning of an export; conversations joined by commas follow, then `TAIL`."""
    return b'{"format":"rivulet","version":1,"exported_at":%b,"conversations":[' % orjson.dumps(_time(now))


TAIL = b"]}"


def exported(conversation: Conversation) -> bytes:
    """Return one conversation with its messages as JSON, for `attached_files.filled`."""
    columns = [name for name in ImportedMessage.model_fields if name not in {"attachments", "ai_generated"}]
    rows = Message.objects.filter(conversation=conversation).order_by("id").values(*columns)
    attached = attachments.of_conversation(conversation.pk)
    messages = [_exported(row, attached.get(row["id"], ())) for row in rows]
    return orjson.dumps({**representation.conversation(conversation), "messages": messages})


def _exported(row: dict[str, Any], attached: Sequence[Attachment]) -> dict[str, Any]:
    """Return one message; what few messages have is left out of the others."""
    listed, seconds = sources.decode(row.pop("sources")), row.pop("reasoning_seconds")
    files = attached_files.marked(attached)
    # The law of several countries wants text of a model to be marked so that programs find it.
    is_made = row["role"] == Message.Role.ASSISTANT or None
    rare = {
        "ai_generated": is_made,
        "sources": listed or None,
        "reasoning_seconds": seconds,
        "attachments": files or None,
    }
    return {**row, "created_at": _time(row["created_at"])} | {
        name: value for name, value in rare.items() if value is not None
    }


def _time(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat()


def markdown(conversation: Conversation) -> str:
    """Return one conversation as Markdown: the whole tree, with numbered versions of a turn."""
    parts = [f"# {_one_line(conversation.title)}"]
    if conversation.system_prompt:
        parts.append("> " + conversation.system_prompt.replace("\n", "\n> "))
    children: dict[int | None, list[Message]] = defaultdict(list)
    attached = attachments.of_conversation(conversation.pk)
    for row in Message.objects.filter(conversation=conversation).order_by("id"):
        children[row.parent_id].append(row)
    stack = [*reversed(children[None])]
    while stack:
        row = stack.pop()
        stack += reversed(children[row.pk])
        siblings = children[row.parent_id]
        author = _("You") if row.role == Message.Role.USER else _one_line(row.model) or _("Assistant")
        numbers = {"version": siblings.index(row) + 1, "versions": len(siblings)}
        position = _("version %(version)d of %(versions)d") % numbers
        parts.append(f"## {author} ({position})" if len(siblings) > 1 else f"## {author}")
        if files := attached.get(row.pk):
            names = ", ".join(_one_line(each.name) for each in files)
            parts.append(_("Attachments: %(names)s") % {"names": names})
        if row.role == Message.Role.ASSISTANT:
            parts.append(f"<!-- ai-generated: true -->\n*{_('AI-generated')}*")
        parts.append(row.content)
    return "\n\n".join(parts) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- import ----------------------------------------------------------------------------------------------------------


def _as_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a time must be text")  # noqa: TRY004  (pydantic reports a ValueError as a wrong field)
    return value


def _in_range(moment: datetime) -> datetime:
    # Dates near the ends of the calendar overflow in another time zone.
    if not 1970 <= moment.year < 2200:
        raise ValueError("year")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_range)]
Id = StrictInt | Annotated[StrictStr, Field(max_length=100)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


def _web_address(url: str) -> str:
    if not is_web_address(url):
        raise ValueError("no web address")
    return url


class ImportedSource(_Shape):
    url: Annotated[Text, AfterValidator(_web_address)]
    title: Annotated[Text, Field(max_length=MAX_TITLE_CHARS), AfterValidator(clean_title)] = ""


class ImportedMessage(_Shape):
    id: Id
    parent: Id | None
    role: Literal["user", "assistant"]
    content: Text
    reasoning: Text = ""
    model: Annotated[Text, Field(max_length=100)] = ""
    created_at: Moment
    sources: Annotated[list[ImportedSource], Field(max_length=MAX_SOURCES)] = []
    reasoning_seconds: Annotated[float, Field(strict=True, ge=0, le=MAX_REASONING_SECONDS)] | None = None
    attachments: Annotated[list[ImportedAttachment], Field(max_length=MOST_ATTACHMENTS)] = []
    # Follows from the role, so it is not stored.
    ai_generated: StrictBool = False

    def encoded_sources(self) -> str:
        return sources.encode({"url": source.url, "title": source.title} for source in self.sources)


class ImportedConversation(_Shape):
    id: Id
    title: Annotated[Text, Field(max_length=TITLE_CHARS)]
    pinned: StrictBool = False
    archived: StrictBool = False
    system_prompt: Text = ""
    created_at: Moment
    updated_at: Moment
    messages: Annotated[list[ImportedMessage], FailFast()]


class Imported(_Shape):
    format: Literal["rivulet"]
    version: Literal[1]
    exported_at: Any = None
    # Each list names its first wrong item: the problems of all would take more memory than the file.
    conversations: Annotated[list[ImportedConversation], FailFast()]


def read(value: object) -> Imported:
    """Check a parsed file; raise InvalidRequest with the paths of the wrong values."""
    _check_depth(value)
    import_size.check(value)
    try:
        file = Imported.model_validate(value)
    except PydanticError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[:MOST_PROBLEMS]
        details = {_path(each["loc"]): [_("This value is not valid.")] for each in wrong}
        raise InvalidRequest(details=details) from error
    for number, conversation in enumerate(file.conversations):
        _check_tree(f"conversations.{number}.messages", conversation.messages)
    attached_files.check([*_attachments(file)])
    return file


def _attachments(file: Imported) -> Iterator[tuple[str, ImportedAttachment]]:
    """Yield all attachments with their paths in the file."""
    for number, conversation in enumerate(file.conversations):
        for place, message in enumerate(conversation.messages):
            for index, given in enumerate(message.attachments):
                yield f"conversations.{number}.messages.{place}.attachments.{index}", given


def _path(location: tuple[int | str, ...]) -> str:
    """Return pydantic's location as a path in the file, without the names of union members."""
    steps = [str(step) for step in location if step not in {"int", "constrained-str", "constrained-int", "str"}]
    return ".".join(steps) or "body"


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
    """Require parents before their children, as in exports, which also excludes cycles."""
    earlier: set[Id] = set()
    for number, message in enumerate(messages):
        if message.id in earlier:
            raise InvalidRequest(details={f"{where}.{number}.id": [_("This id occurs twice.")]})
        if message.parent is not None and message.parent not in earlier:
            raise InvalidRequest(details={f"{where}.{number}.parent": [_("No earlier message has this id.")]})
        earlier.add(message.id)


def store(user_id: int, file: Imported) -> tuple[int, int]:
    """Store a checked file in one transaction; return its numbers of conversations and messages.

    Raises StorageFull when the user would keep too much.
    """
    with transaction.atomic():
        if not storage.take(user_id, sum(map(_stored_size, file.conversations))):
            raise StorageFull
        rows = Conversation.objects.bulk_create(
            [
                Conversation(user_id=user_id, **given.model_dump(exclude={"id", "messages"}))
                for given in file.conversations
            ],
            batch_size=ROWS_AT_ONCE,
        )
        pairs = [(row, given) for row, each in zip(rows, file.conversations, strict=True) for given in each.messages]
        messages = Message.objects.bulk_create(
            [_message(row, given) for row, given in pairs],
            batch_size=ROWS_AT_ONCE,
        )
        # The parents are set afterwards, because ids are only known after the insert.
        ids: dict[tuple[int, Id], int] = {}
        parents: list[tuple[int, int]] = []
        for (row, given), message in zip(pairs, messages, strict=True):
            ids[row.pk, given.id] = message.pk
            if given.parent is not None:
                parents.append((ids[row.pk, given.parent], message.pk))
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE chat_message SET parent_id = %s WHERE id = %s", parents)
        attached = [(message.pk, given.attachments) for (_row, given), message in zip(pairs, messages, strict=True)]
        attached_files.store_all(user_id, attached)
    return len(rows), len(messages)


def _message(conversation: Conversation, given: ImportedMessage) -> Message:
    values = given.model_dump(exclude={"id", "parent", "sources", "attachments", "ai_generated"})
    return Message(conversation=conversation, sources=given.encoded_sources(), **values)


def _stored_size(given: ImportedConversation) -> int:
    texts = (
        text for message in given.messages for text in (message.content, message.reasoning, message.encoded_sources())
    )
    rows = 1 + len(given.messages)
    return rows * storage.ROW_BYTES + storage.size_of(given.title, given.system_prompt, *texts)
