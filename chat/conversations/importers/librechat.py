"""LibreChat's export of one conversation: `messages`, each with its parent, or a nested `messagesTree`.

https://github.com/danny-avila/LibreChat, `client/src/hooks/Conversations/useExportConversation.ts`.
"""

from collections.abc import Iterable, Iterator
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

# The parent of first messages.
_NO_PARENT = "00000000-0000-0000-0000-000000000000"


def read(where: str, given: dict[str, Any], report: Report) -> dict[str, Any] | None:
    """Return the conversation in the shape of our export."""
    title = a_text(f"{where}.title", given.get("title"))
    name = "messagesTree" if "messagesTree" in given else "messages"
    messages = given.get(name)
    if not isinstance(messages, list):
        raise wrong(f"{where}.{name}")
    reader = _Reader(title or where, report)
    nodes = reader.nodes(f"{where}.{name}", messages)
    options = given.get("options")
    options = options if isinstance(options, dict) else {}
    prompt = options.get("promptPrefix") or options.get("system") or given.get("promptPrefix")
    return conversation(
        f"{where}.{name}",
        title,
        nodes,
        report,
        system_prompt=a_text(f"{where}.options.promptPrefix", prompt),
        created_at=a_time(f"{where}.createdAt", given.get("createdAt")),
        updated_at=a_time(f"{where}.updatedAt", given.get("updatedAt")),
    )


def _listed(where: str, messages: Iterable[Any], parent: str | None) -> Iterator[tuple[str, Any, str | None]]:
    """Yield messages with path and parent; chains are long, so paths have one level."""
    return ((f"{where}.{number}", message, parent) for number, message in enumerate(messages))


class _Reader:
    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report

    def nodes(self, where: str, messages: list[Any]) -> dict[str, Node]:
        """Return all nodes; nested ones are read without recursion, because chains are long."""
        nodes: dict[str, Node] = {}
        levels = [_listed(where, messages, None)]
        while levels:
            if (following := next(levels[-1], None)) is None:
                levels.pop()
                continue
            at, given, above = following
            self._report.rows.add(1)
            message = an_object(at, given)
            id_ = message.get("messageId")
            if not isinstance(id_, str) or id_ in nodes:
                raise wrong(f"{at}.messageId")
            parent = message.get("parentMessageId") or above
            if parent is not None and not isinstance(parent, str):
                raise wrong(f"{at}.parentMessageId")
            nodes[id_] = self._node(at, message, None if parent == _NO_PARENT else parent)
            children = message.get("children") or []
            if not isinstance(children, list):
                raise wrong(f"{at}.children")
            levels.append(_listed(f"{inside(where, id_)}.children", children, id_))
        return nodes

    def _node(self, where: str, message: dict[str, Any], parent: str | None) -> Node:
        node = Node(parent, "user" if message.get("isCreatedByUser") is True else "assistant")
        node.time = a_time(f"{where}.createdAt", message.get("createdAt"))
        node.model = a_text(f"{where}.model", message.get("model"))
        content = message.get("content")
        if isinstance(content, list) and content:
            pieces = [self._piece(f"{where}.content.{number}", part) for number, part in enumerate(content)]
            node.text = joined(text for kind, text in pieces if kind == "text")
            node.reasoning = joined(text for kind, text in pieces if kind == "think")
        else:
            node.text = a_text(f"{where}.text", message.get("text"))
        if message.get("error") is True:
            self._report.leave_out(self._name, "error message")
            node.role = None
        names = []
        for file in message["files"] if isinstance(message.get("files"), list) else ():
            name = shown(file.get("filename") if isinstance(file, dict) else "")
            self._report.leave_out(self._name, f"file: {name}".rstrip(": "))
            names.append(f"[{name or 'file'}]")
        node.text = joined([node.text, *names]).strip() if names else node.text
        return node

    def _piece(self, where: str, given: object) -> tuple[str, str]:
        """Return a part's kind and text; both are empty if it is left out."""
        if given is None:
            return "", ""
        part = an_object(where, given)
        kind = part.get("type")
        value = part.get(kind) if isinstance(kind, str) else None
        text = value.get("value") if isinstance(value, dict) else value
        if kind in ("text", "think"):
            return kind, a_text(f"{where}.{kind}", text)
        self._report.leave_out(self._name, shown(kind))
        return "", ""
