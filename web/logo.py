"""The image file of the site's logo."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

# Bytes of the file at most; each page loads it.
MOST_BYTES = 512 * 1024
_SIGNATURES = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): "image/png",
    re.compile(rb"\xff\xd8\xff"): "image/jpeg",
    re.compile(rb"RIFF....WEBP", re.DOTALL): "image/webp",
}
_SVG = re.compile(rb"\s*(?:<\?xml[^>]*\?>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg[\s>]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Logo:
    """The file's bytes, its type, and a digest for its address."""

    data: bytes = field(repr=False)
    media_type: str
    digest: str

    @property
    def is_svg(self) -> bool:
        return self.media_type == "image/svg+xml"


def read(path: Path) -> Logo:
    """Return the logo in a file; raise ValueError that says what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read ({type(error).__name__})") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES // 1024} KiB")
    found = [kind for start, kind in _SIGNATURES.items() if start.match(data)]
    if not found and _SVG.match(data.removeprefix(b"\xef\xbb\xbf")):
        found = ["image/svg+xml"]
    if not found:
        raise ValueError("not an SVG, PNG, WebP or JPEG file")
    return Logo(data, found[0], hashlib.sha256(data).hexdigest()[:16])
