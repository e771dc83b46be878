"""Collect the pages that a completion cites, and check their addresses.

Adapters read their vendor's fields and add what they find. Addresses and titles come from the upstream, so only web
addresses pass, and both are bounded.
"""

from urllib.parse import urlsplit

from providers.wire.base import Source, Sources

# Pages of one completion at most; the rest is left out.
MAX_SOURCES = 100
# Characters of an address, which is left out when it is longer, and of a title, which is cut.
MAX_URL_CHARS, MAX_TITLE_CHARS = 2_048, 300

# Printable characters that no address contains. Browsers take a backslash for a slash, Python does not.
_NOT_IN_ADDRESSES = frozenset(' "<>\\')
# Marks without a width that the spelling of some languages needs; other unprintable characters are dropped.
_JOINERS = "\u200c\u200d"


def is_web_address(text: object) -> bool:
    """Return whether a text is an `http` or `https` address, fit for a link."""
    if not isinstance(text, str) or len(text) > MAX_URL_CHARS or not text.isprintable():
        return False
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (raises for a port that is none)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and _NOT_IN_ADDRESSES.isdisjoint(text)


def clean_title(text: object) -> str:
    """Return a title on one line, cut; empty for anything but text."""
    if not isinstance(text, str):
        return ""
    kept = (c for c in text[: 2 * MAX_TITLE_CHARS] if c.isprintable() or c.isspace() or c in _JOINERS)
    return " ".join("".join(kept).split())[:MAX_TITLE_CHARS].rstrip()


class SourceList:
    """The pages cited so far: each address once, in order.

    A page keeps the first title that it got. `changed` is whether there is more than at the last `event`.
    """

    __slots__ = ("_titles", "changed")

    def __init__(self) -> None:
        self.changed = False
        self._titles: dict[str, str] = {}

    def add(self, url: object, title: object = "") -> None:
        """Add a page, or the title that a page lacks.

        Anything but a web address is left out.
        """
        if not isinstance(url, str) or self._titles.get(url):
            return  # vendors repeat the whole list with every chunk
        if url not in self._titles and (len(self._titles) >= MAX_SOURCES or not is_web_address(url)):
            return
        cleaned = clean_title(title)
        if cleaned or url not in self._titles:
            self._titles[url] = cleaned
            self.changed = True

    @property
    def any(self) -> bool:
        """Whether a page was added."""
        return bool(self._titles)

    def event(self) -> Sources:
        """Return all pages as an event."""
        self.changed = False
        return Sources(tuple(Source(url, title) for url, title in self._titles.items()))
