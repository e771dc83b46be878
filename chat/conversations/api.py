"""REST for single-page apps: models, text tools, conversations and messages. Event streams are in chat/views.py."""

from typing import Any, cast

from django.conf import settings
from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import Caller
from accounts.models import User, queue_writes
from chat import representation, schemas, storage, text_tools
from chat.apps import chat
from chat.attachments import store as attachments
from chat.errors import ContentBlocked, PromptTooLong, StorageFull
from chat.generations import drafts
from chat.models import TITLE_CHARS, Conversation, Hit, Message
from chat.screening import audit, incoming
from providers.apps import providers_app
from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import NotFound


def _user_id(request: Request) -> int:
    return cast("User", request.user).pk


class Models(APIView):
    @Operation("Models and quotas", "The models that the caller may use", returns=list[schemas.Model])
    def get(self, request: Request) -> Response:
        token = cast("Caller", request.auth).token
        return Response(representation.offered_models(providers_app().configuration, _user_id(request), token))


class TextTools(APIView):
    @Operation("Models and quotas", "The text tools", returns=list[schemas.TextTool])
    def get(self, request: Request) -> Response:
        return Response(text_tools.offered())


class ConversationChange(StrictSerializer):
    """The fields of a conversation that its owner may change."""

    title = serializers.CharField(max_length=TITLE_CHARS)
    pinned = serializers.BooleanField()
    archived = serializers.BooleanField()
    system_prompt = serializers.CharField(allow_blank=True, trim_whitespace=False)

    def validate_system_prompt(self, value: str) -> str:
        if len(value) > settings.MAX_PROMPT_CHARS:
            raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
        return value


class OneConversation(APIView):
    @Operation("Conversations", "One conversation", returns=schemas.Conversation)
    def get(self, request: Request, conversation_id: int) -> Response:
        return Response(representation.conversation(_owned(request, conversation_id)))

    @Operation(
        "Conversations",
        "Rename, pin or archive a conversation, or change its system prompt",
        body=ConversationChange,
        example={"title": "Greetings", "pinned": True},
        returns=schemas.Conversation,
        refuses=(413, 422),
    )
    def patch(self, request: Request, conversation_id: int) -> Response:
        _owned(request, conversation_id)
        change = ConversationChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        values = screened(_user_id(request), change.validated_data)
        with transaction.atomic():
            queue_writes(_user_id(request))
            row = _owned(request, conversation_id)
            texts = [(getattr(row, name), value) for name, value in values.items() if isinstance(value, str)]
            growth = sum(storage.size_of(new) - storage.size_of(old) for old, new in texts)
            if growth < 0:
                storage.add(row.user_id, "conversations", growth)
            elif growth and not storage.take(row.user_id, growth):
                raise StorageFull
            for name, value in values.items():
                setattr(row, name, value)
            row.save(update_fields=list(values))
        return Response(representation.conversation(row))

    @Operation("Conversations", "Delete a conversation", "Its running generations are stopped.", returns={204: None})
    def delete(self, request: Request, conversation_id: int) -> Response:
        with transaction.atomic():
            queue_writes(_user_id(request))
            row = _owned(request, conversation_id)
            running = list(row.generations.running())
            row.delete()
        chat().generations.stop_soon(running)
        return Response(status=204)


def screened(user_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """Screen a change of texts; refuse it if a word or pattern in it blocks."""
    names = [name for name, value in values.items() if isinstance(value, str)]
    words, texts = chat().words.for_user(user_id).current, [values[name] for name in names]
    screened = incoming.screen(words.incoming, *texts)
    if screened.blocked:
        audit.record_refusal(user_id, screened.hits, audit.excerpt(screened.hits, words.incoming, texts))
        raise ContentBlocked(words.texts.get(screened.category))
    audit.record(user_id, None, Hit.Direction.INPUT, screened.hits)
    return {**values, **dict(zip(names, screened.texts, strict=True))}


class Messages(APIView):
    @Operation("Conversations", "The tree of messages in order of creation", returns=list[schemas.Message])
    def get(self, request: Request, conversation_id: int) -> Response:
        conversation = _owned(request, conversation_id)
        rows = Message.objects.filter(conversation=conversation).select_related("generation").order_by("id")
        attachments.note_on(rows, conversation.pk)
        drafts.fill_messages(rows)
        return Response([representation.message(row) for row in rows])


def _owned(request: Request, conversation_id: int) -> Conversation:
    row = Conversation.objects.owned_by(_user_id(request)).filter(id=conversation_id).first()
    if row is None:
        raise NotFound
    return row
