"""Delete a message with what follows it, or all conversations of a user."""

from typing import Annotated, Literal, cast

from django.db import transaction
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, BeforeValidator, ConfigDict
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import aauthenticate
from accounts.models import User, queue_writes
from chat import bodies, storage
from chat.apps import chat
from chat.errors import Conflict
from chat.models import Conversation, Generation, Message
from runtime import database
from web.openapi import Operation
from web.refusals import NotFound

# Conversations deleted in one transaction, so that other writers do not wait long.
DELETED_AT_ONCE = 50
_SUBTREE = """
WITH RECURSIVE below(id) AS (
  SELECT id FROM chat_message WHERE id = %s UNION ALL SELECT m.id FROM chat_message m JOIN below b ON m.parent_id = b.id
) SELECT id FROM below
"""


class StillRunning(Conflict):
    text = _("An answer is still being written there. Please stop it first.")


class OneMessage(APIView):
    @Operation(
        "Conversations",
        "Delete a message and what follows it",
        "Charges stay as they are. A running completion among them has to be stopped first.",
        returns={204: None},
        refuses=(409,),
    )
    def delete(self, request: Request, message_id: int) -> Response:
        delete_subtree(cast("User", request.user).pk, message_id)
        return Response(status=204)


def delete_subtree(user_id: int, message_id: int) -> None:
    """Delete a user's message and all that follow it; raise NotFound or StillRunning."""
    with transaction.atomic():
        queue_writes(user_id)  # so that no generation starts there meanwhile
        if not Message.objects.filter(conversation__user_id=user_id, id=message_id).exists():
            raise NotFound
        rows = Message.objects.filter(id__in=RawSQL(_SUBTREE, [message_id]))  # noqa: S611 - our own SQL
        if Generation.objects.running().filter(message__in=rows).exists():
            raise StillRunning
        storage.lock(user_id)
        storage.add(user_id, "conversations", -rows.stored_bytes())
        rows.delete_attachments()
        rows.only("id").delete()


def _only_true(value: object) -> object:
    # A literal alone is compared with ==, and 1 == True.
    if value is not True:
        raise ValueError("not true")
    return value


class DeleteAllBody(BaseModel):
    """The body of `DELETE /api/conversations/`, which a caller does not send by mistake."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    confirm: Annotated[Literal[True], BeforeValidator(_only_true)]


@Operation(
    "Conversations",
    "Delete all conversations",
    "Archived, pinned and temporary ones too, and their shares. Running generations are stopped.",
    body=DeleteAllBody,
    example={"confirm": True},
    returns={204: None},
)
async def delete_conversations(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate(request)
    bodies.from_json(request, DeleteAllBody)
    last = await database.run(_last_id, caller.user.pk)
    while await database.run(_delete_some, caller.user.pk, last):
        pass
    return HttpResponse(status=204)


def _last_id(user_id: int) -> int:
    """Return the newest conversation of now; one that begins meanwhile stays."""
    return Conversation.objects.owned_by(user_id).order_by("-id").values_list("id", flat=True).first() or 0


def _delete_some(user_id: int, last: int) -> bool:
    """Delete some conversations up to an id; return whether there were any."""
    with transaction.atomic():
        queue_writes(user_id)
        owned = Conversation.objects.owned_by(user_id).filter(id__lte=last)
        ids = list(owned.order_by("id").values_list("id", flat=True)[:DELETED_AT_ONCE])
        running = list(Generation.objects.running().filter(conversation__in=ids))
        owned.filter(id__in=ids).delete()
    chat().generations.stop_soon(running)
    return bool(ids)
