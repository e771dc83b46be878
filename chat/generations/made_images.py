"""Keep the images that a completion brings, as attachments of its message.

They are read in a child process like an upload, and count in the user's storage. The event `attachments` lists them.
"""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import translation

from chat.attachments import store
from chat.attachments.decoder.files import recognised
from chat.attachments.decoder.results import File, Refused
from chat.attachments.decodings import Decodings
from chat.attachments.models import Attachment
from chat.models import Generation
from providers.wire.images import CompletionImages, address_of
from runtime import database
from web.refusals import Refusal

log = structlog.get_logger("generation")

# The first characters of an image in base64, which say what it is.
_START = re.compile(r"data:image/[\w.+-]+;base64,([A-Za-z0-9+/]{8,64})")
# Images of one completion that are kept, as many as a prompt may have.
MOST_IMAGES = 10


@dataclass(slots=True)
class MadeImages:
    """The images of one generation, until it ends."""

    row: Generation
    decodings: Decodings
    _lists: list[CompletionImages] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._lists)

    def add(self, images: CompletionImages) -> None:
        """Take images as they come."""
        self._lists.append(images)

    def clear(self) -> None:
        """Drop the images, because the text around them was withdrawn."""
        self._lists.clear()

    async def keep(self, publish: Callable[[str, object], None]) -> tuple[int, ...]:
        """Store the images and publish them; return their ids, which the end needs.

        Until then they have no message, so that an end which is never stored leaves nothing for longer than a day.
        Raises nothing, because the text matters more.
        """
        try:
            return await self._keep(publish)
        except Exception as error:
            log.exception("images of a completion lost", generation=self.row.id, error=type(error).__name__)
            return ()

    async def _keep(self, publish: Callable[[str, object], None]) -> tuple[int, ...]:
        contents = await asyncio.to_thread(_contents, self._lists)
        left_out = sum(images.left_out for images in self._lists)
        self._lists.clear()
        rows: list[Attachment] = []
        for place, content in enumerate(contents[:MOST_IMAGES], start=1):
            is_kept = recognised(content).startswith("image/") and self.row.message_id is not None
            if is_kept and (row := await self._stored(place, content)):
                rows.append(row)
        if rows:
            earlier = await self._earlier() if self.row.is_continuation else []
            publish("attachments", {"attachments": [store.representation(row) for row in (*earlier, *rows)]})
        if lost := left_out + len(contents) - len(rows):
            log.warning("images of a completion not kept", generation=self.row.id, images=lost)
            publish("notice", {"code": "image_left_out", "message": self._note(lost)})
        return tuple(row.pk for row in rows)

    async def _stored(self, place: int, content: bytes) -> Attachment | None:
        """Return the row of a stored image; None for one that cannot be kept."""
        user_id = self.row.user_id
        try:
            decoded = await self.decodings.decode(user_id, File(f"image-{place}", content))
            name = f"image-{place}.{decoded.media_type.rpartition('/')[2]}"
            return await database.run(store.save, user_id, name, decoded)
        except (Refused, Refusal, OperationalError, InterfaceError) as error:
            log.warning("image of a completion refused", generation=self.row.id, error=type(error).__name__)
            return None

    async def _earlier(self) -> list[Attachment]:
        """Return the images of the message that is continued."""
        return await database.run(store.of_message, self.row.message_id or 0)

    def _note(self, lost: int) -> str:
        with translation.override(self.row.language):
            text = translation.ngettext(
                "The model sent an image that was left out.",
                "The model sent %(count)d images that were left out.",
                lost,
            )
            return text % {"count": lost}


def has_picture(listed: str) -> bool:
    """Return whether a JSON list of images has a real one, by its first bytes."""
    starts = (base64.b64decode(match[1][: len(match[1]) // 4 * 4]) for match in _START.finditer(listed))
    return '"http' in listed or any(recognised(start).startswith("image/") for start in starts)


def _contents(lists: Iterable[CompletionImages]) -> list[bytes]:
    """Return the bytes of each image; none where only an address came."""
    return [_content(address_of(image)) for images in lists for image in json.loads(images.json)]


def _content(address: str) -> bytes:
    head, _comma, data = address.partition(",")
    if head[:5].lower() != "data:":
        return b""
    try:
        raw = unquote_to_bytes(data)
        return base64.b64decode(raw + b"=" * (-len(raw) % 4)) if head.lower().endswith(";base64") else raw
    except ValueError:  # half a character, or no base64
        return b""
