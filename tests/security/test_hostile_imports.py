"""Hostile exports of other products: read in linear time and memory, or refused by the place of the mistake."""

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from chat.conversations import import_size, transfer
from chat.conversations.importers import foreign
from web.refusals import InvalidRequest

# Seconds of processor time; each file takes less than one when its reading takes linear time.
MOST_SECONDS = 5


@contextmanager
def few_seconds() -> Iterator[None]:
    start = time.process_time()
    yield
    assert time.process_time() - start < MOST_SECONDS


def messages_of(file: object) -> list[dict[str, Any]]:
    value, _report = foreign.converted(file)
    assert isinstance(value, dict)
    return [message for each in value["conversations"] for message in each["messages"]]


def open_webui(content: object, **more: object) -> dict[str, Any]:
    return {"title": "x", "chat": {"messages": [{"role": "assistant", "content": content, **more}]}}


@pytest.mark.parametrize(
    "text",
    [
        '<details type="a">' * 20_000,
        '<details type="a"' * 20_000,
        '<details type="a"><summary>' * 20_000,
        "<details type=" * 20_000,
        ('<details type="a"></details>' + " " * 50) * 5_000 + "x",
    ],
)
def test_elements_in_texts_are_read_in_linear_time(text: str) -> None:
    """Elements that never close stay as text; the others leave it."""
    with few_seconds():
        (message,) = messages_of(open_webui(text))
    assert message["content"] == ("x" if text.endswith("x") else text)


def chatgpt(nodes: dict[str, tuple[str | None, object]]) -> list[dict[str, Any]]:
    """Return an export of nodes, each with its parent and its content; a text is a completion."""
    mapping = {
        id_: {
            "parent": parent,
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": [content]} if isinstance(content, str) else content,
            },
        }
        for id_, (parent, content) in nodes.items()
    }
    return [{"title": "x", "mapping": mapping}]


def thought(text: str) -> dict[str, Any]:
    return {"content_type": "thoughts", "thoughts": [{"content": text}]}


def chain(count: int, content: object) -> dict[str, tuple[str | None, object]]:
    return {str(number): (str(number - 1) if number else None, content) for number in range(count)}


MANY, LONG = 1_000, "x" * 1_000
TREES: dict[str, tuple[object, int]] = {
    "thoughts": (chatgpt({**chain(MANY, thought(LONG)), "end": (str(MANY - 1), "Done")}), 1),
    "pieces": (chatgpt(chain(MANY, LONG)), 1),
    "completions of one thought": (
        chatgpt({"t": (None, thought(LONG * 1_000)), **{str(number): ("t", "Hi") for number in range(MANY)}}),
        MANY,
    ),
    "completions beside thoughts": (
        chatgpt({**chain(MANY, thought(LONG)), **{f"c{number}": (str(number), "Hi") for number in range(MANY)}}),
        MANY,
    ),
    "parts": (
        {
            "conversationId": "x",
            "messages": [
                {"messageId": "a", "content": [{"type": "text", "text": LONG * 4}] * MANY * 4, "files": [0] * MANY}
            ],
        },
        1,
    ),
    "files": ([open_webui(LONG * 4_000, files=[0] * MANY * 4)], 1),
}


@pytest.mark.parametrize(("file", "count"), TREES.values(), ids=TREES)
def test_pieces_are_joined_once(file: object, count: int) -> None:
    """Long chains and wide branches take memory in proportion to their texts; reasoning is never copied."""
    tracemalloc.start()
    try:
        with few_seconds():
            messages = messages_of(file)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(messages) == count
    size = len(orjson.dumps(file))
    assert peak < 6 * size
    assert sum(len(each["content"]) + len(each["reasoning"]) for each in messages) < 2 * size


def test_the_first_completion_has_the_reasoning() -> None:
    """Reasoning before a branch goes to the first completion after it, in its order."""
    nodes = {"a": (None, thought("one")), "b": ("a", thought("two")), "c": ("b", "first"), "d": ("b", "second")}
    found = [(each["content"], each["reasoning"]) for each in messages_of(chatgpt({**nodes, "e": ("a", "third")}))]
    assert found == [("first", "one\n\ntwo"), ("second", ""), ("third", "")]


def test_a_file_that_grows_is_refused(settings: Any) -> None:
    """Placeholders of files are longer than what they stand for; together they stay within the limit of imports."""
    settings.MAX_IMPORT_BYTES = 20_000
    assert messages_of([open_webui("x" * 12_000)])
    with pytest.raises(InvalidRequest) as refused:
        foreign.converted([open_webui("x"), open_webui("x", files=[0] * 4_000)])
    assert list(refused.value.details or ()) == ["1"]


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _level in range(levels):
        value = {"x": value}
    return value


DEEP = nested(900)


