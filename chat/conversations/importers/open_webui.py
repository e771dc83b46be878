"""Open WebUI's export: a list of rows, each with a `chat` and its `history`.

https://github.com/open-webui/open-webui, `src/lib/utils` and `backend/open_webui/models/chats.py`.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from chat.conversations.importers.tree import (
    Node,
    Report,
    a_text,
    a_time,
    an_object,
    conversation,
    inside,
    joined,
    shown,
    wrong,
)

# The product keeps reasoning, and the calls of tools, as elements in the text.
_OPENING, _CLOSING = re.compile(r'<details type="(\w{1,40})"'), "</details>"
_SUMMARY, _SPACE = re.compile(r"\s*(?:<summary>[^<]*</summary>)?"), re.compile(r"\s*")
_QUOTE = re.compile(r"^> ?", re.MULTILINE)


def read(where: str, given: dict[str, Any], report: Report) -> dict[str, Any] | None:
    """Return one conversation in the shape of our export."""
    chat = an_object(f"{where}.chat", given.get("chat", given))
    title = a_text(f"{where}.title", given.get("title") or chat.get("title"))
    reader = _Reader(title or where, report)
    history = chat.get("history")
    if isinstance(history, dict) and isinstance(history.get("messages"), dict):
        at = f"{where}.chat.history.messages"
        report.rows.add(len(history["messages"]))
        nodes = {id_: reader.node(inside(at, id_), each) for id_, each in history["messages"].items()}
    elif isinstance(chat.get("messages"), list):
        at = f"{where}.chat.messages"
        report.rows.add(len(chat["messages"]))
        nodes = reader.chain(at, chat["messages"])
    else:
        raise wrong(f"{where}.chat.history.messages")
    params = chat.get("params")
    system = chat.get("system") or (params.get("system") if isinstance(params, dict) else None)
    return conversation(
        at,
        title,
        nodes,
        report,
        archived=given.get("archived") is True,
        pinned=given.get("pinned") is True,
        system_prompt=a_text(f"{where}.chat.system", system),
        created_at=a_time(f"{where}.created_at", given.get("created_at") or chat.get("timestamp")),
        updated_at=a_time(f"{where}.updated_at", given.get("updated_at")),
    )


class _Reader:
    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report

    def chain(self, where: str, messages: list[Any]) -> dict[str, Node]:
        """Return the nodes of old exports, whose messages follow each other."""
        nodes: dict[str, Node] = {}
        for number, message in enumerate(messages):
            node = self.node(f"{where}.{number}", message)
            node.parent = str(number - 1) if number else None
            nodes[str(number)] = node
        return nodes

    def node(self, where: str, given: object) -> Node:
        message = an_object(where, given)
        parent, role = message.get("parentId"), message.get("role")
        if parent is not None and not isinstance(parent, str):
            raise wrong(f"{where}.parentId")
        node = Node(parent)
        text, names = self._text(f"{where}.content", message.get("content")), []
        for file in message["files"] if isinstance(message.get("files"), list) else ():
            name = file.get("name") if isinstance(file, dict) else None
            kind = file.get("type") if isinstance(file, dict) else None
            self._report.leave_out(self._name, f"{shown(kind or 'file')}: {shown(name or '')}".rstrip(": "))
            names.append(f"[{'image' if kind == 'image' else shown(name or 'file')}]")
        text = joined([text, *names]).strip() if names else text
        if role not in ("user", "assistant"):
            self._report.leave_out(self._name, f"{shown(role)} message")
            return node
        node.role = role
        node.time = a_time(f"{where}.timestamp", message.get("timestamp"))
        node.model = a_text(f"{where}.model", message.get("model")) if role == "assistant" else ""
        node.text, node.reasoning = self._split(f"{where}.content", text) if role == "assistant" else (text, "")
        return node

    def _text(self, where: str, content: object) -> str:
        if not isinstance(content, list):
            return a_text(where, content)
        texts = []
        for number, each in enumerate(content):
            part = an_object(f"{where}.{number}", each)
            if part.get("type") == "text":
                texts.append(a_text(f"{where}.{number}.text", part.get("text")))
            else:
                self._report.leave_out(self._name, shown(part.get("type")))
        return "\n\n".join(texts)

    def _split(self, where: str, text: str) -> tuple[str, str]:
        """Return the text and the reasoning of a completion."""
        pieces, thoughts, last = [], [], 0
        for kind, start, inner, end in _elements(text):
            if kind == "reasoning":
                thoughts.append(_unescaped(where, _QUOTE.sub("", inner.strip())))
            else:
                self._report.leave_out(self._name, kind)
            pieces.append(text[last:start])
            last = end
        return "".join([*pieces, text[last:]]).strip(), "\n\n".join(thoughts)


def _elements(text: str) -> Iterator[tuple[str, int, str, int]]:
    """Yield each element's type, start, content without summary, and end with space after it.

    An element that never closes ends the search, so that many of them do not each read the rest of the text.
    """
    end = 0
    while found := _OPENING.search(text, end):
        first = text.find(">", found.end()) + 1
        last = text.find(_CLOSING, first)
        if not first or last < 0:
            return
        if summary := _SUMMARY.match(text, first, last):
            first = summary.end()
        space = _SPACE.match(text, last + len(_CLOSING))
        end = space.end() if space else last + len(_CLOSING)
        yield found[1], found.start(), text[first:last], end


def _unescaped(where: str, text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError as error:  # a reference with more digits than Python converts
        raise wrong(where) from error
