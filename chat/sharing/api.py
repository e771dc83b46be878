"""REST for shares: make, list and revoke them.

The page behind a link is in `page`.
"""

from datetime import datetime, timedelta
from typing import cast

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import links
from accounts.models import User, queue_writes
from chat import storage
from chat.attachments import store
from chat.conversations import branches
from chat.errors import Conflict, StorageFull
from chat.models import TITLE_CHARS, Conversation, Message, Share
from chat.sharing import frozen, schemas
from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import Forbidden, NotFound, TooLarge

# Links that one user may have.
MOST_SHARES = 100
# Bytes of one copy at most, because each reader's page has all of it, screened anew in about 20 ms.
MOST_BYTES = 256 * 2**10
MOST_DAYS = 365


class SharingIsOff(Forbidden):
    text = _("Sharing is switched off on this server.")


class TooManyShares(Conflict):
    text = _("You have 100 links already. Please revoke one first.")


class NothingToShare(Conflict):
    text = _("There is nothing to share yet.")


class TooLargeToShare(TooLarge):
    text = _("This conversation is too long to be shared.")


class ShareBody(StrictSerializer):
    """How long a link works, and which branch it shows."""

    expires_in_days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS, required=False, allow_null=True)
    message = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class ShareConversation(APIView):
    @Operation(
        "Sharing",
        "Make a link to a frozen copy of a conversation's branch",
        "The branch through `message`, else the newest one. Reasoning and attachments are not part of it; the page "
        "says how many attachments were left out.",
        body=ShareBody,
        example={"expires_in_days": 7},
        returns={201: schemas.NewShare},
        refuses=(409, 413),
    )
    def post(self, request: Request, conversation_id: int) -> Response:
        if settings.SHARE_MODE == "off":
            raise SharingIsOff
        body = ShareBody(data=request.data)
        body.is_valid(raise_exception=True)
        days = body.validated_data.get("expires_in_days")
        expires_at = timezone.now() + timedelta(days=days) if days else None
        user_id = cast("User", request.user).pk
        row = make(user_id, conversation_id, body.validated_data.get("message"), expires_at)
        made = schemas.NewShare(id=row.pk, url=url_of(request._request, row), expires_at=_time(expires_at))
        return Response(made, status=201)


class Shares(APIView):
    @Operation("Sharing", "The caller's links, newest first", returns=list[schemas.ListedShare])
    def get(self, request: Request) -> Response:
        return Response([_listed(request._request, row) for row in listed(cast("User", request.user).pk)])


class OneShare(APIView):
    @Operation("Sharing", "Revoke a link", "It is not found from then on.", returns={204: None})
    def delete(self, request: Request, share_id: int) -> Response:
        if not revoke(cast("User", request.user).pk, share_id):
            raise NotFound
        return Response(status=204)


def make(user_id: int, conversation_id: int, message_id: int | None, expires_at: datetime | None) -> Share:
    """Store a copy of a branch, or raise the refusal."""
    with transaction.atomic():
        queue_writes(user_id)  # so that the bounds hold
        conversation = Conversation.objects.listed_for(user_id).filter(id=conversation_id).first()
        if conversation is None:
            raise NotFound
        if message_id and not Message.objects.filter(conversation=conversation, id=message_id).exists():
            raise NotFound
        turns = frozen.freeze(branches.shown(conversation, message_id)[0], store.of_conversation(conversation.pk))
        size = storage.size_of(conversation.title, turns)
        if not turns:
            raise NothingToShare
        if size > MOST_BYTES:
            raise TooLargeToShare
        if Share.objects.owned_by(user_id).count() >= MOST_SHARES:
            raise TooManyShares
        if not storage.take(user_id, size + storage.ROW_BYTES):
            raise StorageFull
        title = conversation.title[:TITLE_CHARS]
        return Share.objects.create(
            user_id=user_id, conversation=conversation, title=title, turns=turns, expires_at=expires_at
        )


def listed(user_id: int) -> list[Share]:
    """Return the links of a user that work, newest first, without their texts."""
    return list(Share.objects.owned_by(user_id).open_now().defer("turns").order_by("-id"))


def revoke(user_id: int, share_id: int) -> bool:
    """Delete a link of a user; return whether it existed."""
    return Share.objects.owned_by(user_id).filter(id=share_id).delete()[0] > 0


def url_of(request: HttpRequest, row: Share) -> str:
    """Return the absolute address of a share."""
    return links.absolute(request, reverse("shared", args=[row.token]))


def _listed(request: HttpRequest, row: Share) -> schemas.ListedShare:
    return {
        "id": row.pk,
        "url": url_of(request, row),
        "title": row.title,
        "conversation": row.conversation_id,
        "created_at": timezone.localtime(row.created_at).isoformat(),
        "expires_at": _time(row.expires_at),
    }


def _time(moment: datetime | None) -> str | None:
    return timezone.localtime(moment).isoformat() if moment else None
