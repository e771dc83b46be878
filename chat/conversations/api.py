"""REST for single-page apps: models, text tools, conversations and messages. Event streams are in chat/views.py."""

from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from chat import representation, schemas, text_tools
from chat.apps import chat
from chat.conversations import search
from chat.conversations.schemas import ConversationPage
from chat.errors import ContentBlocked, PromptTooLong
from chat.generations import start
from chat.models import TITLE_CHARS, Conversation, Hit, Message
from chat.screening import audit, incoming
from providers.apps import providers_app
from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import InvalidRequest, NotFound

PAGE_SIZE = 50


def _user_id(request: Request) -> int:
    return cast("User", request.user).pk


class Models(APIView):
    @Operation("Models and quotas", "The models that the caller may use", returns=list[schemas.Model])
    def get(self, request: Request) -> Response:
        return Response(representation.offered_models(providers_app().configuration, _user_id(request)))


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


class Conversations(APIView):
    @Operation(
        "Conversations",
        "The caller's conversations, pinned ones first, then those used last",
        returns=ConversationPage,
        query={"search": str, "archived": bool, "cursor": str},
    )
    def get(self, request: Request) -> Response:
        owned = Conversation.objects.owned_by(_user_id(request))
        rows: QuerySet[Conversation] = owned.filter(archived=_flag(request, "archived"))
        if wanted := request.query_params.get("search"):
            rows = search.containing(rows, wanted)
        page = list(search.after_cursor(rows, request.query_params.get("cursor"))[: PAGE_SIZE + 1])
        next_url = None
        if len(page) > PAGE_SIZE:
            query = request.query_params.copy()
            query["cursor"] = search.cursor_of(page[PAGE_SIZE - 1])
            next_url = request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
        results = [representation.conversation(row) for row in page[:PAGE_SIZE]]
        return Response(ConversationPage(results=results, next=next_url))


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "")
    if value.lower() in {"", "0", "false"}:
        return False
    if value.lower() in {"1", "true"}:
        return True
    raise InvalidRequest(details={name: [_("Expected true or false.")]})


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
        refuses=(422,),
    )
    def patch(self, request: Request, conversation_id: int) -> Response:
        row = _owned(request, conversation_id)
        change = ConversationChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        values = _screened(_user_id(request), change.validated_data)
        if values and not Conversation.objects.filter(pk=row.pk).update(**values):
            raise NotFound  # deleted meanwhile
        for name, value in values.items():
            setattr(row, name, value)
        return Response(representation.conversation(row))

    @Operation("Conversations", "Delete a conversation", "Its running generations are stopped.", returns={204: None})
    def delete(self, request: Request, conversation_id: int) -> Response:
        with transaction.atomic():
            start.queue_starts(_user_id(request))
            row = _owned(request, conversation_id)
            running = list(row.generations.running())
            row.delete()
        chat().generations.stop_soon(running)
        return Response(status=204)


def _screened(user_id: int, values: dict[str, Any]) -> dict[str, Any]:
    """Mask sensitive words in a change; refuse it if one of them blocks."""
    names = [name for name, value in values.items() if isinstance(value, str)]
    screened = incoming.screen(chat().words.load().incoming, *(values[name] for name in names))
    if screened.blocked:
        audit.record_refusal(user_id, screened.hits)
        raise ContentBlocked
    audit.record(user_id, None, Hit.Direction.INPUT, screened.hits)
    return {**values, **dict(zip(names, screened.texts, strict=True))}


class Messages(APIView):
    @Operation("Conversations", "The tree of messages in order of creation", returns=list[schemas.Message])
    def get(self, request: Request, conversation_id: int) -> Response:
        rows = Message.objects.filter(conversation=_owned(request, conversation_id))
        return Response([representation.message(row) for row in rows.select_related("generation").order_by("id")])


def _owned(request: Request, conversation_id: int) -> Conversation:
    row = Conversation.objects.owned_by(_user_id(request)).filter(id=conversation_id).first()
    if row is None:
        raise NotFound
    return row
