"""frontend/: its own checks pass, and the committed bundle is what its sources build."""

import gzip
from pathlib import Path

import brotli
import pytest

from tests import frontend_packages, servers
from tests.frontend_packages import npm

FRONTEND = servers.ROOT / "frontend"
BUNDLE = servers.ROOT / "chat/static/chat"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """Install the packages that the checks need."""
    frontend_packages.install()


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): expanded(path) for path in folder.rglob("*") if path.is_file()}


def expanded(path: Path) -> bytes:
    """Return a file's content, without its compression: versions of Node compress to other bytes."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    return brotli.decompress(content) if path.suffix == ".br" else content


def test_lint_types_and_unit_tests_pass() -> None:
    """The scripts keep to their format, rules and types, and their unit tests pass."""
    npm("run", "check")


def test_committed_bundle_is_up_to_date(tmp_path: Path) -> None:
    """Building the sources gives the committed bundle; `make assets` renews it."""
    npm("run", "build", "--", str(tmp_path), "--quick")
    built, committed = files_in(tmp_path), files_in(BUNDLE)
    assert sorted(built) == sorted(committed)
    assert [name for name, content in built.items() if content != committed[name]] == []


def test_lock_names_no_registry() -> None:
    """The lock has no download addresses, so that each installation uses its own registry."""
    assert '"resolved"' not in (FRONTEND / "package-lock.json").read_text(encoding="utf-8")
