"""Stop the generations of a deleted account, then delete its rows in small steps."""

from django.db import transaction

from accounts.apps import accounts
from chat.apps import chat
from chat.models import Attachment, Channel, Conversation, Generation, Preset, Share
from quotas.models import Reservation
from runtime import database

# Rows deleted at one time, so that others do not wait long for the database thread. Conversations and attachments are
# large, and take their messages and contents with them.
LARGE_ROWS, SMALL_ROWS = 20, 500


def register() -> None:
    accounts().deletions.before(_delete_chats)


async def _delete_chats(user_id: int) -> None:
    """Stop what runs, in any process, and delete what the user keeps."""
    generations = chat().generations
    while running := await database.run(_running, user_id):
        for row in running:
            await generations.stop(row)
    while await database.run(_delete_some, user_id):
        pass
    while ids := await database.run(_some_generations, user_id):
        await generations.forget(ids)
        await database.run(_delete_generations, ids)


def _running(user_id: int) -> list[Generation]:
    return list(Generation.objects.owned_by(user_id).running()[:SMALL_ROWS])


def _delete_some(user_id: int) -> bool:
    """Delete some rows of the first kind that has any; return whether there were any."""
    for rows, most in (
        (Conversation.objects.owned_by(user_id), LARGE_ROWS),
        (Share.objects.owned_by(user_id), LARGE_ROWS),
        (Attachment.objects.owned_by(user_id), LARGE_ROWS),
        (Preset.objects.owned_by(user_id), SMALL_ROWS),
        (Channel.objects.filter(user_id=user_id), LARGE_ROWS),
    ):
        if ids := list(rows.order_by("pk").values_list("pk", flat=True)[:most]):
            rows.filter(pk__in=ids).delete()
            return True
    return False


def _some_generations(user_id: int) -> list[str]:
    return list(Generation.objects.owned_by(user_id).order_by("pk").values_list("pk", flat=True)[:SMALL_ROWS])


@transaction.atomic
def _delete_generations(ids: list[str]) -> None:
    """Delete ended generations with their reservations; the ledger keeps what they cost."""
    Generation.objects.filter(pk__in=ids).delete()
    Reservation.objects.filter(reference__in=ids).delete()
