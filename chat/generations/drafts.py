"""Drafts: the unfinished text of generations on the event loop, stored about once a second.

A write stores only what is new, as one more row of `DraftPiece`. Text that was withdrawn takes its rows along.
"""

from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from chat.events.text import Prefix, Text
from chat.generations.models import DraftPiece, NewPiece
from chat.generations.pipeline import PARTING
from chat.models import Generation, GenerationQuerySet, Message
from runtime import database

_PIECES = DraftPiece._meta.db_table
# Plain SQL, because the ORM writes one row at a time and knows no conditional insert of many.
_SAVE_LAST_EVENT = "UPDATE chat_generation SET last_event = %s WHERE id = %s AND status = 'running'"
_DELETE_PIECES = f"DELETE FROM {_PIECES} WHERE generation_id = %s"  # noqa: S608 - our own names
# A write that failed may have been stored, so the next piece with its number takes its place.
_SAVE_PIECE = (
    f"INSERT INTO {_PIECES} (generation_id, number, content, reasoning) VALUES (%s, %s, %s, %s)"  # noqa: S608
    " ON CONFLICT (generation_id, number) DO UPDATE SET content = excluded.content, reasoning = excluded.reasoning"
)
# Seconds between two flushes. A killed process may lose at most one second of text, the time of a flush included.
FLUSH_SECONDS = 0.8


class Draft:
    """The content and reasoning of one running generation.

    The first `seam_chars` characters of a continuation repeat the end of the earlier text, so they are nothing new.
    """

    __slots__ = (
        *("closed", "content", "dirty", "generation", "last_event", "pieces", "reasoning", "seam_chars", "stored"),
        *("version", "visible", "visible_reasoning", "written"),
    )

    def __init__(self, generation: str, seam_chars: int = 0) -> None:
        self.generation, self.seam_chars = generation, seam_chars
        self.content, self.reasoning = Text(), Text()
        # Whether there was content, and reasoning, that is not white space. Withdrawn text counts, because it was sent.
        self.visible = self.visible_reasoning = False
        # Whether the database lacks the latest change, and whether it gets no more, because the end is at hand.
        self.dirty = self.closed = False
        self.last_event = 0
        # Characters of content and reasoning that are stored; None: the rows hold other text. `version` counts the
        # replacements of the text.
        self.stored: tuple[int, int] | None = (0, 0)
        self.version = 0
        # The number of rows so far, and whether one may have been written.
        self.pieces, self.written = 0, False

    def add_content(self, text: str) -> None:
        if not self.visible:
            new = text[max(0, self.seam_chars - self.content.length) :]
            self.visible = bool(new.strip())
        self.content.append(text)
        self.dirty = True

    def add_reasoning(self, text: str) -> None:
        self.reasoning.append(text)
        self.visible_reasoning = self.visible_reasoning or (text != PARTING and bool(text.strip()))
        self.dirty = True

    def replace(self, content: str, reasoning: str) -> None:
        """Take over the text that another process has stored."""
        self.withdraw()
        self.content.append(content)
        self.reasoning.append(reasoning)

    def withdraw(self) -> None:
        """Start again without text. Readers of the earlier text may still read it."""
        self._restart(Text(), Text())

    def rethink(self) -> None:
        """Make the content reasoning; there was none before."""
        self._restart(Text(), self.content)
        self.visible_reasoning = self.visible

    def _restart(self, content: Text, reasoning: Text) -> None:
        self.content, self.reasoning = content, reasoning
        self.stored, self.dirty = None, True
        self.version += 1

    def snapshot(self) -> dict[str, str]:
        return {"content": str(self.content), "reasoning": str(self.reasoning)}

    def prefixes(self) -> dict[str, Prefix]:
        """Return the same without copies, for readers of the log."""
        return {"content": Prefix(self.content), "reasoning": Prefix(self.reasoning)}

    def new_piece(self) -> NewPiece:
        """Return what the database lacks. Until `note_stored`, the next one has the same number."""
        self.dirty, self.written = False, True
        content, reasoning = self.stored or (0, 0)
        return NewPiece(
            self.generation,
            self.pieces,
            self.last_event,
            self.content.after(content),
            self.reasoning.after(reasoning),
            replaces=self.stored is None,
        )

    def note_stored(self, piece: NewPiece, version: int) -> None:
        """Note that a piece of this version of the text is stored."""
        self.pieces += 1
        if version == self.version:
            content, reasoning = self.stored or (0, 0)
            self.stored = content + len(piece.content), reasoning + len(piece.reasoning)


