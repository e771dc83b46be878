"""One word per thing, in plain English: avoided words, and the length of docstrings' first lines.

The tests read comments and docstrings of Python, comments of JavaScript and CSS, templates and documents. Decisions are
never rewritten, so those from before the style guide are left as they are.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("accounts", "chat", "chatproject", "providers", "quotas", "runtime", "web")
FIRST_LINE_WORDS = 15
# Each avoided word with what to write instead.
AVOIDED = {
    r"whoever|nobody|somebody|everybody|anybody": "name the actor: user, client, reader, worker, process",
    r"persons?|people": "user",
    r"books": "ledger",
    r"doors?": "executor, entry point or route",
    r"told": "sent, published or informed",
    r"nonsense": "say what is wrong with the value",
    r"wake-ups?|wakeups?": "notification, publish",
    r"(?:an|the|this|that|each|every|its|their|whole|running|streamed|short|stored) answers?": "completion, response",
}
PATTERN = re.compile("|".join(rf"\b(?:{words})\b" for words in AVOIDED), re.IGNORECASE)
# A sentence names its actor; these words hide it.
OPENING = re.compile(r"(?:^|[.:;] +|\n *)(?:Who|Whoever|What|Nobody|Somebody|Everybody)\b(?![^.]*\?)")
BEFORE_THE_STYLE_GUIDE = 14


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts]
    return sorted(found)


def comments(path: Path) -> Iterator[str]:
    """Yield the comments of a Python module."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("# noqa"):
            yield token.string.lstrip("# ")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a Python module with their line numbers."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def prose(path: Path) -> Iterator[str]:
    """Yield the texts of a file that people write for people."""
    text = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".py":
            yield from comments(path)
            yield from (docstring for _line, docstring in docstrings(path))
        case ".js" | ".css":
            yield from re.findall(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", text, re.DOTALL)
        case ".md":
            yield re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
        case _:
            yield text


def documents() -> list[Path]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    return sorted(
        found + [path for path in (ROOT / "docs/adr").glob("*.md") if int(path.name[:4]) > BEFORE_THE_STYLE_GUIDE]
    )


def written() -> list[Path]:
    """Return all files whose prose is checked."""
    front_end = [*(ROOT / "frontend/src").rglob("*.js"), *(ROOT / "frontend/styles").rglob("*.css")]
    templates = [path for path in (ROOT / "templates").rglob("*.*") if path.suffix in {".html", ".txt"}]
    return [*python_files(*PACKAGES, "benchmarks", "scripts", "tests"), *front_end, *templates, *documents()]


def test_prose_uses_the_glossary() -> None:
    """No avoided word stands in what is written for people; the style guide says what to write instead."""
    found = {
        path.relative_to(ROOT).as_posix(): [match[0] for text in prose(path) for match in PATTERN.finditer(text)]
        for path in written()
        # Tokenizing all modules would take seconds, and few contain an avoided word anywhere.
        if path != Path(__file__) and PATTERN.search(path.read_text(encoding="utf-8"))
    }
    assert {name: words for name, words in found.items() if words} == {}


def test_docstrings_begin_with_a_short_line() -> None:
    """The first line of a docstring has at most fifteen words, and names its actor."""
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {text}"
        for path in python_files(*PACKAGES)
        for line, text in docstrings(path)
        if len(text.partition("\n")[0].split()) > FIRST_LINE_WORDS or OPENING.search(text)
    ]
    assert found == []
