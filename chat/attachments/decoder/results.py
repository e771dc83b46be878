"""Define what files become, why one is refused, and how processes exchange both."""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

Kind = Literal["image", "text"]
# `type`: no such files. `damaged`: not what it seems to be. `pixels`, `pages`, `chars`: more than the limit.
# `costly`: it takes too much memory or time. `locked`: protected by a password. `empty`: no text in it.
Reason = Literal["type", "damaged", "pixels", "pages", "chars", "costly", "locked", "empty"]

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as PNG, JPEG or WebP, or a text in UTF-8.

    The `media_type` of a text is that of the uploaded file."""

    kind: Kind
    media_type: str
    content: bytes


class Refused(Exception):  # noqa: N818
    """A refused file; `subject` is its media type, or the limit that it exceeds."""

    def __init__(self, reason: Reason, subject: str = "") -> None:
        super().__init__(reason, subject)
        self.reason, self.subject = reason, subject


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of single files, and of the process that decodes them."""

    # Pixels of a picture as uploaded, which its header states: 50 million take 200 MB while they are decoded.
    max_pixels: int = 50_000_000
    # Pixels of a side of a picture as it is kept.
    max_side: int = 2_048
    # Bytes of a picture as it is kept: in base64, vendors take up to five million.
    max_image_bytes: int = 3_500_000
    max_pages: int = 2_000
    max_chars: int = 500_000
    # Bytes of the XML parts of one document, decompressed, and elements of them.
    max_xml_bytes: int = 32 * 2**20
    max_xml_elements: int = 1_000_000
    # Seconds of processor time and bytes of memory that the whole process may use.
    cpu_seconds: int = 20
    memory_bytes: int = 2**30


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class File:
    """A file to decode.

    With `media_type` it is a picture that was decoded before, and is only checked."""

    name: str
    content: bytes
    media_type: str = ""


def write_files(files: Sequence[File]) -> bytes:
    """Return the input of the process."""
    return _framed([[file.name, file.media_type] for file in files], [file.content for file in files])


def read_files(stream: IO[bytes]) -> list[File]:
    heads, contents = _unframed(stream)
    return [File(name, content, media) for (name, media), content in zip(heads, contents, strict=True)]


def write_results(results: Sequence[Decoded | Refused]) -> bytes:
    """Return the output of the process."""
    heads, contents = [], []
    for result in results:
        if isinstance(result, Decoded):
            contents.append(result.content)
            heads.append({**asdict(result), "content": None})
        else:
            contents.append(b"")
            heads.append({"reason": result.reason, "subject": result.subject})
    return _framed(heads, contents)


def read_results(stream: IO[bytes]) -> list[Decoded | Refused]:
    """Return the results in the order of the files; raise ValueError for incomplete output."""
    results: list[Decoded | Refused] = []
    for head, content in zip(*_unframed(stream), strict=True):
        if "reason" in head:
            results.append(Refused(head["reason"], head["subject"]))
        else:
            results.append(Decoded(head["kind"], head["media_type"], content))
    return results


def _framed(heads: Sequence[Any], contents: Sequence[bytes]) -> bytes:
    head = json.dumps([heads, [len(content) for content in contents]]).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *contents])


def _unframed(stream: IO[bytes]) -> tuple[list[Any], list[bytes]]:
    prefix = stream.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise ValueError("no output")
    heads, sizes = json.loads(stream.read(_LENGTH.unpack(prefix)[0]))
    contents = [stream.read(size) for size in sizes]
    if [len(content) for content in contents] != sizes:
        raise ValueError("incomplete")
    return heads, contents
