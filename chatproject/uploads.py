"""Read request bodies within limits of size and memory.

The limits hold for one body, and for all bodies that are in memory at once. How slowly a body may come is limited in
`runtime/http.py`.
"""

import asyncio
import io
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIRequest
from django.utils.translation import gettext_lazy as _

from accounts.auth import user_id_of
from runtime import database
from web.body_limits import limit_of
from web.json_size import has_more_values
from web.refusals import (
    Forbidden,
    InvalidRequest,
    NotAuthenticated,
    Refusal,
    ServiceUnavailable,
    TooManyRequests,
    WrongCoding,
    from_exception,
)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

# Bytes after which the sender of a body must be known. Where more than MAX_BODY_BYTES are allowed, an unknown sender's
# body is refused then; elsewhere it stays one without a known sender.
UNKNOWN_SENDER_BYTES = 256 * 1024
# Bytes in memory of all bodies without a known sender, in this process.
ANONYMOUS_BYTES = 50 * 2**20
# The same for bodies of one user, and of all users together.
USER_BYTES, ALL_USERS_BYTES = 64 * 2**20, 256 * 2**20
# Bytes from which the values of a JSON body are counted, and how many it may have, in an import and elsewhere.
COUNTED_BYTES, MOST_VALUES, MOST_VALUES_OF_IMPORT = 256 * 1024, 300_000, 2_000_000
# Bytes that are decompressed at a time, and bytes that this may yield at a time.
PACKED_BYTES, UNPACKED_BYTES = 256 * 1024, 2**20
# Codings of content, as IANA lists them, of which gzip alone is read.
_CODINGS = frozenset({"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip"})
_CODINGS |= {"x-compress", "x-gzip", "zstd"}
# The value with which zlib reads gzip, and no other format.
_GZIP_BITS = 31
# Seconds to wait after a refusal for want of memory.
RETRY_SECONDS = 10


class Body(io.BytesIO):
    """One request's body. Its bytes count until it is closed."""

    def __init__(self, uploads: "Uploads") -> None:
        super().__init__()
        self._uploads = uploads
        # The user who sends it, if known.
        self.sender: int | None = None
        self.size = 0
        # Whether the bytes that arrive are discarded, because there are too many.
        self.discards = False
        # Whether it gave way to others, and the clock that then ends its reading.
        self.gave_way = False
        self.clock: asyncio.Timeout | None = None

    def add(self, data: bytes) -> None:
        if self.gave_way:
            raise _full()
        if self.discards:
            return
        self._uploads.make_room(self, len(data))
        self._uploads.count(self.sender, len(data))
        self.size += len(data)
        self.write(data)

    def belongs_to(self, user_id: int) -> None:
        """Count these bytes as the user's from now on."""
        self._uploads.count(self.sender, -self.size)
        size, self.size, self.sender = self.size, 0, user_id
        self._uploads.make_room(self, size)
        self.size = size
        self._uploads.count(user_id, size)

    def drop(self) -> None:
        """Free the bytes that have arrived."""
        self._uploads.count(self.sender, -self.size)
        self.size = 0
        self.seek(0)
        self.truncate()

    def close(self) -> None:
        if not self.closed:
            self.drop()
        super().close()


