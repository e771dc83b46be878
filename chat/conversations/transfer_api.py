"""Export and import over HTTP: exports are async views because they stream."""

from collections.abc import AsyncGenerator
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import aauthenticate
from chat.apps import chat
from chat.conversations import attached_files, schemas, transfer
from chat.conversations.importers import foreign
from chat.models import Conversation
from runtime import database
from web.methods import methods
from web.openapi import Content, Operation
from web.refusals import InvalidRequest, NotFound, TooManyRequests

# Imports in one process at a time: one needs several times its size of memory, and on SQLite blocks all writers.
IMPORTS_AT_ONCE = 1
# Seconds that an import waits for another one before it is refused with 429.
IMPORT_WAIT_SECONDS = 20
# Conversation ids read by one query of an export.
IDS_AT_ONCE = 1_000


@Operation(
    "Conversations",
    "Export one conversation",
    returns=(schemas.Export, Content(str, ("text/markdown",))),
    query={"as": Literal["json", "markdown"]},
)
async def get_one(request: HttpRequest, conversation_id: int) -> HttpResponseBase:
    caller = await aauthenticate(request)
    form = request.GET.get("as", "json")
    if form not in {"json", "markdown"}:
        raise InvalidRequest(details={"as": [_("Expected json or markdown.")]})
    content = await database.run(_read_one, caller.user.pk, conversation_id, form)
    name = f"conversation-{conversation_id}"
    if form == "markdown":
        return HttpResponse(content, content_type="text/markdown; charset=utf-8", headers=_download(f"{name}.md"))
    filled = attached_files.filled(caller.user.pk, content)
    return StreamingHttpResponse(filled, content_type="application/json", headers=_download(f"{name}.json"))


def _read_one(user_id: int, conversation_id: int, form: str) -> bytes:
    row = Conversation.objects.listed_for(user_id).filter(id=conversation_id).first()
    if row is None:
        raise NotFound
    if form == "markdown":
        return transfer.markdown(row).encode()
    return b"".join((transfer.head(timezone.now()), transfer.exported(row), transfer.TAIL))


@Operation("Conversations", "Export all conversations", returns=schemas.Export)
async def get_all(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate(request)
    name = f"rivulet-{timezone.localdate().isoformat()}.json"
    return StreamingHttpResponse(_export(caller.user.pk), content_type="application/json", headers=_download(name))


async def _export(user_id: int) -> AsyncGenerator[bytes, None]:
    yield transfer.head(timezone.now())
    last, comma = 0, b""
    while ids := await database.run(_ids_after, user_id, last):
        for last in ids:
            # Empty if the conversation was deleted meanwhile.
            if piece := await database.run(_exported, user_id, last):
                yield comma
                async for part in attached_files.filled(user_id, piece):
                    yield part
                comma = b","
    yield transfer.TAIL


def _ids_after(user_id: int, last: int) -> list[int]:
    owned = Conversation.objects.listed_for(user_id).filter(id__gt=last)
    return list(owned.order_by("id").values_list("id", flat=True)[:IDS_AT_ONCE])


def _exported(user_id: int, conversation_id: int) -> bytes:
    row = Conversation.objects.listed_for(user_id).filter(id=conversation_id).first()
    return transfer.exported(row) if row else b""


def _download(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


class Import(APIView):
    @Operation(
        "Conversations",
        "Import an export, all or nothing",
        "Exports of ChatGPT (`conversations.json`), Open WebUI and LibreChat are recognised; `left_out` names what"
        " of them has no place here.",
        body=schemas.Export,
        example={"format": "rivulet", "version": 1, "conversations": []},
        returns={201: schemas.Imported},
        refuses=(429,),
    )
    def post(self, request: Request) -> Response:
        user: Any = request.user
        slot = chat().import_slot
        if not slot.acquire(timeout=IMPORT_WAIT_SECONDS):
            raise TooManyRequests(_("Another import is running. Please try again in a moment."), retry_after=10)
        try:
            file, report = foreign.converted(request.data)
            conversations, messages = transfer.store(user.pk, transfer.read(file))
        finally:
            slot.release()
        imported = schemas.Imported(conversations=conversations, messages=messages)
        if report is not None:
            imported["left_out"] = report.as_json()
        return Response(imported, status=201)


export_one = methods(GET=get_one)
export_all = methods(GET=get_all)
