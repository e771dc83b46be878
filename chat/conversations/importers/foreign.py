"""Recognise exports of other products, and convert them to the shape of our own."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from chat.conversations.importers import chatgpt, librechat, open_webui
from chat.conversations.importers.tree import Report, wrong

_Reader = Callable[[str, dict[str, Any], Report], dict[str, Any] | None]


def converted(value: object) -> tuple[object, Report | None]:
    """Return a file in the shape of our export, and what that leaves out.

    A file of no known product comes back as it is, with None. Raises InvalidRequest that names the wrong place.
    """
    rows = value if isinstance(value, list) and value else [value]
    reader = _reader_of(rows[0])
    if reader is None:
        return value, None
    report, chars = Report(), 0
    report.rows.add(len(rows))
    found: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        where = f"{number}" if isinstance(value, list) else "body"
        if _reader_of(row) is not reader:
            raise wrong(where)
        conversation = reader(where, row, report)
        if conversation is None:
            continue
        chars += sum(len(each["content"]) + len(each["reasoning"]) for each in conversation["messages"])
        if chars > settings.MAX_IMPORT_BYTES:
            # Each text is taken once, so only placeholders of files make a text longer than its file.
            raise wrong(where, _("This value is too long."))
        found.append({**conversation, "id": len(found)})
    return {"format": "rivulet", "version": 1, "conversations": found}, report


def _reader_of(row: object) -> _Reader | None:
    if not isinstance(row, dict) or "format" in row:
        return None
    if isinstance(row.get("mapping"), dict):
        return chatgpt.read
    if isinstance(row.get("chat"), dict) or isinstance(row.get("history"), dict):
        return open_webui.read
    if "conversationId" in row and ("messages" in row or "messagesTree" in row):
        return librechat.read
    return None