class Uploads:
    """All request bodies of this process that are in memory."""

    def __init__(self) -> None:
        # Bytes of each user; None: without a known sender.
        self._bytes: dict[int | None, int] = {}
        # Bodies that have not arrived completely, the oldest first.
        self._incomplete: dict[Body, None] = {}

    def count(self, sender: int | None, change: int) -> None:
        if total := self._bytes.get(sender, 0) + change:
            self._bytes[sender] = total
        else:
            self._bytes.pop(sender, None)

    def make_room(self, body: Body, size: int) -> None:
        """Let `body` grow by `size`; raise the refusal if it may not.

        The oldest incomplete body gives way: those of honest clients arrive soon, those that drip are old.
        """
        sender = body.sender
        if sender is None:
            while self._bytes.get(None, 0) + size > ANONYMOUS_BYTES:
                self._give_way(None, body)
        elif self._bytes.get(sender, 0) + size > USER_BYTES:
            raise TooManyRequests(retry_after=RETRY_SECONDS)
        while sender is not None and sum(self._bytes.values()) - self._bytes.get(None, 0) + size > ALL_USERS_BYTES:
            users = [(used, user) for user, used in self._bytes.items() if user is not None]
            self._give_way(max(users)[1], body)

    def _give_way(self, sender: int | None, growing: Body) -> None:
        oldest = next((body for body in self._incomplete if body.sender == sender and body.size), growing)
        if oldest is growing:
            raise _full()
        oldest.drop()
        oldest.gave_way = True
        if oldest.clock:
            oldest.clock.reschedule(asyncio.get_running_loop().time())

    async def read(self, scope: Scope, receive: Receive) -> Body:
        """Return the request's body.

        A body over the limit of its path is discarded, and `body_too_large` set in the scope, so that it is refused
        after the checks that come first. For other reasons the reading stops, and `refusal` is set.
        """
        body = Body(self)
        try:
            if await _receive_into(body, receive):
                await self._read_on(scope, receive, body)
            if _is_compressed(scope):
                packed, body = body, await self._unpacked(scope, body)
                packed.close()
            if body.size > COUNTED_BYTES:
                await _check_values(scope, body.getvalue())
        except Refusal as refusal:
            body.drop()
            # Without its frames, which would keep the connection's buffers until the next garbage collection.
            refusal.__traceback__ = refusal.__context__ = refusal.__cause__ = None
            scope["refusal"] = refusal
        except BaseException:
            body.close()
            raise
        body.seek(0)
        return body

    async def _read_on(self, scope: Scope, receive: Receive, body: Body) -> None:
        """Read the rest of a body that does not come in one piece."""
        limit = limit_of(scope["path"]).max_bytes
        self._incomplete[body] = None
        asked, more = False, True
        try:
            async with asyncio.timeout(None) as body.clock:
                while more:
                    if body.size > UNKNOWN_SENDER_BYTES and not asked:
                        asked = True
                        await self._find_sender(scope, body, limit)
                    more = await _receive_into(body, receive)
                    if body.size > limit:
                        scope["body_too_large"] = body.discards = True
                        body.drop()
        except TimeoutError as error:
            raise _full() from error
        finally:
            body.clock = None
            self._incomplete.pop(body, None)
        if body.gave_way:
            raise _full()

    async def _unpacked(self, scope: Scope, packed: Body) -> Body:
        """Return a gzip body decompressed; its pieces count like those that arrive.

        It has one member, because many empty ones cost much time and yield nothing.
        """
        limit, body = limit_of(scope["path"]).max_bytes, Body(self)
        body.sender = packed.sender
        packed.seek(0)
        try:
            unpacker = zlib.decompressobj(_GZIP_BITS)
            while packed.size and not unpacker.eof:
                body.add(await asyncio.to_thread(_next_piece, unpacker, packed))
                if body.size > limit:
                    scope["body_too_large"] = True
                    body.drop()
                    break
                if body.size > UNKNOWN_SENDER_BYTES and body.sender is None:
                    await self._find_sender(scope, body, limit)
        except BaseException as error:
            body.close()
            if isinstance(error, zlib.error):
                raise InvalidRequest(details={"body": [_("This is not valid gzip.")]}) from error
            raise
        return body

    async def _find_sender(self, scope: Scope, body: Body, limit: int) -> None:
        try:
            user_id = await database.run(user_id_of, ASGIRequest(scope, io.BytesIO()))
        except Exception as error:
            refusal = from_exception(error)
            if refusal is None:
                raise
            raise refusal from error
        if user_id is not None:
            body.belongs_to(user_id)
        elif limit > settings.MAX_BODY_BYTES:
            raise Forbidden(NotAuthenticated.text) if scope["path"].startswith("/admin/") else NotAuthenticated


def _next_piece(unpacker: "zlib._Decompress", packed: Body) -> bytes:
    """Return the next decompressed piece, which may be empty.

    Raises zlib.error where the end is missing, or where more follows it.
    """
    given = unpacker.unconsumed_tail or packed.read(PACKED_BYTES)
    piece = unpacker.decompress(given, UNPACKED_BYTES)
    if not (given or piece or unpacker.eof):
        raise zlib.error("no end")
    if unpacker.eof and (unpacker.unused_data or packed.read(1)):
        raise zlib.error("more than one member")
    return piece


def _is_compressed(scope: Scope) -> bool:
    """Return whether the body is gzip; raise the refusal for another coding, and for several.

    Names of no coding are ignored, because some programs send `utf-8`.
    """
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == b"content-encoding")
    codings = [word for value in values for word in re.findall(r"[\w-]+", value.lower()) if word in _CODINGS]
    if codings not in ([], ["gzip"], ["x-gzip"]):
        raise WrongCoding(", ".join(codings))
    return bool(codings)


async def _receive_into(body: Body, receive: Receive) -> bool:
    """Add the next piece; return whether more follows. No reference to the piece is kept."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise RequestAborted
    body.add(message.get("body", b""))
    return bool(message.get("more_body", False))


async def _check_values(scope: Scope, body: bytes) -> None:
    most = MOST_VALUES_OF_IMPORT if scope["path"] in settings.IMPORT_PATHS else MOST_VALUES
    if body.lstrip()[:1] in {b"{", b"["} and await asyncio.to_thread(has_more_values, body, most):
        text = _("This JSON has too many values; %(most)d are possible.") % {"most": most}
        raise InvalidRequest(details={"body": [text]})


def _full() -> Refusal:
    return ServiceUnavailable(
        _("The service receives too much data at the moment. Please try again shortly."), retry_after=RETRY_SECONDS
    )
