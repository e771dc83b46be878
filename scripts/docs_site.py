"""A hook of mkdocs: the site shows the documents of the project's root beside those of docs/.

Links in the documents are relative to the repository. This hook rewrites links between documents, and turns links to
code and folders, which the site does not have, into plain text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# Documents of the root, by the name under which the site shows them.
PAGES = {
    "index.md": "README.md",
    **{name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")},
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's documents, and the decisions, which the navigation does not list one by one."""
    for name, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_relinked(text, source, name)))
    for file in files.documentation_pages():
        if file.src_uri.startswith("adr/"):
            file.inclusion = file.inclusion.NOT_IN_NAV
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of the pages under docs/."""
    uri = page.file.src_uri  # type: ignore[attr-defined]
    return markdown if uri in PAGES else _relinked(markdown, f"docs/{uri}", uri)


def _relinked(text: str, source: str, page: str) -> str:
    shown = {f"docs/{path.relative_to(ROOT / 'docs').as_posix()}" for path in (ROOT / "docs").rglob("*.*")}
    by_source = {source: name for name, source in PAGES.items()} | {path: path.removeprefix("docs/") for path in shown}

    def rewrite(link: re.Match[str]) -> str:
        picture, label, path, anchor = link[1], link[2], link[3], link[4] or ""
        target = by_source.get(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if target is None:
            return label
        return f"{picture}[{label}]({posixpath.relpath(target, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(rewrite, text)
