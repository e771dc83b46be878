"""A part of Markdown for short texts of staff: bold, italic, code, links.

Everything is escaped first of all, so no text becomes another element.
"""

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`|\*\*(?P<bold>[^\n]+?)\*\*|\*(?P<italic>[^*\n]+)\*"
    r"|\[(?P<label>[^\]\n]+)\]\((?P<url>(?:https?://|mailto:|/(?!/))[^\s()<>\"]*)\)"
)


def render(text: str) -> SafeString:
    """Return HTML with a paragraph for each block, and line breaks within."""
    blocks = re.split(r"\n\s*\n", text.strip().replace("\r\n", "\n"))
    return mark_safe("".join(f"<p>{_inline(block).replace(chr(10), '<br>')}</p>" for block in blocks if block))  # noqa: S308 - each piece is escaped


def plain(text: str) -> str:
    """Return the text without its marks."""
    return _INLINE.sub(lambda found: next(part for part in found.groups() if part is not None), text)


def _inline(text: str) -> str:
    pieces, end = [], 0
    for found in _INLINE.finditer(text):
        pieces += [escape(text[end : found.start()]), _element(found)]
        end = found.end()
    return "".join([*pieces, escape(text[end:])])


def _element(found: re.Match[str]) -> str:
    if found["code"]:
        return f"<code>{escape(found['code'])}</code>"
    if found["bold"]:
        return f"<strong>{_inline(found['bold'])}</strong>"
    if found["italic"]:
        return f"<em>{_inline(found['italic'])}</em>"
    elsewhere = ' target="_blank" rel="noopener noreferrer"' if found["url"].startswith("http") else ""
    return f'<a href="{escape(found["url"])}"{elsewhere}>{escape(found["label"])}</a>'
