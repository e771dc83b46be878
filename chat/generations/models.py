"""The part of a message that one generation made, and the pieces of its draft.

A continuation appends to the message of an earlier generation. `Generation.message` is then the message of the latest
generation only; earlier ones keep it in `part_of`. All of them remember which characters are theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from chat.models import Message

# Few generations were continued. A deletion of messages looks for them.
EARLIER_PARTS = models.Index(fields=["part_of"], name="earlier_parts", condition=models.Q(part_of__isnull=False))


def appended(old: str, start: int, new: str) -> str:
    """Return `old` with `new` from character `start` on.

    Characters of `old` beyond them stay until `new` is as long: a continuation may repeat the last ones.
    """
    return old[:start] + new + old[start + len(new) :]


class MessagePart(models.Model):
    """The place of a generation's text in its message."""

    message: "models.OneToOneField[Message | None, Message | None]"
    message_id: int | None
    # Whether the text begins in a message of an earlier generation, which may be empty.
    is_continuation = models.BooleanField(default=False, db_default=False)
    # The message, when a later generation has continued it; EARLIER_PARTS is its index.
    part_of = models.ForeignKey(
        "chat.Message",
        models.SET_NULL,
        null=True,
        related_name="earlier_generations",
        db_constraint=False,
        db_index=False,
    )
    # Characters of the message before this part, and up to its end; null: the part is the last one. Not "positive"
    # fields, whose constraints would make PostgreSQL read the table while all wait.
    content_from = models.IntegerField(default=0, db_default=0)
    content_until = models.IntegerField(null=True)
    reasoning_from = models.IntegerField(default=0, db_default=0)
    reasoning_until = models.IntegerField(null=True)

    class Meta:
        abstract = True

    @property
    def text_message_id(self) -> int | None:
        """The id of the message that has the text."""
        return self.message_id or self.part_of_id

    def text_message(self) -> "Message | None":
        return self.message or self.part_of

    def part(self, content: str, reasoning: str) -> tuple[str, str]:
        """Return this generation's part of the message's content and reasoning."""
        return content[self.content_from : self.content_until], reasoning[self.reasoning_from : self.reasoning_until]

    def whole(self, message: "Message", content: str, reasoning: str) -> tuple[str, str]:
        """Return the message's content and reasoning together with this latest part."""
        return (
            appended(message.content, self.content_from, content),
            appended(message.reasoning, self.reasoning_from, reasoning),
        )

    def hand_over(self, message: "Message", *, content_from: int) -> dict[str, Any]:
        """Return what a continuation takes over from this generation, whose row must be saved."""
        self.message, self.part_of = None, message
        self.content_until, self.reasoning_until = len(message.content), len(message.reasoning)
        place = {"content_from": content_from, "reasoning_from": len(message.reasoning)}
        return {"message": message, "is_continuation": True, **place}


@dataclass(frozen=True, slots=True)
class NewPiece:
    """The text that a generation's draft lacks.

    It `replaces` all earlier pieces after the text was withdrawn.
    """

    generation: str
    number: int
    last_event: int
    content: str
    reasoning: str
    replaces: bool = False


class DraftPiece(models.Model):
    """New text of a running generation, as one write stored it.

    All pieces together are its draft.

    Pieces are only inserted, and deleted with the end of the generation. So a write costs the new text, however long
    the draft is. There is no foreign key, because a process of the previous release deletes generations without their
    pieces.
    """

    pk = models.CompositePrimaryKey("generation_id", "number")
    generation_id = models.CharField(max_length=32)
    number = models.IntegerField()
    content = models.TextField()
    reasoning = models.TextField()

    def __str__(self) -> str:
        return f"{self.generation_id}:{self.number}"

    @classmethod
    def texts(cls, generations: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return content and reasoning of the drafts that these generations have."""
        rows = cls.objects.filter(generation_id__in=generations).order_by("generation_id", "number")
        found: dict[str, tuple[list[str], list[str]]] = {}
        for generation, content, reasoning in rows.values_list("generation_id", "content", "reasoning"):
            texts = found.setdefault(generation, ([], []))
            texts[0].append(content)
            texts[1].append(reasoning)
        return {name: ("".join(content), "".join(reasoning)) for name, (content, reasoning) in found.items()}
