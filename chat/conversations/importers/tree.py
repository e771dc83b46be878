"""The common part of imports from other products: their trees of nodes become our conversations.

Other products have nodes that are no turns, such as calls of tools. These are left out, their children move up, and
the pieces of one completion become one message again. A `Report` names what is left out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from django.utils.translation import gettext_lazy as _

from chat.conversations.import_size import Rows
from chat.conversations.schemas import LeftOut
from chat.models import TITLE_CHARS
from web.refusals import InvalidRequest

# Kinds of left-out things that a report lists at most; the rest is in its counts.
MOST_REPORTED = 200
# Characters of a name that a report or a path shows; longer ones would be copied for each value.
_SHOWN_CHARS = 100
_MODEL_CHARS = 100
_SEPARATOR = "\n\n"


@dataclass(slots=True)
class Node:
    """A node of another product's tree; without a role it is no turn."""

    parent: str | None
    role: Literal["user", "assistant"] | None = None
    text: str = ""
    reasoning: str = ""
    model: str = ""
    time: datetime | None = None


@dataclass(slots=True)
class Report:
    """Counts what an import leaves out, by conversation and kind, and its rows."""

    rows: Rows = field(default_factory=Rows)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def leave_out(self, conversation: str, what: str) -> None:
        self.counts[conversation[:_SHOWN_CHARS], what[:_SHOWN_CHARS]] += 1

    def as_json(self) -> list[LeftOut]:
        listed = self.counts.most_common(MOST_REPORTED)
        return [LeftOut(conversation=title, what=what, count=count) for (title, what), count in listed]


def wrong(where: str, text: Any = None) -> InvalidRequest:
    """Return the refusal of a file that names a place in it."""
    return InvalidRequest(details={where: [text or _("This value is not valid.")]})


def inside(where: str, key: str) -> str:
    """Return the path of a value by its key."""
    return f"{where}.{key[:_SHOWN_CHARS]}"


def shown(value: object) -> str:
    """Return a name for a report; only texts, because objects may be deeply nested."""
    return str(value if isinstance(value, str | None) else "?")[:60]


def an_object(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(where)
    return value


def a_text(where: str, value: object) -> str:
    """Return a text; an absent one is empty. NUL cannot be stored."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(where)
    return value.replace("\0", "")


def a_time(where: str, value: object) -> datetime | None:
    """Return a Unix or ISO time; None for an absent one."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / (1e9 if value > 1e15 else 1e3 if value > 1e11 else 1)
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise wrong(where)


def conversation(
    where: str, title: str, nodes: Mapping[str, Node], report: Report, **fields: Any
) -> dict[str, Any] | None:
    """Return a conversation in the shape of our export; None when it has no turn."""
    turns = _Turns(nodes, lambda what: report.leave_out(title or where, what))
    for id_ in _parents_first(where, nodes):
        turns.add(id_)
    messages = turns.finished()
    if not messages:
        report.leave_out(title or where, "conversation without messages")
        return None
    now = datetime.now(UTC)
    times = [message["created_at"] for message in messages if message["created_at"]]
    created = fields.pop("created_at", None) or min(times, default=now)
    updated = fields.pop("updated_at", None) or max(times, default=created)
    for message in messages:
        message["created_at"] = (message["created_at"] or created).isoformat()
    return {
        "id": where[-100:],
        "title": (title.strip() or str(messages[0]["content"]).strip() or "?")[:TITLE_CHARS],
        "created_at": created.isoformat(),
        "updated_at": updated.isoformat(),
        **fields,
        "messages": messages,
    }


def _parents_first(where: str, nodes: Mapping[str, Node]) -> Iterable[str]:
    """Return all ids, depth first; raise InvalidRequest for an unknown parent or a cycle."""
    children: dict[str | None, list[str]] = defaultdict(list)
    for id_, node in nodes.items():
        if node.parent is not None and node.parent not in nodes:
            raise wrong(f"{inside(where, id_)}.parent", _("No message has this id."))
        children[node.parent].append(id_)
    ordered, stack = [], [*reversed(children[None])]
    while stack:
        ordered.append(stack.pop())
        stack += reversed(children[ordered[-1]])
    if len(ordered) < len(nodes):
        lost = next(iter(nodes.keys() - set(ordered)))
        raise wrong(f"{inside(where, lost)}.parent", _("The message is its own ancestor."))
    return ordered


def joined(pieces: Iterable[str]) -> str:
    """Return pieces of a message as one text."""
    return _SEPARATOR.join(piece for piece in pieces if piece)


@dataclass(slots=True, eq=False)
class _Thought:
    """A piece of reasoning and the one before it, which wait for a completion."""

    before: "_Thought | None"
    piece: str
    taken: bool = False


def _waits(thought: _Thought | None) -> bool:
    return thought is not None and not thought.taken


def _take(thought: _Thought | None) -> list[str]:
    """Return the waiting reasoning; only the first completion below has it.

    All above a taken piece is taken too, so the way up is short.
    """
    pieces = []
    while thought is not None and not thought.taken:
        thought.taken = True
        pieces.append(thought.piece)
        thought = thought.before
    return pieces[::-1]


class _Turns:
    """Collects the turns of a tree, whose nodes come with parents first.

    Contents and reasoning are lists of pieces until all are there: a long chain of pieces takes linear time.
    """

    def __init__(self, nodes: Mapping[str, Node], leave_out: Callable[[str], None]) -> None:
        self._nodes, self._leave_out = nodes, leave_out
        self._children = Counter(node.parent for node in nodes.values())
        # Each node's message, whether no branch lies between the two, and reasoning that waits for a completion.
        self._message: dict[str | None, int | None] = {None: None}
        self._straight: dict[str | None, bool] = {None: True}
        self._reasoning: dict[str | None, _Thought | None] = {None: None}
        self._messages: list[dict[str, Any]] = []

    def add(self, id_: str) -> None:
        node = self._nodes[id_]
        above, straight = self._message[node.parent], self._straight[node.parent] and self._children[node.parent] == 1
        reasoning = self._reasoning[node.parent]
        if node.reasoning:
            reasoning = _Thought(reasoning, node.reasoning)
        self._message[id_], self._straight[id_], self._reasoning[id_] = above, straight, reasoning
        if node.role is None or not (node.text.strip() or (node.role == "assistant" and _waits(reasoning))):
            return
        shown = self._messages[above] if above is not None else None
        if node.role == "assistant" and shown and shown["role"] == "assistant" and straight:
            shown["content"].append(node.text)
            shown["reasoning"] += _take(reasoning)
            shown["model"] = shown["model"] or node.model[:_MODEL_CHARS]
        else:
            self._message[id_] = len(self._messages)
            self._messages.append(
                {
                    "id": len(self._messages),
                    "parent": above,
                    "role": node.role,
                    "content": [node.text],
                    "reasoning": _take(reasoning) if node.role == "assistant" else [],
                    "model": node.model[:_MODEL_CHARS] if node.role == "assistant" else "",
                    "created_at": node.time,
                }
            )
        self._straight[id_], self._reasoning[id_] = True, None

    def finished(self) -> list[dict[str, Any]]:
        """Return the messages, and report reasoning that no completion followed."""
        for id_ in self._nodes:
            if _waits(self._reasoning[id_]) and not self._children[id_]:
                self._leave_out("reasoning without a completion")
        for message in self._messages:
            message["content"], message["reasoning"] = joined(message["content"]), joined(message["reasoning"])
        return self._messages
