"""The front-end bundle: names, compressed copies, caching, weight; and which pages are compressed."""

import gzip
import re
from pathlib import Path

import brotli
import orjson
import pytest
from django.conf import settings
from django.templatetags.static import static

from tests.product import Product

BUNDLE = Path(settings.BASE_DIR, "chat/static/chat")
ENTRIES = orjson.loads((BUNDLE / "bundle.json").read_bytes())
# Bytes of the chat page's scripts, compressed with gzip, that are loaded before the page works.
MOST_SCRIPT_BYTES = 75_000


def test_the_first_page_is_light() -> None:
    """The scripts that the chat page needs to start weigh at most 75 kB gzipped."""
    entry = ENTRIES["chat.js"]
    files = [entry["file"], *entry["imports"]]
    assert sum(len(gzip.compress((BUNDLE / name).read_bytes())) for name in files) <= MOST_SCRIPT_BYTES


def test_stable_names_lead_to_files() -> None:
    """Every entry and every chunk that it imports is a file whose name has a hash."""
    for name, entry in ENTRIES.items():
        assert static(f"chat/{name}") == f"/static/chat/{entry['file']}"
        for file in (entry["file"], *entry["imports"]):
            assert (BUNDLE / file).is_file()
            assert re.search(settings.WHITENOISE_IMMUTABLE_FILE_TEST, f"/static/chat/{file}")
    assert static("admin/css/base.css") == "/static/admin/css/base.css"


def test_compressed_copies_have_the_same_content() -> None:
    """Each text above a thousand bytes has two compressed copies, with its own content."""
    texts = [
        path for path in BUNDLE.rglob("*") if path.suffix in {".js", ".css", ".svg"} and path.stat().st_size >= 1000
    ]
    assert texts
    for path in texts:
        assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == path.read_bytes()
        assert brotli.decompress(path.with_name(f"{path.name}.br").read_bytes()) == path.read_bytes()


@pytest.mark.parametrize(("accepted", "sent"), [("br, gzip", "br"), ("gzip", "gzip"), ("identity", None)])
def test_files_are_sent_compressed_and_kept_for_ever(product: Product, accepted: str, sent: str | None) -> None:
    """A file of the bundle comes in the best coding that the browser takes, and is never asked for again."""
    response = product.client().get(static("chat/chat.js"), headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == sent
    assert response.headers["Vary"] == "Accept-Encoding"
    assert "immutable" in response.headers["Cache-Control"]
    assert response.content == (BUNDLE / ENTRIES["chat.js"]["file"]).read_bytes()


def test_a_page_names_the_chunks_of_its_script(product: Product) -> None:
    """The chat page asks for its script's chunks at once, instead of after the script."""
    page = product.browser(product.register("preloads").name).get("/").text
    preloaded = re.findall(r'rel="modulepreload" href="([^"]+)"', page)
    assert {f"/static/chat/{file}" for file in ENTRIES["chat.js"]["imports"]} <= set(preloaded)


def test_only_pages_that_repeat_nothing_are_compressed(product: Product) -> None:
    """A page is compressed unless its request has a query, which the page may repeat beside a secret."""
    client = product.client()
    client.headers["Accept-Encoding"] = "gzip"
    plain = client.get("/accounts/login/")
    assert plain.headers["Content-Encoding"] == "gzip"
    assert "accept-encoding" in plain.headers["Vary"].lower()
    assert int(plain.headers["Content-Length"]) < len(plain.content)
    assert "Content-Encoding" not in client.get("/accounts/login/?next=/c/1/").headers
    assert "Content-Encoding" not in client.get("/accounts/login/", headers={"Accept-Encoding": "gzip;q=0"}).headers
    assert "Content-Encoding" not in client.post("/accounts/login/", data={}).headers
