"""Attachments in exports and imports: texts as they are, images in base64.

An export names each content by a mark, which is replaced while the export is sent, so that only one content at a time
is in memory. The mark has a NUL, which no stored text has.
"""

import base64
import binascii
from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

import orjson
from django.utils.translation import gettext_lazy as _
from pydantic import BaseModel, ConfigDict, Field, StrictStr, model_validator

from chat import storage
from chat.attachments import decodings, store
from chat.attachments.decoder.files import MEDIA_TYPES
from chat.attachments.decoder.results import LIMITS, Decoded, File, Refused
from chat.attachments.models import NAME_CHARS, Attachment, AttachmentContent, MessageAttachment
from chat.bodies import Text
from chat.errors import StorageFull
from runtime import database
from web.refusals import InvalidRequest

# Rows inserted by one statement; contents are large.
ROWS_AT_ONCE, CONTENTS_AT_ONCE = 1_000, 10
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
# What a mark begins with in JSON, before the id and a quotation mark.
_MARK = rb'"\u0000attachment:'


# --- export ----------------------------------------------------------------------------------------------------------


def marked(rows: Iterable[Attachment]) -> list[dict[str, Any]]:
    """Return attachments for an export, with marks for their contents."""
    return [
        {"name": row.name, "kind": row.kind, "media_type": row.media_type, "content": f"\0attachment:{row.pk}"}
        for row in rows
    ]


async def filled(user_id: int, export: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a user's export in pieces, with each content in the place of its mark."""
    end = 0
    while (start := export.find(_MARK, end)) >= 0:
        yield export[end:start]
        first, last = start + len(_MARK), export.index(b'"', start + len(_MARK))
        yield await database.run(_content, user_id, int(export[first:last]))
        end = last + 1
    yield export[end:]


def _content(user_id: int, attachment_id: int) -> bytes:
    """Return a content as JSON; empty text if it was deleted meanwhile."""
    row = Attachment.objects.owned_by(user_id).filter(pk=attachment_id).first()
    content = store.content_of([row.pk]).get(row.pk, b"") if row else b""
    is_image = row is not None and row.kind == Attachment.Kind.IMAGE
    return orjson.dumps((base64.b64encode(content) if is_image else content).decode())


# --- import ----------------------------------------------------------------------------------------------------------


class ImportedAttachment(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: Annotated[Text, Field(min_length=1, max_length=NAME_CHARS)]
    kind: Literal["image", "text"]
    media_type: StrictStr
    # Empty if it was deleted during the export; it is then left out.
    content: Text

    @model_validator(mode="after")
    def _check(self) -> "ImportedAttachment":
        is_image = self.kind == "image"
        if self.media_type not in (IMAGE_TYPES if is_image else MEDIA_TYPES):
            raise ValueError("media type")
        if not is_image and len(self.content) > LIMITS.max_chars:
            raise ValueError("too long")
        if is_image:
            self.decoded()
        return self

    def decoded(self) -> Decoded:
        """Return it as an upload would become; images are checked by `check`."""
        if self.kind == "text":
            return Decoded("text", self.media_type, self.content.encode())
        try:
            return Decoded("image", self.media_type, base64.b64decode(self.content, validate=True))
        except binascii.Error as error:
            raise ValueError("base64") from error


Imported = Sequence[tuple[str, ImportedAttachment]]


def check(imported: Imported) -> None:
    """Raise InvalidRequest unless all images are ones that an upload may have become.

    They come with their paths in the file. They stay as they are, so that another export is the same.
    """
    images = [(path, given) for path, given in imported if given.kind == "image" and given.content]
    files = [File(given.name, given.decoded().content, given.media_type) for _path, given in images]
    results = decodings.check_all(files)
    wrong = [path for (path, _given), result in zip(images, results, strict=True) if isinstance(result, Refused)]
    if wrong:
        raise InvalidRequest(details={path: [_("This is no image that can be attached.")] for path in wrong[:20]})


def store_all(user_id: int, given: Sequence[tuple[int, Sequence[ImportedAttachment]]]) -> None:
    """Store the attachments of imported messages, by message id; raise StorageFull."""
    pairs = [(message_id, each) for message_id, listed in given for each in listed if each.content]
    if not pairs:
        return
    rows = [store.unsaved(user_id, each.name, each.decoded()) for _message_id, each in pairs]
    if not storage.take(user_id, sum(row.size + storage.ROW_BYTES for row in rows), "attachments"):
        raise StorageFull
    Attachment.objects.bulk_create(rows, batch_size=ROWS_AT_ONCE)
    contents = (
        AttachmentContent(attachment=row, data=each.decoded().content)
        for row, (_message_id, each) in zip(rows, pairs, strict=True)
    )
    while batch := [*islice(contents, CONTENTS_AT_ONCE)]:
        AttachmentContent.objects.bulk_create(batch)
    MessageAttachment.objects.bulk_create(
        [
            MessageAttachment(message_id=message_id, attachment=row)
            for (message_id, _given), row in zip(pairs, rows, strict=True)
        ],
        batch_size=ROWS_AT_ONCE,
    )
