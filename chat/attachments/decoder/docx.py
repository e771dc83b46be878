"""Read the text of DOCX documents, which are zip files of XML.

Only the parts with text are opened. They are decompressed piece by piece into a streaming parser, and a document type,
with which XML bombs begin, is refused. Nothing in a document is run, resolved or loaded.
"""

import io
import zipfile
from xml.parsers import expat

from chat.attachments.decoder import texts
from chat.attachments.decoder.results import Limits, Refused

_CONTENT_TYPES = "[Content_Types].xml"
_MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_NOTES = tuple(
    f"application/vnd.openxmlformats-officedocument.wordprocessingml.{name}+xml" for name in ("footnotes", "endnotes")
)
_MACROS = "application/vnd.ms-word.document.macroEnabled.12"
# Files in a document; ordinary ones have some dozens.
_MOST_ENTRIES = 5_000
_PIECE_BYTES = 64 * 1024
_TEXT_NAMESPACES = ("wordprocessingml/2006/main", "ooxml/wordprocessingml/main")


def text(content: bytes, media_type: str, limits: Limits) -> str:
    """Return a document's text; raise Refused, which names `media_type` for other zip files."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise Refused("type", media_type) from error
    if len(archive.infolist()) > _MOST_ENTRIES or _CONTENT_TYPES not in archive.namelist():
        raise Refused("type", media_type)
    budget = _Budget(limits.max_xml_bytes, limits.max_xml_elements)
    types = _Types()
    _parse(archive, _CONTENT_TYPES, types, budget)
    if "macroEnabled" in types.all or any("vbaproject" in name.lower() for name in archive.namelist()):
        raise Refused("type", _MACROS)
    main = types.parts.get(_MAIN)
    if main is None:
        raise Refused("type", media_type)
    found: list[str] = []
    for part in (main, *(types.parts[kind] for kind in _NOTES if kind in types.parts)):
        reader = _Text(limits)
        _parse(archive, part, reader, budget)
        found.append("".join(reader.pieces).strip("\n"))
    return texts.bounded("\n\n".join(filter(None, found)), limits)


class _Budget:
    """Decompressed bytes and elements that may still be read of one document."""

    def __init__(self, size: int, elements: int) -> None:
        self._size, self._elements = size, elements

    def spend(self, size: int) -> None:
        self._size -= size
        if self._size < 0:
            raise Refused("costly")

    def count_element(self) -> None:
        self._elements -= 1
        if self._elements < 0:
            raise Refused("costly")


class _Reader:
    """A target of the parser."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the beginning of an element, whose name follows its namespace and a space."""

    def end(self, name: str) -> None:
        """Take the end of an element."""

    def data(self, text: str) -> None:
        """Take text."""


class _Types(_Reader):
    """The parts of a document by their content type, and all types in one text."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.all = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        kind = attributes.get("ContentType", "")
        self.all += f" {kind}"
        if name.endswith(" Override"):
            self.parts.setdefault(kind, attributes.get("PartName", "").lstrip("/"))


class _Text(_Reader):
    """Collects the text of a part: paragraphs and table rows are lines."""

    def __init__(self, limits: Limits) -> None:
        self.pieces: list[str] = []
        self._limits, self._chars = limits, 0
        self._in_text = False
        # Depth of table cells, and of copies of a text for older programs.
        self._cells, self._fallbacks = 0, 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = _tag(name)
        if name.endswith(" Fallback"):
            self._fallbacks += 1
        elif tag == "t":
            self._in_text = True
        elif tag == "tc":
            self._cells += 1
        elif tag in {"br", "cr"}:
            self._add("\n")
        elif tag == "tab":
            self._add("\t")

    def end(self, name: str) -> None:
        tag = _tag(name)
        if name.endswith(" Fallback"):
            self._fallbacks -= 1
        elif tag == "t":
            self._in_text = False
        elif tag == "tc":
            self._cells -= 1
            self._add("\t")
        elif tag == "tr":
            self._add("\n")
        elif tag == "p":
            self._add(" " if self._cells else "\n")

    def data(self, text: str) -> None:
        if self._in_text:
            self._add(text)

    def _add(self, text: str) -> None:
        if self._fallbacks:
            return
        self.pieces.append(text)
        self._chars += len(text)
        if self._chars > self._limits.max_chars:
            raise Refused("chars", str(self._limits.max_chars))


def _tag(name: str) -> str:
    """Return the name of an element of a text; empty in another namespace."""
    namespace, _space, tag = name.rpartition(" ")
    return tag if namespace.endswith(_TEXT_NAMESPACES) else ""


def _parse(archive: zipfile.ZipFile, name: str, reader: _Reader, budget: _Budget) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_doctype

    def start(name: str, attributes: dict[str, str]) -> None:
        budget.count_element()
        reader.start(name, attributes)

    parser.StartElementHandler, parser.EndElementHandler = start, reader.end
    parser.CharacterDataHandler = reader.data
    try:
        with archive.open(name) as part:
            while piece := part.read(_PIECE_BYTES):
                budget.spend(len(piece))
                parser.Parse(piece, False)
        parser.Parse(b"", True)
    except (KeyError, zipfile.BadZipFile, expat.ExpatError) as error:
        raise Refused("damaged") from error


def _refuse_doctype(*_declaration: object) -> None:
    raise Refused("damaged")
