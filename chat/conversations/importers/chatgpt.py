"""ChatGPT's `conversations.json`: a list of conversations, each with a `mapping` of nodes.

The vendor documents no format. This follows descriptions of it in public converters:
https://github.com/mitkury/chatgpt-export-parser, https://github.com/danny-avila/LibreChat.
"""

import re
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

# Marks of citations in texts, between characters of the private use area.
_MARKS = re.compile("\ue200[^\ue200\ue201]*\ue201")
# Contents without meaning outside of ChatGPT.
_SILENT = frozenset({"reasoning_recap", "user_editable_context", "model_editable_context"})
_IMAGE = "[image]"


def read(where: str, given: dict[str, Any], report: Report) -> dict[str, Any] | None:
    """Return one conversation in the shape of our export."""
    title = a_text(f"{where}.title", given.get("title"))
    reader = _Reader(title or where, report)
    mapping = an_object(f"{where}.mapping", given.get("mapping"))
    report.rows.add(len(mapping))
    nodes = {id_: reader.node(inside(f"{where}.mapping", id_), node) for id_, node in mapping.items()}
    return conversation(
        f"{where}.mapping",
        title,
        nodes,
        report,
        archived=given.get("is_archived") is True,
        pinned=given.get("is_starred") is True,
        system_prompt=reader.instructions,
        created_at=a_time(f"{where}.create_time", given.get("create_time")),
        updated_at=a_time(f"{where}.update_time", given.get("update_time")),
    )


class _Reader:
    """Reads the nodes of one conversation; `instructions` are the user's own."""

    def __init__(self, name: str, report: Report) -> None:
        self._name, self._report = name, report
        self.instructions = ""

    def node(self, where: str, given: object) -> Node:
        node = an_object(where, given)
        parent = node.get("parent")
        if parent is not None and not isinstance(parent, str):
            raise wrong(f"{where}.parent")
        found = Node(parent)
        if node.get("message") is not None:
            self._add(found, f"{where}.message", an_object(f"{where}.message", node["message"]))
        return found

    def _add(self, node: Node, where: str, message: dict[str, Any]) -> None:
        author = an_object(f"{where}.author", message.get("author"))
        role, metadata = author.get("role"), message.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        content = an_object(f"{where}.content", message.get("content"))
        kind = a_text(f"{where}.content.content_type", content.get("content_type"))
        self._note_instructions(metadata, content)
        if role == "assistant" and kind == "thoughts":
            node.reasoning = _thoughts(f"{where}.content", content)
        elif kind in _SILENT or metadata.get("is_visually_hidden_from_conversation") is True:
            return
        elif role == "user" or (role == "assistant" and message.get("recipient", "all") in ("all", None)):
            node.role = role
            node.text = self._text(f"{where}.content", content)
            node.model = a_text(f"{where}.metadata.model_slug", metadata.get("model_slug"))
            node.time = a_time(f"{where}.create_time", message.get("create_time"))
        elif role == "assistant":
            self._leave_out(f"call of a tool: {shown(message.get('recipient'))}")
        elif role == "tool":
            images = _images(content)
            self._leave_out("image of a tool" if images else f"result of a tool: {shown(author.get('name'))}")
        elif self._text(f"{where}.content", content).strip():
            self._leave_out("system message")

    def _note_instructions(self, metadata: dict[str, Any], content: dict[str, Any]) -> None:
        """Keep the custom instructions, which the export repeats in each conversation."""
        data = metadata.get("user_context_message_data")
        texts = [*data.values()] if isinstance(data, dict) else []
        if content.get("content_type") == "user_editable_context":
            texts = [content.get("user_profile"), content.get("user_instructions")]
        given = [text.replace("\0", "") for text in texts if isinstance(text, str) and text.strip()]
        self.instructions = "\n\n".join(given) or self.instructions

    def _text(self, where: str, content: dict[str, Any]) -> str:
        if "parts" in content:
            parts = content["parts"]
            if not isinstance(parts, list):
                raise wrong(f"{where}.parts")
            texts = [self._part(f"{where}.parts.{number}", part) for number, part in enumerate(parts)]
            return _MARKS.sub("", joined(texts))
        text = a_text(f"{where}.text", content.get("text"))
        if content.get("content_type") == "code" and text:
            language = a_text(f"{where}.language", content.get("language"))
            return f"```{'' if language == 'unknown' else language}\n{text}\n```"
        return _MARKS.sub("", text)

    def _part(self, where: str, part: object) -> str:
        if part is None or isinstance(part, str):
            return a_text(where, part)
        given = an_object(where, part)
        kind = given.get("content_type")
        if kind == "audio_transcription":
            return a_text(f"{where}.text", given.get("text"))
        if kind == "image_asset_pointer":
            self._leave_out("image")
            return _IMAGE
        self._leave_out(shown(kind or "part without a type"))
        return ""

    def _leave_out(self, what: str) -> None:
        self._report.leave_out(self._name, what)


def _thoughts(where: str, content: dict[str, Any]) -> str:
    thoughts = content.get("thoughts")
    if not isinstance(thoughts, list):
        return ""
    given = [an_object(f"{where}.thoughts.{number}", each) for number, each in enumerate(thoughts)]
    return joined(a_text(f"{where}.thoughts", each.get("content")) for each in given)


def _images(content: dict[str, Any]) -> bool:
    parts = content.get("parts")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and part.get("content_type") == "image_asset_pointer" for part in parts
    )
