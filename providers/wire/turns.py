"""Join neighbouring turns of one role before they are sent.

Several vendors refuse two user turns in a row. A conversation has such turns where a completion failed, or was stopped
before its first character.
"""

from collections.abc import Iterable
from dataclasses import replace

from providers.wire.base import JSON, ChatRequest, PromptMessage

SEPARATOR = "\n\n"
# The field of a tool's result that says that the call failed; only some vendors have one.
IS_ERROR = "is_error"
# Texts for models, beside images that a result of a tool cannot hold.
IMAGE_FOLLOWS, RESULT_IMAGES = "The image follows.", "Images in the results of the tools:"


def sent_turns(request: ChatRequest) -> tuple[PromptMessage, ...]:
    """Return the turns to send: joined for a conversation, a program's as they came.

    The request keeps them apart, so that a prompt that is too long loses the oldest ones only.
    """
    return request.messages if request.whole else joined(request.messages)


def plain_results(messages: Iterable[PromptMessage]) -> tuple[PromptMessage, ...]:
    """Return turns in which results of tools are text, as OpenAI's shape wants them.

    Their images follow in a turn of the user's, after all results of the same calls. A failed call says so in its text.
    """
    turns: list[PromptMessage] = []
    images: list[dict[str, JSON]] = []
    for message in messages:
        if message.role != "tool" and images:
            turns.append(_shown(images))
            images = []
        if message.role == "tool" and (message.parts or IS_ERROR in message.fields):
            images += [part for part in message.parts if "text" not in part]
            message = _plain(message)
        turns.append(message)
    return (*turns, *([_shown(images)] if images else []))


def _plain(message: PromptMessage) -> PromptMessage:
    failed = message.fields.get(IS_ERROR) and not message.content.lower().startswith("error")
    text = f"Error: {message.content}" if failed else message.content
    fields = {name: value for name, value in message.fields.items() if name != IS_ERROR}
    return replace(message, content=text or IMAGE_FOLLOWS, parts=(), fields=fields)


def _shown(images: list[dict[str, JSON]]) -> PromptMessage:
    return PromptMessage("user", RESULT_IMAGES, ({"type": "text", "text": RESULT_IMAGES}, *images))


def joined(messages: Iterable[PromptMessage]) -> tuple[PromptMessage, ...]:
    """Return turns in which neighbours of one role are one.

    A blank line separates their texts. A turn with other fields, such as tool calls, stays as it is, and so do results
    of tools.
    """
    turns: list[PromptMessage] = []
    for message in messages:
        if turns and _belong_together(turns[-1], message):
            message = _together(turns.pop(), message)
        turns.append(message)
    return tuple(turns)


def _belong_together(first: PromptMessage, second: PromptMessage) -> bool:
    return first.role == second.role != "tool" and not (first.fields or second.fields)


def _together(first: PromptMessage, second: PromptMessage) -> PromptMessage:
    separator = SEPARATOR if first.content and second.content else ""
    content = first.content + separator + second.content
    if not (first.parts or second.parts):
        return PromptMessage(first.role, content)
    return PromptMessage(first.role, content, (*_ended(_parts(first), separator), *_parts(second)))


def _parts(message: PromptMessage) -> list[dict[str, JSON]]:
    return list(message.parts) or ([{"type": "text", "text": message.content}] if message.content else [])


def _ended(parts: list[dict[str, JSON]], separator: str) -> list[dict[str, JSON]]:
    """Put the separator behind the last text.

    Vendors refuse a text part that consists of white space.
    """
    last = max((place for place, part in enumerate(parts) if "text" in part), default=None)
    if last is not None:
        parts[last] = {**parts[last], "text": f"{parts[last]['text']}{separator}"}
    return parts
