"""Decode plain texts and source code: UTF-8, UTF-16 with its mark, GB18030."""

import codecs
import re

from chat.attachments.decoder.results import Limits, Refused

# Characters that texts do not have; tabs, line ends, form feeds and the escapes of terminals are none of them.
_CONTROLS = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
# Share of such characters above which a file counts as binary.
_MOST_CONTROLS = 0.001
# Bytes of the longest character of GB18030, by which the size of a file may exceed its characters.
_BYTES_PER_CHAR = 4


def decoded(content: bytes, limits: Limits, media_type: str) -> str:
    """Return the text of a file; raise Refused, which names `media_type` for a binary one."""
    if len(content) > limits.max_chars * _BYTES_PER_CHAR:
        raise Refused("chars", str(limits.max_chars))
    text = _decoded(content, media_type)
    controls = len(_CONTROLS.findall(text))
    if controls > _MOST_CONTROLS * len(text):
        raise Refused("type", media_type)
    return bounded(_CONTROLS.sub("\ufffd", text) if controls else text, limits)


def bounded(text: str, limits: Limits) -> str:
    """Return a text with plain line ends; refuse an empty or a long one."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise Refused("empty")
    if len(text) > limits.max_chars:
        raise Refused("chars", str(limits.max_chars))
    return text


def _decoded(content: bytes, media_type: str) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content:
        raise Refused("type", media_type)
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Refused("type", media_type)
