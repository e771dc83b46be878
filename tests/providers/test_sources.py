"""Pages that completions cite, read from every shape in use, bounded and safe to show."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.wire.base import Delta, Endpoint, Event, Finished, Source, Sources
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.citations import add_citations
from providers.wire.openai.decoder import Decoder
from providers.wire.sources import MAX_SOURCES, MAX_TITLE_CHARS, MAX_URL_CHARS, SourceList, clean_title, is_web_address
from providers.wire.spark.frames import Decoder as SparkDecoder
from tests.scenarios import delta_bytes, event_bytes

DONE = b"data: [DONE]\n\n"
A, B = "https://a.example/1", "http://b.example/2?q=x"
PAGES = (Source(A, "First"), Source(B, "Second"))
TITLED = [{"title": "First", "url": A, "date": "2026-01-01"}, {"title": "Second", "url": B}]
ANNOTATIONS = [
    {"type": "url_citation", "url_citation": {"url": page.url, "title": page.title, "start_index": 0, "end_index": 3}}
    for page in PAGES
]


def cited(chunk: dict[str, Any]) -> tuple[Source, ...]:
    """Return the pages of one chunk."""
    sources = SourceList()
    add_citations(chunk, sources)
    return sources.event().items


def decode(*reads: bytes) -> list[Event]:
    decoder = Decoder(OpenAICompatible(Endpoint("http://upstream.invalid/v1")))
    return [event for read in reads for event in decoder.feed(read)] + decoder.flush()


@pytest.mark.parametrize(
    "chunk",
    [
        {"citations": [A, B], "search_results": TITLED},
        {"search_results": TITLED},
        {"web_search": [{"title": "First", "link": A, "media": "m", "refer": "ref_1"}, {"title": "Second", "link": B}]},
        {"references": TITLED},
        {"search_info": {"search_results": [{"index": 1, **each} for each in TITLED]}},
        {"choices": [{"delta": {"annotations": ANNOTATIONS}}]},
        {"choices": [{"message": {"content": "x", "annotations": ANNOTATIONS}}]},
        {"choices": [{"delta": {"annotations": [{"type": "url_citation", **each} for each in TITLED]}}]},
        {"choices": [{"message": {"context": {"citations": TITLED}}}]},
        {"choices": [{"grounding_metadata": {"groundingChunks": [{"web": {"uri": u, "title": t}} for u, t in PAGES]}}]},
        {"vertex_ai_grounding_metadata": [{"groundingChunks": [{"web": {"uri": u, "title": t}} for u, t in PAGES]}]},
        {"choices": [{"delta": {"plugins_content": orjson.dumps(TITLED).decode()}}]},
        {"plugins": {"text": [{"name": "ifly_search", "content": orjson.dumps(TITLED).decode()}]}},
    ],
)
def test_every_shape(chunk: dict[str, Any]) -> None:
    """Each vendor's and relay's field gives the same two pages."""
    assert cited(chunk) == PAGES


@pytest.mark.parametrize(
    "chunk",
    [
        {"citations": {"a": 1}, "search_results": "https://x.example/", "web_search": 7, "search_info": [None]},
        {"citations": [None, 3, "no address", {"title": "no url"}, {"url": 5}, {"url": None}, [A]]},
        {"choices": [{"delta": {"annotations": [{"url_citation": None}, {"type": "file", "file": {}}]}}, None]},
        {"plugins": {"text": [{"content": "{broken"}, {"content": None}, "x"]}},
        {"choices": {"delta": {"annotations": []}}},
    ],
)
def test_odd_shapes_have_no_pages(chunk: dict[str, Any]) -> None:
    """Odd members are passed over."""
    assert cited(chunk) == ()


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " https://a.example/",
        "https://a.example/\n",
        "data:text/html,<script>",
        "ftp://a.example/",
        "//a.example/",
        "https:///path",
        "https://",
        "http://[::1",
        "http://a.example:port/",
        'https://a.example/"onmouseover="x',
        "https://a.example/<b>",
        "https://good.example\\@bad.example/",
        "https://a.example/\u202egnp",
        "https://a.example/\ud800",
        "https://a.example/" + "x" * MAX_URL_CHARS,
        None,
        7,
    ],
)
def test_what_is_no_web_address_is_left_out(url: object) -> None:
    """Only short printable `http` and `https` addresses with a host pass."""
    assert not is_web_address(url)
    assert cited({"search_results": [{"url": url, "title": "x"}]}) == ()


@pytest.mark.parametrize("url", ["HTTPS://A.example", "http://127.0.0.1:8000/", "https://例子.example/路径?词=一#二"])
def test_web_addresses(url: str) -> None:
    """Other scripts, ports and capitals are fine."""
    assert is_web_address(url)


@given(st.text(max_size=1_000))
def test_titles_are_one_short_line(title: str) -> None:
    """Whatever the upstream sends, a title is one line that every store and page takes."""
    cleaned = clean_title(title)
    assert len(cleaned) <= MAX_TITLE_CHARS
    assert all(character.isprintable() or character in "\u200c\u200d" for character in cleaned)
    cleaned.encode()
    assert clean_title(cleaned) == cleaned


def test_pages_are_listed_once_in_order_and_bounded() -> None:
    """A page keeps its place and its first title; the list has an end."""
    sources = SourceList()
    for number in range(2 * MAX_SOURCES):
        sources.add(f"https://a.example/{number % 150}", "" if number < MAX_SOURCES else f"Title {number}")

    items = sources.event().items

    assert len(items) == MAX_SOURCES
    assert [page.url for page in items] == [f"https://a.example/{number}" for number in range(MAX_SOURCES)]
    assert items[0].title == "Title 150"
    assert items[60].title == ""


def test_each_change_is_one_event() -> None:
    """A list that every chunk repeats is one event; one that grows is another, with all of it."""
    first, both = [A], [A, B]
    chunk = [event_bytes(choices=[{"delta": {"content": "x"}}], citations=each) for each in (first, first, both)]

    events = decode(*chunk, event_bytes(choices=[{"delta": {}, "finish_reason": "stop"}], citations=both), DONE)

    assert events == [
        *(Delta("x"), Sources((Source(A),)), Delta("x"), Delta("x")),
        *(Sources((Source(A), Source(B))), Finished("stop")),
    ]


def test_pages_after_the_finish_reason_count() -> None:
    """Vendors that list the pages last are read as well."""
    finish = event_bytes(choices=[{"delta": {}, "finish_reason": "stop"}])

    events = decode(delta_bytes(content="x"), finish, event_bytes(choices=[], search_results=TITLED), DONE)

    assert events == [Delta("x"), Sources(PAGES), Finished("stop")]


def test_an_address_in_the_text_is_no_source() -> None:
    """Text with an address stays text."""
    assert decode(delta_bytes(content=f"see {A}") + DONE) == [Delta(f"see {A}"), Finished("stop")]


def test_a_whole_completion_has_its_pages() -> None:
    """A completion in one piece is read as well."""
    choice = {"message": {"content": "x", "annotations": ANNOTATIONS}, "finish_reason": "stop"}

    assert decode(event_bytes(choices=[choice]) + DONE) == [Delta("x"), Sources(PAGES), Finished("stop")]


def test_pages_of_spark() -> None:
    """Spark's frame of search references becomes an event."""
    plugins = {"text": [{"name": "ifly_search", "content": orjson.dumps(TITLED).decode(), "role": "assistant"}]}
    frame = orjson.dumps({"header": {"code": 0, "sid": "s", "status": 0}, "payload": {"plugins": plugins}})

    assert SparkDecoder().feed(frame) == [Sources(PAGES)]
