"""Upload, read and delete attachments, with plain async views.

Forms are parsed in a thread and files decoded in a child process, so that the event loop is never busy.
"""

import asyncio
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext_lazy as _

from accounts.auth import aauthenticate
from chat.apps import chat
from chat.attachments import schemas, store
from chat.attachments.decoder.results import File, Refused
from chat.attachments.errors import FileRefused
from chat.attachments.models import NAME_CHARS, Attachment
from runtime import database
from web import body_limits
from web.methods import methods
from web.openapi import Content, Operation
from web.refusals import InvalidRequest, TooLarge

_FORM = "multipart/form-data"
# The content is inert wherever it is opened: no script runs, nothing loads, and browsers do not guess its type.
_INERT = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@Operation(
    "Attachments",
    "Upload a file for a prompt",
    "A PNG, JPEG, WebP or GIF picture, a text or source code, a PDF or a DOCX document. It is deleted after a day "
    "unless a prompt uses it.",
    body=Content(schemas.Upload, (_FORM,)),
    returns={201: schemas.Attachment},
    refuses=(429,),
)
async def post_attachment(request: HttpRequest) -> HttpResponseBase:
    # Before the caller is known, because the check of the CSRF token reads the form too. An unknown sender's body is
    # small (chatproject/uploads.py).
    await asyncio.to_thread(_parse, request)
    caller = await aauthenticate(request)
    file = _file_of(request)
    name = _name_of(file)
    try:
        decoded = await chat().decodings.decode(caller.user.pk, File(name, await asyncio.to_thread(file.read)))
    except Refused as refused:
        raise FileRefused(refused) from refused
    row = await database.run(store.save, caller.user.pk, name, decoded)
    return JsonResponse(store.representation(row), status=201)


def _parse(request: HttpRequest) -> None:
    """Parse the form; `_file_of` refuses one that is broken, once the caller is known."""
    with suppress(MultiPartParserError, SuspiciousOperation):
        _files = request.FILES


def _file_of(request: HttpRequest) -> "UploadedFile[bytes]":
    if getattr(request, "scope", {}).get("body_too_large"):
        raise TooLarge(body_limits.message_of(request.path))
    if request.content_type != _FORM:
        raise InvalidRequest(details={"body": [_("A form with a file is expected.")]}, status=415)
    file = request.FILES.get("file")
    unknown = {*request.FILES, *request.POST} - {"file", "csrfmiddlewaretoken"}
    if unknown:
        raise InvalidRequest(details={name: [_("There is no such field.")] for name in unknown})
    if not isinstance(file, UploadedFile) or len(request.FILES.getlist("file")) > 1:
        raise InvalidRequest(details={"file": [_("One file is expected.")]})
    if (file.size or 0) > settings.MAX_ATTACHMENT_MIB * body_limits.MIB:
        raise TooLarge(body_limits.message_of(request.path))
    return file


def _name_of(file: "UploadedFile[bytes]") -> str:
    """Return the file's name without folders and invisible characters."""
    name = "".join(character for character in (file.name or "") if character.isprintable()).strip()
    return name[-NAME_CHARS:] or "file"


@Operation("Attachments", "One attachment", returns=schemas.Attachment)
async def get_attachment(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    caller = await aauthenticate(request)
    return JsonResponse(store.representation(await database.run(store.owned, caller.user.pk, attachment_id)))


@Operation(
    "Attachments",
    "Delete an attachment",
    "The messages that have it lose it.",
    returns={204: None},
)
async def delete_attachment(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    caller = await aauthenticate(request)
    await database.run(store.delete, caller.user.pk, attachment_id)
    return HttpResponse(status=204)


@Operation(
    "Attachments",
    "The content of an attachment",
    "A picture as PNG, JPEG or WebP, or the text of a document.",
    returns=Content(Any, ("image/png", "image/jpeg", "image/webp", "text/plain")),
)
async def get_content(request: HttpRequest, attachment_id: int) -> HttpResponseBase:
    caller = await aauthenticate(request)
    row, content = await database.run(store.owned_with_content, caller.user.pk, attachment_id)
    kind = row.media_type if row.kind == Attachment.Kind.IMAGE else "text/plain; charset=utf-8"
    response = HttpResponse(content, content_type=kind, headers=_INERT)
    ending = kind.partition(";")[0].rpartition("/")[2].replace("plain", "txt")
    response["Content-Disposition"] = f'inline; filename="attachment-{row.pk}.{ending}"'
    return response


attachments = methods(POST=post_attachment)
one_attachment = methods(GET=get_attachment, DELETE=delete_attachment)
content = methods(GET=get_content)
