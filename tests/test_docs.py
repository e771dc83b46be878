"""The documents match the code: settings, refusals, events and routes are listed, and no others."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.urls import URLPattern, URLResolver

from chat import errors as chat_errors
from chat.events import schemas
from chat.openai import views
from chatproject.environment import Environment
from chatproject.urls import stream_urlpatterns, urlpatterns
from providers import registry
from providers.wire.errors import ProviderError
from web.refusals import Refusal

ROOT = Path(__file__).resolve().parent.parent
README, ARCHITECTURE = ROOT / "README.md", ROOT / "ARCHITECTURE.md"
SETTINGS, API, OPERATIONS, VENDORS = (
    ROOT / "docs" / f"{name}.md" for name in ("settings", "api", "operations", "vendors")
)
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *DECISIONS]

# The picture is taken by the browser tests.
MADE_BY_TESTS = {"docs/chat.png"}


def rows(document: Path) -> dict[str, list[str]]:
    """Return the cells of each table row whose first cell is one name in code, by that name."""
    found = {}
    for line in document.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("| `") else []
        if cells and (name := re.fullmatch(r"`([^`]+)`", cells[0])):
            found[name[1]] = cells
    return found


def test_every_document_begins_with_its_title() -> None:
    """All documents are there, and each begins with its title."""
    assert all(document.read_text(encoding="utf-8").startswith("# ") for document in DOCUMENTS)


# --- settings --------------------------------------------------------------------------------------------------------


def as_environment(value: Any) -> str:
    """Return a default as it would be written into the environment; empty for unset."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join(part if isinstance(part, str) else "=".join(dict.fromkeys(part)) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def bounds(field: Any) -> set[str]:
    """Return the words that the text must contain: limits of a number, values of a choice."""
    figures = [getattr(rule, name) for rule in field.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)]
    choices = re.findall(r"'([^']+)'", str(field.annotation)) if "Literal" in str(field.annotation) else []
    return {f"{figure:.0f}" for figure in figures} | set(choices)


@pytest.mark.parametrize("name", Environment.model_fields)
def test_settings_are_documented(name: str) -> None:
    """Each variable is in docs/settings.md with its default, its bounds, and its file where it is a secret."""
    field = Environment.model_fields[name]
    _name, default, meaning, _example = rows(SETTINGS)[name]
    assert default == (f"`{as_environment(field.default)}`" if as_environment(field.default) else "–")
    assert bounds(field) <= set(re.findall(r"[\w-]+", meaning))
    assert (f"`{name}_FILE`" in meaning) == ("SecretStr" in repr(field.annotation))


def test_no_unknown_setting_is_documented() -> None:
    """docs/settings.md and the README name only variables that exist."""
    assert set(rows(SETTINGS)) == set(Environment.model_fields)
    section = README.read_text(encoding="utf-8").partition("## Settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([A-Z_]{4,})`", section)) <= set(Environment.model_fields)


def test_vendors_are_documented() -> None:
    """docs/vendors.md has each kind of upstream, its address, and only variables that exist."""
    text = VENDORS.read_text(encoding="utf-8")
    kinds = set(registry.ADAPTERS) - {registry.DEMO_KIND}
    assert {kind for kind in kinds if f"| `{kind}` |" not in text} == set()
    assert set(re.findall(r"`([A-Z]+_[A-Z0-9_]+)`", text)) <= set(Environment.model_fields)


# --- refusals and events ---------------------------------------------------------------------------------------------


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from refusals(subclass)


def failures() -> set[str]:
    """Return the error codes that a stream may end with."""
    codes = {error.code for error in (ProviderError, *ProviderError.__subclasses__())}
    return codes | set(chat_errors._TEXTS)


def test_refusals_are_documented() -> None:
    """docs/api.md lists each refusal with its status; codes only in streams have none."""
    for app in apps.get_app_configs():
        if (ROOT / app.name / "errors.py").exists():
            importlib.import_module(f"{app.name}.errors")
    table = {code: cells[1] for code, cells in rows(API).items() if cells[1] == "–" or re.fullmatch(r"\d{3}", cells[1])}
    statuses = {(refusal.code, str(refusal.status)) for refusal in refusals()}
    only_in_streams = {(code, "–") for code in failures() - {code for code, _status in statuses}}
    assert set(table.items()) == statuses | only_in_streams


