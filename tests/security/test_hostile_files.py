"""Hostile files: refused by name or inert, within bounded memory and time, while the service goes on."""

import io
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpx
import pytest

from chat.attachments.decoder import files
from chat.attachments.decoder.results import LIMITS, Decoded, File, Refused, read_results, write_files
from tests import files as made
from tests.product import ApiUser, Product
from tests.readers import wait_until
from tests.servers import ROOT

pytestmark = pytest.mark.server

# MiB of memory that a decoding may take at its peak. No file here comes near the child's own limit.
MOST_MIB = 600
# Decodes as the product does, then reports the peak of its memory.
MEASURED = """
import sys
from chat.attachments.decoder.__main__ import main
main()
print(open("/proc/self/status").read(), file=sys.stderr)
"""
_LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
BILLION_LAUGHS = f'<!DOCTYPE x [<!ENTITY a0 "ha">{_LAUGHS}]><x>&a9;</x>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
SCRIPT = "<script>alert(1)</script>"
PIXELS, PAGES, CHARS = str(LIMITS.max_pixels), str(LIMITS.max_pages), str(LIMITS.max_chars)


@cache
def refused_files() -> dict[str, tuple[bytes, str, str]]:
    """Return reason and subject of the refusal of each file, by its name."""
    return {
        "picture.svg": (f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode(), "type", "image/svg+xml"),
        "a.txt": (f"\ufeff<?xml version='1.0'?>\n<!-- x --><svg>{SCRIPT}</svg>".encode(), "type", "image/svg+xml"),
        "a.exe": (b"MZ\x90\0" + b"\0\1\2\3" * 500, "type", "application/x-msdownload"),
        "program.png": (b"\x7fELF\2\1\1\0" + b"\0" * 500, "type", "application/x-executable"),
        "old.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "type", "application/x-ole-storage"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 500, "type", "image/heic"),
        "files.zip": (made.archive({"a.txt": "x"}), "type", "application/zip"),
        "macros.docm": (made.docx("Hello", main=made.DOCM_MAIN), "type", made.DOCM),
        "macros.docx": (made.docx("Hello", extra={"word/vbaProject.bin": b"x"}), "type", made.DOCM),
        "noise.txt": (bytes(range(256)) * 40, "type", "text/plain"),
        "noise": (bytes(range(1, 32)) * 40, "type", "application/octet-stream"),
        "cut.png": (made.picture()[:60], "damaged", "image/png"),
        "entities.docx": (made.docx(body=BILLION_LAUGHS), "damaged", ""),
        "outside.docx": (made.docx(body=OUTSIDE), "damaged", ""),
        "bomb.png": (made.png_header(60_000, 60_000), "pixels", PIXELS),
        "wide.png": (made.png_header(2**31 - 1, 1), "pixels", PIXELS),
        "empty-elements.docx": (made.docx(body="<w:p>" + "<w:r></w:r>" * 1_100_000 + "</w:p>"), "costly", ""),
        "long.docx": (made.docx("x" * 20_000_000), "chars", CHARS),
        "pages.pdf": (made.pdf(["x"] * 3_000), "pages", PAGES),
        "modest.pdf": (made.pdf(["x"] * 3_000, count=3), "pages", PAGES),
        "compressed.pdf": (made.pdf_bomb(), "empty", ""),
        "locked.pdf": (made.locked_pdf(), "locked", ""),
        "long.txt": (b"x" * (LIMITS.max_chars + 1), "chars", CHARS),
        "blank.txt": (b" \n", "empty", ""),
    }


@cache
def inert_files() -> dict[str, tuple[bytes, bytes]]:
    """Return files that are taken, and what is never in what they become."""
    return {
        "page.html": (f"<!doctype html>{SCRIPT}".encode(), b"\0"),
        "script.gif": (made.picture("GIF", mode="P") + SCRIPT.encode(), SCRIPT.encode()),
        "script.jpg": (made.picture("JPEG", comment=SCRIPT.encode()) + SCRIPT.encode(), SCRIPT.encode()),
        "camera.jpg": (made.photo(6), b"SECRET-CAMERA"),
        "animation.gif": (made.animation(200), b"NETSCAPE"),
        "archive.png": (made.picture() + made.archive({"a.html": SCRIPT}), b"PK\x03\x04"),
        "claims.pdf": (made.pdf(["x"] * 3, count=100_000), b"%PDF"),
        "large.png": (made.picture("PNG", (7_000, 7_000), "L"), b"\0\0\x1b\x58"),
    }


