"""The architecture: allowed imports, access to the environment, and lengths of files and functions.

import-linter checks the layers (`pyproject.toml`); these tests check the other rules.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("chatproject", "chat", "accounts", "quotas", "providers", "web", "runtime")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 50

ENTRY_POINTS = {"chatproject/environment.py", "chatproject/asgi.py", "manage.py"}
HTTP_LIBRARIES = {"aiohappyeyeballs", "aiohttp", "httptools", "httpx", "requests", "urllib3", "websockets"}
# Packages that the wire adapters must not need.
FRAMEWORKS_AND_STORES = {"asgiref", "django", "django_redis", "prometheus_client", "psycopg", "redis", "rest_framework"}


def modules() -> list[Path]:
    """Return all modules of our packages; migrations are Django's own writing."""
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    return sorted([ROOT / "manage.py", *found])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Return the full names of everything that a module imports, at its top and inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top(imported: str) -> str:
    return imported.partition(".")[0]


def violations(rule: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the modules that break a rule, with their violations."""
    return {path: wrong for path, wrong in rule.items() if wrong}


def test_every_package_has_modules() -> None:
    """The walk through the packages finds modules in each of them."""
    found = {path.relative_to(ROOT).parts[0] for path in modules()}
    assert found == {"manage.py", *PACKAGES}


def test_wire_imports_nothing_of_ours() -> None:
    """The adapters of `providers/wire` know no framework, no store and nothing of ours but each other."""
    forbidden = FRAMEWORKS_AND_STORES | set(PACKAGES)
    wire = [path for path in modules() if name(path).startswith("providers/wire/")]
    found = {
        name(path): {one for one in imports(path) if top(one) in forbidden and not one.startswith(("providers.wire.",))}
        for path in wire
    }
    assert wire
    assert not violations(found)


def test_wire_stands_alone() -> None:
    """All adapters can be imported without Django, and load no part of it."""
    names = sorted(name(path).removesuffix(".py").replace("/", ".") for path in (ROOT / "providers/wire").rglob("*.py"))
    wanted = ", ".join(one for one in names if not one.endswith("__init__"))
    script = f"import sys, {wanted}; sys.exit('django' in sys.modules or 'redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_http_libraries_have_one_place() -> None:
    """Only `providers/wire/net` opens connections; an adapter knows no more than httpx's type of a transport."""
    found = {name(path): {top(one) for one in imports(path) if top(one) in HTTP_LIBRARIES} for path in modules()}
    assert violations(found) == {
        "providers/wire/net/dial.py": {"aiohappyeyeballs"},
        "providers/wire/net/exchange.py": {"httpx"},
        "providers/wire/net/http1.py": {"httptools", "httpx"},
        "providers/wire/net/transport.py": {"httpx"},
        "providers/wire/net/websocket.py": {"websockets"},
        "providers/wire/openai/adapter.py": {"httpx"},
    }


def test_no_app_imports_the_project() -> None:
    """Apps get what they need through Django's settings, never from `chatproject`."""
    apps = [path for path in modules() if not name(path).startswith(("chatproject/", "manage.py"))]
    found = {name(path): {one for one in imports(path) if top(one) == "chatproject"} for path in apps}
    assert not violations(found)


def test_the_environment_is_read_once() -> None:
    """Only the typed settings and the entry points read the process environment."""
    reading = {
        name(path)
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    imported = {name(path) for path in modules() if imports(path) & {"os.environ", "os.getenv"}}
    assert reading | imported <= ENTRY_POINTS


def test_settings_are_read_at_use() -> None:
    """No app reads a setting at import time, because tests and later changes would have no effect."""
    found = {
        f"{name(path)}:{node.lineno}"
        for path in modules()
        if not name(path).startswith("chatproject/")
        for node in at_import_time(tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "settings"
        # A swappable user model is named at import time by Django's own design.
        and node.attr != "AUTH_USER_MODEL"
    }
    assert not found


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run at import time: all but the bodies of functions."""
    yield node
    body = set(node.body) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else set()
    body |= {node.body} if isinstance(node, ast.Lambda) else set()
    for child in ast.iter_child_nodes(node):
        if child not in body:
            yield from at_import_time(child)


def test_apps_do_not_signal_each_other() -> None:
    """Apps call each other directly in the direction of the layers, not through signals."""
    signals = ("django.dispatch", "django.db.models.signals", "django.core.signals")
    found = {name(path): {one for one in imports(path) if one.startswith(signals)} for path in modules()}
    # The handler sends Django's own two, around a request, as the handler that it replaces does.
    # Identities follow rows that Django and allauth save themselves, the audit follows Django's history of the admin,
    # lists of words follow Django's groups.
    followers = {"accounts/identities.py", "accounts/audit/recording.py", "chat/screening/models.py"}
    assert set(violations(found)) <= {"chatproject/asgi.py", *followers}


def test_middleware_of_streams_is_async() -> None:
    """Every middleware of event streams takes an async handler and returns one."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    chains = {path: import_string(path)(handler) for path in settings.STREAM_MIDDLEWARE}
    assert [path for path, chain in chains.items() if not iscoroutinefunction(chain)] == []


def test_files_are_short() -> None:
    """A file has at most MAX_FILE_LINES lines."""
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {path: count for path, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    """A function has at most MAX_FUNCTION_LINES lines."""
    lines = {
        f"{name(path)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {function: count for function, count in lines.items() if count > MAX_FUNCTION_LINES} == {}


def test_modules_have_docstrings() -> None:
    """Every module has a docstring; an AppConfig and a command have it in their class."""
    without = [
        name(path)
        for path in modules()
        if path.name != "apps.py"
        and "commands" not in path.parts
        and path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(tree(path))
    ]
    assert without == []


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    """No model has changed without a migration."""
    try:
        call_command("makemigrations", check=True, dry_run=True, verbosity=1)
    except SystemExit:
        pytest.fail("a model has changed: run manage.py makemigrations")


def test_names_of_tests_say_the_behaviour() -> None:
    """No test is merely said to work."""
    works = re.compile(r"def test_(it|this)_works\(")
    vague = [path.name for path in ROOT.glob("tests/**/test_*.py") if works.search(path.read_text("utf-8"))]
    assert vague == []