def test_events_are_documented() -> None:
    """The table of events in docs/api.md has all events and no others."""
    table = API.read_text(encoding="utf-8").partition("| `event:` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(schemas.CHAT.events)


# --- routes ----------------------------------------------------------------------------------------------------------


def routes(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[tuple[str, URLPattern]]:
    """Yield all our routes as documents write them, with ids as `<id>` and keys as `<key>`."""
    for pattern in patterns:
        here = before + re.sub(r"<(?!key:)[^>]+>", "<id>", str(pattern.pattern)).replace("<key:key>", "<key>")
        if isinstance(pattern, URLPattern):
            yield here, pattern
        elif here.startswith("/api/"):
            yield from routes(pattern.url_patterns, here)


def methods(view: Any) -> set[str]:
    """Return the methods of a DRF view or view set, or of a view made by `chat.views.methods`."""
    if hasattr(view, "actions"):
        return {name.upper() for name in view.actions} - {"HEAD"}  # which it adds with its first request
    if hasattr(view, "view_class"):
        return {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(view.view_class, name)}
    return set(inspect.getclosurevars(view).nonlocals["views"]) - {"HEAD"}  # which needs no words of its own


def test_routes_are_documented() -> None:
    """docs/api.md lists exactly the routes below /api/, /sse/ and /v1/, with all methods."""
    ours = [(path, pattern) for path, pattern in routes(urlpatterns) if path.startswith(("/api/", "/sse/", "/v1/"))]
    ours = [(path, pattern) for path, pattern in ours if pattern.callback is not views.unknown]
    real = {f"{method} {path}" for path, pattern in ours for method in methods(pattern.callback)}
    text = API.read_text(encoding="utf-8")
    assert set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`?]*)`", text)) == real


def test_operators_routes_are_documented() -> None:
    """docs/operations.md has each route that is there for operators."""
    text = OPERATIONS.read_text(encoding="utf-8")
    paths = {path for path, _pattern in routes(stream_urlpatterns) if not path.startswith(("/api/", "/sse/", "/v1"))}
    assert {path for path in paths if f"`GET {path}`" not in text} == set()


# --- the map, links and decisions ------------------------------------------------------------------------------------


def folder_map() -> list[str]:
    """Return the paths of the README's map."""
    block = README.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    return [line.split()[0] for line in block.splitlines()]


def test_the_map_names_existing_folders() -> None:
    """The README's map names only existing paths, and all our packages and folders."""
    assert [path for path in folder_map() if not (ROOT / path).exists()] == []
    folders = {path.name + "/" for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert folders - {"var/", "htmlcov/"} <= set(folder_map())


def test_the_architecture_names_files_that_exist() -> None:
    """Files and folders in the tables of ARCHITECTURE.md exist."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`([\w./<>-]+)`", text) if re.search(r"\w/", path) and "<" not in path]
    paths = [path for path in paths if not path.startswith("/")]
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_documentation_site_builds(tmp_path: Path) -> None:
    """mkdocs builds all pages and finds every link between them."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"index.html", "ARCHITECTURE.html", "api.html"} <= {path.name for path in tmp_path.iterdir()}


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """Each link inside the project leads to a file, and its anchor to a heading."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path, _hash, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists() or target.relative_to(ROOT).as_posix() in MADE_BY_TESTS, link
        assert not anchor or anchor in anchors(target), link


def test_decisions_are_numbered() -> None:
    """Decisions are numbered from 1 in their names and titles, without gaps."""
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) == set(range(1, max(numbers) + 1))


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_decisions_have_one_form(decision: Path) -> None:
    """A decision has its number in the title, a date, a status, and three sections on one page."""
    lines = decision.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {decision.name[:4]}. ")
    assert re.fullmatch(r"Date: \d{4}-\d\d-\d\d\. Status: (accepted|superseded by \d{4})\.", lines[2])
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]
    assert len(lines) <= 60
