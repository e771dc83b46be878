"""Read the text of PDF documents."""

import io
import logging

from chat.attachments.decoder import texts
from chat.attachments.decoder.results import Limits, Refused


def text(content: bytes, limits: Limits) -> str:
    """Return the text of all pages; raise Refused."""
    from pypdf import PdfReader  # noqa: PLC0415  (it takes 100 ms to import)

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("locked")
    # The document's own count, before its pages are read.
    if reader.get_num_pages() > limits.max_pages or len(reader.pages) > limits.max_pages:
        raise Refused("pages", str(limits.max_pages))
    pages: list[str] = []
    chars = 0
    for page in reader.pages:
        pages.append(page.extract_text().replace("\0", ""))
        chars += len(pages[-1])
        if chars > limits.max_chars:
            raise Refused("chars", str(limits.max_chars))
    # Fonts without a table of characters yield halves of pairs, which are no text.
    joined = "\n\n".join(pages).encode("utf-8", "replace").decode()
    return texts.bounded(joined, limits)
