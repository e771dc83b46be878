"""Recognise a file by its first bytes, never by its name, and decode it accordingly."""

import mimetypes
import re

from chat.attachments.decoder import docx, images, pdf, texts
from chat.attachments.decoder.results import Decoded, File, Limits, Refused

PDF, DOCX = "application/pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# Media types of texts by the ending of the name; all other texts, source code among them, are plain.
TEXTS = {"md": "text/markdown", "markdown": "text/markdown", "csv": "text/csv", "json": "application/json"}
MEDIA_TYPES = frozenset({PDF, DOCX, "text/plain", *TEXTS.values()})

# Files that are recognised in order to name them in the refusal: first bytes, media type.
_REFUSED = (
    (b"MZ", "application/x-msdownload"),
    (b"\x7fELF", "application/x-executable"),
    (b"\xca\xfe\xba\xbe", "application/x-mach-binary"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"Rar!", "application/vnd.rar"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "application/ogg"),
    (b"{\\rtf", "application/rtf"),
    (b"%!PS", "application/postscript"),
)
# What stands before the root is never read twice (`*+`), or many comments would take exponential time.
_SVG = re.compile(rb"(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>|\s+)*+<(?:\w+:)?svg\b", re.DOTALL)


def decoded(file: File, limits: Limits) -> Decoded:
    """Return what a file becomes; raise Refused."""
    content = file.content
    if media_type := images.media_type(content):
        return images.decoded(content, media_type, limits)
    if content.startswith(b"%PDF-"):
        return Decoded("text", PDF, pdf.text(content, limits).encode())
    if content.startswith(b"PK\x03\x04"):
        return Decoded("text", DOCX, docx.text(content, _guessed(file.name, "application/zip"), limits).encode())
    if refused := _refused_type(content):
        raise Refused("type", refused)
    text = texts.decoded(content, limits, _guessed(file.name, "application/octet-stream"))
    return Decoded("text", TEXTS.get(_ending(file.name), "text/plain"), text.encode())


def recognised(content: bytes) -> str:
    """Return the media type of a picture, PDF or DOCX file; empty for others."""
    if kind := images.media_type(content):
        return kind
    return PDF if content.startswith(b"%PDF-") else DOCX if content.startswith(b"PK") else ""


def checked(file: File, limits: Limits) -> Decoded:
    """Return a picture unchanged if it is one that `decoded` may have made; raise Refused."""
    if images.media_type(file.content) != file.media_type:
        raise Refused("damaged")
    images.check(file.content, file.media_type, limits)
    return Decoded("image", file.media_type, file.content)


def _refused_type(content: bytes) -> str:
    """Return the media type of a file that is not taken; empty for others."""
    if content[4:8] == b"ftyp":
        return "image/heic" if content[8:12] in {b"heic", b"heix", b"mif1", b"heim", b"hevc"} else "video/mp4"
    if _SVG.match(content[:4096].removeprefix(b"\xef\xbb\xbf")):
        return "image/svg+xml"
    # Programs and pictures have bytes that no text has; a text may begin with the same two letters.
    is_binary = b"\0" in content[:4096]
    return next((kind for first, kind in _REFUSED if content.startswith(first) and (is_binary or len(first) > 3)), "")


def _guessed(name: str, otherwise: str) -> str:
    return mimetypes.guess_type(name)[0] or otherwise


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()
