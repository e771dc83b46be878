"""Restore the text that a process of the previous release left in drafts.

Such a process ends the generations of dead processes too, and knows only the text in their rows. Nothing is left once
all processes are of this release.
"""

from django.db import connection, transaction

from chat import storage
from chat.generations.models import DraftPiece
from chat.models import Generation, Message

# Generations restored in one pass; the next one takes further ones.
RESTORED_AT_ONCE = 50
# It finds each generation by one step in the index, because thousands of pieces may belong to those that run.
_LEFT = """
WITH RECURSIVE drafts(id) AS (
  SELECT MIN(generation_id) FROM chat_draftpiece
  UNION ALL
  SELECT (SELECT MIN(generation_id) FROM chat_draftpiece WHERE generation_id > drafts.id) FROM drafts
  WHERE drafts.id IS NOT NULL
) SELECT id FROM drafts WHERE id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM chat_generation g WHERE g.id = drafts.id AND g.status = 'running') LIMIT %s
"""


def restore() -> None:
    """Move the drafts of ended generations into their messages. Repeating is safe."""
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, [RESTORED_AT_ONCE])
        left = [generation for (generation,) in cursor.fetchall()]
    for generation in left:
        _restore(generation)


@transaction.atomic
def _restore(generation: str) -> None:
    rows = Generation.objects.select_related("message").filter(id=generation)
    if owner := rows.values_list("user_id", flat=True).first():
        storage.lock(owner)  # other processes that restore it wait here, and then find its text
        if (row := rows.first()) and _has_lost_text(row):
            _give_text(row, *DraftPiece.texts([generation]).get(generation, ("", "")))
    DraftPiece.objects.filter(generation_id=generation).delete()


def _has_lost_text(row: Generation) -> bool:
    ended_by_others = row.status == Generation.Status.INTERRUPTED or row.finish_reason == "cancelled"
    return ended_by_others and row.texts() == ("", "")


def _give_text(row: Generation, content: str, reasoning: str) -> None:
    """Store the text where the end should have stored it, and count its bytes."""
    if row.message is None:
        Generation.objects.filter(id=row.id).update(content=content, reasoning=reasoning)
        storage.add(row.user_id, "unkept", storage.size_of(content, reasoning))
        return
    old = row.message.content, row.message.reasoning
    whole = row.whole(row.message, content, reasoning)
    Message.objects.filter(pk=row.message.pk).update(content=whole[0], reasoning=whole[1])
    storage.add(row.user_id, "conversations", storage.size_of(*whole) - storage.size_of(*old))
