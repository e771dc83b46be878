"""Decode the content codings of bodies: gzip, deflate and brotli, in bounded memory.

We ask for `identity`, but some gateways compress all the same, and some name a coding for a body that has none. The
bytes decide between these. Standard: https://www.rfc-editor.org/rfc/rfc9110#name-content-codings.
"""

import re
import zlib

import brotli

from providers.wire.errors import broken_stream

# Bytes of one decoded piece, and of all that come of the bytes of one read: more is an attack.
_MAX_PIECE_BYTES = 256 * 1024
_MAX_READ_BYTES = 16 * 1024 * 1024
# Bytes that tell whether a body is compressed, and by what.
_MAX_HEAD_BYTES = 8
# The beginnings of event streams, JSON objects and pages, which no compressed body has.
_PLAIN = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:data:|event:|id:|retry:|: ?\w|\{\s*"|<[!?a-zA-Z])')
_GZIP_MAGIC = b"\x1f\x8b"


class Decoded:
    """Decodes one body; a coding that means none leaves it as it is.

    `feed` adds bytes, `take` returns decoded ones, `b""` when it needs more of them. Raises UpstreamFailed.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        self._waiting = b""
        self._made = 0
        self._inflater: _Deflated | _Brotli | _Plain | None = None
        if not any(name in self._coding for name in ("gzip", "deflate", "br", "zstd")):
            # A name of no real coding, such as `none` or `utf-8`.
            self._inflater = _Plain()

    def feed(self, data: bytes) -> None:
        self._waiting += data
        self._made = 0

    def take(self, *, at_end: bool = False) -> bytes:
        """Return the next piece; `at_end`: no more bytes follow."""
        if self._inflater is None:
            if len(self._waiting) < _MAX_HEAD_BYTES and not at_end:
                return b""
            self._inflater = _inflater(self._coding, self._waiting)
        try:
            piece, self._waiting = self._inflater.decode(self._waiting)
        except (zlib.error, brotli.error):
            raise broken_stream("bad_encoding") from None
        self._made += len(piece)
        if self._made > _MAX_READ_BYTES:
            raise broken_stream("event_too_large")
        return piece


def _inflater(coding: str, head: bytes) -> "_Deflated | _Brotli | _Plain":
    if _PLAIN.match(head):
        return _Plain()
    match coding:
        case "gzip" | "x-gzip" | "deflate":
            return _Deflated()
        case "br":
            return _Brotli()
    raise broken_stream("bad_encoding")


class _Plain:
    """A body that is not compressed."""

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class _Deflated:
    """A body in one of zlib's formats; gzip may have several members."""

    def __init__(self) -> None:
        self._inflater: zlib._Decompress | None = None
        self._has_member = False

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Return a decoded piece and the bytes to decode next."""
        while data:
            if self._inflater is None:
                if self._has_member and not _GZIP_MAGIC.startswith(data[:2]):
                    break  # bytes behind the last member mean nothing
                self._inflater = zlib.decompressobj(_window_bits(data))
                self._has_member = True
            piece = self._inflater.decompress(data, _MAX_PIECE_BYTES)
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data, self._inflater = self._inflater.unused_data, None
            if piece:
                return piece, data
        return b"", b""


def _window_bits(data: bytes) -> int:
    """Return zlib's argument for a format: gzip and zlib have headers, bare deflate has none."""
    is_zlib = len(data) > 1 and data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS | 32 if is_zlib or data.startswith(_GZIP_MAGIC[: len(data)]) else -zlib.MAX_WBITS


class _Brotli:
    """A body in brotli's format, https://www.rfc-editor.org/rfc/rfc7932."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        if not self._decompressor.can_accept_more_data():
            return self._decompressor.process(b"", output_buffer_limit=_MAX_PIECE_BYTES), data
        return self._decompressor.process(data, output_buffer_limit=_MAX_PIECE_BYTES), b""