def measured(*files: File) -> tuple[list[object], float]:
    """Decode files as the product does; return the results, and the peak of memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], input=write_files(files), capture_output=True, check=False, cwd=ROOT
    )
    peak = re.search(rb"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak, done.stderr
    return [*read_results(io.BytesIO(done.stdout))], int(peak[1]) / 1024


def test_hostile_files_are_refused_within_bounded_memory() -> None:
    """Each file is refused for its reason; the process has its limits of time, and its memory stays bounded."""
    results, mebibytes = measured(
        *(File(name, content) for name, (content, _reason, _subject) in refused_files().items())
    )
    found = {name: (each.reason, each.subject) for name, each in zip(refused_files(), results, strict=True)}
    assert found == {name: (reason, subject) for name, (_content, reason, subject) in refused_files().items()}
    assert mebibytes < MOST_MIB


def test_other_files_become_inert() -> None:
    """Polyglots, animations and pictures with metadata become plain pictures and texts."""
    results, mebibytes = measured(*(File(name, content) for name, (content, _never) in inert_files().items()))
    for (name, (_content, never)), result in zip(inert_files().items(), results, strict=True):
        assert isinstance(result, Decoded), name
        assert never not in result.content, name
    assert mebibytes < MOST_MIB


@pytest.mark.parametrize("start", [b"<!-- -->" * 24, b" " * 4_000, b"<!DOCTYPE a [" + b"] " * 2_000, b"<?xml?>" * 500])
def test_types_are_recognised_in_linear_time(start: bytes) -> None:
    """Comments, spaces and declarations before the root are read once, whether an SVG image follows or not."""
    before = time.process_time()
    assert isinstance(files.decoded(File("a.txt", start + b"x"), LIMITS), Decoded)
    if b"[" not in start:
        with pytest.raises(Refused) as refused:
            files.decoded(File("a.txt", start + b"<svg/>"), LIMITS)
        assert refused.value.subject == "image/svg+xml"
    assert time.process_time() - before < 1


def upload(user: ApiUser, name: str, content: bytes) -> httpx.Response:
    return user.client.post("/api/attachments/", files={"file": (name, content)}, timeout=120)


def place(product: Product, response: httpx.Response) -> int:
    """Wait for the log line of a request; return its place in the log."""
    name = f'"{response.headers["X-Request-ID"]}"'

    def found() -> list[int]:
        lines = enumerate(product.output.splitlines())
        return [number for number, line in lines if name in line and '"event":"request"' in line]

    wait_until(lambda: bool(found()))
    return found()[0]


def test_the_service_goes_on_while_it_decodes(product: Product) -> None:
    """Costly files of one user are refused by name; meanwhile the process responds, and others upload."""
    user, other = product.register("hostile"), product.register("patient")
    costly = refused_files()["empty-elements.docx"][0]
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(upload, user, "a.docx", costly) for _upload in range(3)]
        done = upload(other, "a.txt", b"Hello")
        assert done.status_code == 201, done.text
        refusals = [each.result() for each in running]
    for refused in refusals:
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    # The order in which the product has responded; the test may learn of it late.
    assert place(product, done) < max(place(product, refused) for refused in refusals)
    named = upload(user, "picture.png", refused_files()["picture.svg"][0]).json()["error"]
    assert "image/svg+xml" in named["details"]["file"][0]


def test_content_is_served_inert(product: Product) -> None:
    """A text that is a page is served as plain text, which no browser runs."""
    user = product.register("inert")
    made_of = upload(user, 'a"\r\n/../<b>.html', inert_files()["page.html"][0]).json()
    content = user.client.get(f"/api/attachments/{made_of['id']}/content/")
    assert content.content == inert_files()["page.html"][0]
    assert content.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert content.headers["X-Content-Type-Options"] == "nosniff"
    assert content.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert content.headers["Cache-Control"] == "no-store"
    assert content.headers["Content-Disposition"] == f'inline; filename="attachment-{made_of["id"]}.txt"'