async def flush(drafts: Iterable[Draft]) -> list[str]:
    """Store all changed drafts; return the generations that another process has ended. Repeating is safe."""
    dirty = [draft for draft in drafts if draft.dirty and not draft.closed]
    if not dirty:
        return []
    versions = [draft.version for draft in dirty]
    pieces = [draft.new_piece() for draft in dirty]
    try:
        ended = await database.run(save, pieces)
    except BaseException:
        for draft in dirty:
            draft.dirty = True
        raise
    for draft, piece, version in zip(dirty, pieces, versions, strict=True):
        draft.note_stored(piece, version)
    return ended


def save(pieces: Sequence[NewPiece]) -> list[str]:
    """Store new text of running generations, one piece of each; return the ended ones.

    Nothing of these is stored. Repeating with a longer piece is safe.
    """
    ended: set[str] = set()
    with transaction.atomic(), connection.cursor() as cursor:
        # It locks the row, so that no piece is stored after the end, which deletes them.
        cursor.executemany(_SAVE_LAST_EVENT, [(piece.last_event, piece.generation) for piece in pieces])
        if cursor.rowcount != len(pieces):
            ids = {piece.generation for piece in pieces}
            ended = ids - set(Generation.objects.running().filter(id__in=ids).values_list("id", flat=True))
        stored = [piece for piece in pieces if piece.generation not in ended]
        if replaced := [(piece.generation,) for piece in stored if piece.replaces]:
            cursor.executemany(_DELETE_PIECES, replaced)
        if new := [piece for piece in stored if piece.content or piece.reasoning]:
            rows = [(piece.generation, piece.number, piece.content, piece.reasoning) for piece in new]
            cursor.executemany(_SAVE_PIECE, rows)
    return sorted(ended)


# --- reading, in a thread of the database ----------------------------------------------------------------------------


def current(rows: GenerationQuerySet) -> list[Generation]:
    """Return the generations; running ones have the text of their drafts.

    The text ends with the row's last event, because a reader appends what comes after that event.
    """
    found = {row.id: row for row in rows}
    unsure: Iterable[Generation] = found.values()
    while changed := [name for name, number in fill(unsure).items() if number != found[name].last_event]:
        unsure = list(rows.filter(id__in=changed))
        found.update({row.id: row for row in unsure})
    return list(found.values())


def fill(rows: Iterable[Generation]) -> dict[str, int | None]:
    """Give running generations the text of their drafts.

    Return the number of their last event afterwards, None for one that has ended meanwhile. Where it differs from the
    row's, the text may go beyond that event.
    """
    running = {row.id: row for row in rows if row.status == Generation.Status.RUNNING}
    if not running:
        return {}
    for generation, (content, reasoning) in DraftPiece.texts(list(running)).items():
        # A process of the previous release stores the text in the row.
        running[generation].content += content
        running[generation].reasoning += reasoning
    still = dict(Generation.objects.running().filter(id__in=list(running)).values_list("id", "last_event"))
    return {name: still.get(name) for name in running}


def fill_messages(messages: Iterable[Message]) -> None:
    """Give the running generations of messages the text of their drafts."""
    by_generation = {made_by.id: row for row in messages if (made_by := getattr(row, "generation", None))}
    for generation, number in fill(row.generation for row in by_generation.values()).items():
        if number is None:
            by_generation[generation].refresh_from_db()