def libre(*messages: object) -> dict[str, Any]:
    return {"conversationId": "x", "messages": [*messages]}


@pytest.mark.parametrize(
    "file",
    [
        chatgpt({"a": (None, "Hi")})[0] | {"title": LONG},
        [open_webui("Hi", files=[DEEP, {"name": DEEP, "type": DEEP}])],
        [open_webui([{"type": "text", "text": "Hi"}, {"type": DEEP}])],
        libre({"messageId": "a", "content": [{"type": DEEP}, {"type": "text", "text": "Hi"}]}),
        libre({"messageId": "a", "text": "Hi", "files": [{"filename": DEEP}, {"filename": {}}]}),
        libre({"messageId": "a", "text": "Hi"}, {"messageId": "b", "text": "x", "error": True}) | {"title": LONG},
    ],
)
def test_reports_are_short(file: object) -> None:
    """Names of odd types, or long ones, are not copied into reports."""
    value, report = foreign.converted(file)
    assert isinstance(value, dict)
    assert value["conversations"][0]["messages"][0]["content"].startswith("Hi")
    assert report is not None
    assert len(orjson.dumps(report.as_json())) < 500


DIGITS = f'<details type="reasoning">&#{"9" * 5_000};</details>'


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ([open_webui(DIGITS)], "0.chat.messages.0.content"),
        (chatgpt({"a": (None, {"content_type": {}})}), "0.mapping.a.message.content.content_type"),
        (chatgpt({"a": (None, {"content_type": DEEP})}), "0.mapping.a.message.content.content_type"),
        (chatgpt({"a": (None, {"parts": [[]]})}), "0.mapping.a.message.content.parts.0"),
        (chatgpt({"i" * MANY: (None, 3)}), f"0.mapping.{'i' * 100}.message.content"),
        (libre({"messageId": []}), "body.messages.0.messageId"),
        (libre({"messageId": "a", "children": [{"messageId": "b", "text": 3}]}), "body.messages.a.children.0.text"),
        (libre({"messageId": "a", "children": 3}), "body.messages.0.children"),
        (libre({"messageId": "a", "createdAt": 1e300}), "body.messages.0.createdAt"),
    ],
)
def test_wrong_values_are_refused_by_their_place(file: object, place: str) -> None:
    """A value of a wrong type, or one that Python cannot convert, is a mistake of the file."""
    with pytest.raises(InvalidRequest) as refused:
        foreign.converted(file)
    assert list(refused.value.details or ()) == [place]


def own(messages: list[Any], *more: object) -> dict[str, Any]:
    """Return a file of our own shape with one conversation, and more of them."""
    moment = "2026-11-29T00:00:00Z"
    first = {"id": 1, "title": "x", "created_at": moment, "updated_at": moment, "messages": messages}
    return {"format": "rivulet", "version": 1, "conversations": [first, *more]}


def problems(file: object) -> dict[str, Any]:
    """Return what is wrong with a file."""
    try:
        transfer.read(foreign.converted(file)[0])
    except InvalidRequest as refused:
        return refused.details or {}
    return {}


FULL: dict[str, Any] = {
    "own messages": own([{}] * 10),
    "own conversations": own([{}] * 5, *[{}] * 5),
    "ChatGPT": chatgpt(chain(10, "Hi")),
    "ChatGPT, empty": [{"mapping": {}}] * 11,
    "Open WebUI": [{"chat": {"messages": [{}] * 10}}],
    "Open WebUI, tree": [{"chat": {"history": {"messages": {str(number): {} for number in range(10)}}}}],
    "LibreChat": libre(*[{"messageId": str(number), "text": "Hi"} for number in range(10)]),
    "LibreChat, nested": {
        "conversationId": "x",
        "messagesTree": [{"messageId": "a", "children": [{"messageId": str(n), "text": "x"} for n in range(9)]}],
    },
}


@pytest.mark.parametrize("file", FULL.values(), ids=FULL)
def test_too_many_messages_are_refused(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the refusal names it, before objects are made of all messages."""
    monkeypatch.setattr(import_size, "MOST_ROWS", 10)
    assert "10 " in str(problems(file)["body"][0])
    monkeypatch.setattr(import_size, "MOST_ROWS", 11)
    assert "body" not in problems(file)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (own([{}] * 90_000), "conversations.0.messages.0.id"),
        (own([], *[{}] * 90_000), "conversations.1.id"),
        (own([dict.fromkeys(map(str, range(90_000)))]), "conversations.0.messages.0"),
    ],
)
def test_problems_of_a_file_take_little_memory(file: Any, place: str) -> None:
    """A file of wrong values is refused at the first one; the problems of all would take 100 times its size."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest) as refused:
            transfer.read(file)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert next(iter(refused.value.details or ())) == place
    assert peak < 8 * 2**20
