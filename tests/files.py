"""Files as users upload them, and hostile ones: pictures, documents, bombs."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

_CONTENT_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Override PartName="/word/document.xml" ContentType="{main}"/></Types>"""
DOCX_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
DOCM = "application/vnd.ms-word.document.macroEnabled.12"
DOCM_MAIN = "application/vnd.ms-word.document.macroEnabled.main+xml"
_BODY = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'


def picture(form: str = "PNG", size: tuple[int, int] = (40, 20), mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture whose left half is red and whose right half is blue."""
    image = Image.new(mode, size, "blue")
    image.paste(Image.new(mode, (size[0] // 2, size[1]), "red"), (0, 0))
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def photo(orientation: int, size: tuple[int, int] = (40, 20)) -> bytes:
    """Return a JPEG with an orientation, and the place where it was taken."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "SECRET-CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    return picture("JPEG", size, exif=exif)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that states a size and has hardly any pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def pdf(pages: Sequence[str], *, count: int | None = None) -> bytes:
    """Return a PDF with one line on each page; `count` is the number of pages that it states."""
    numbers = [4 + 2 * place for place in range(len(pages))]
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count or len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, line in zip(numbers, pages, strict=True):
        drawn = f"BT /F1 12 Tf 50 700 Td ({line}) Tj ET".encode()
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawn), drawn))
    return _pdf_of(objects)


def locked_pdf() -> bytes:
    """Return a PDF that only a password opens."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf(["secret"]))))
    writer.encrypt("a password", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


def animation(frames: int) -> bytes:
    """Return a GIF of several frames that repeats for ever."""
    first, *others = [Image.new("P", (300, 300), place % 255) for place in range(frames)]
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=others, loop=0)
    return stream.getvalue()


def pdf_bomb(levels: int = 3, size: int = 200 * 2**20) -> bytes:
    """Return a PDF whose only page is compressed several times over."""
    drawn = zlib.compress(b"0 0 m " * (size // 6), 9)
    for _level in range(levels - 1):
        drawn = zlib.compress(drawn, 9)
    filters = " ".join(["/FlateDecode"] * levels)
    return _pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>",
            b"<< /Length %d /Filter [%b] >>\nstream\n%b\nendstream" % (len(drawn), filters.encode(), drawn),
        ]
    )


def _pdf_of(objects: Sequence[bytes]) -> bytes:
    written, places = io.BytesIO(), []
    written.write(b"%PDF-1.4\n")
    for number, content in enumerate(objects, 1):
        places.append(written.tell())
        written.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    start = written.tell()
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    written.write(b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, table))
    written.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return written.getvalue()


def docx(*paragraphs: str, body: str = "", main: str = DOCX_MAIN, extra: dict[str, bytes] | None = None) -> bytes:
    """Return a DOCX document; `body` is XML of its text in place of paragraphs."""
    made = body or "".join(f"<w:p><w:r><w:t>{each}</w:t></w:r></w:p>" for each in paragraphs)
    document = made if made.startswith("<!DOCTYPE") else _BODY.format(made)
    return archive(
        {"[Content_Types].xml": _CONTENT_TYPES.format(main=main), "word/document.xml": document, **(extra or {})}
    )


def archive(members: dict[str, str | bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return stream.getvalue()
