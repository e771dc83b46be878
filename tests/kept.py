"""Files that take seconds to make and depend on the migrations alone: kept in `.pytest_cache` for later test runs.

`pytest --cache-clear` deletes them.
"""

import fcntl
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.launcher import ROOT

FOLDER = ROOT / ".pytest_cache/d/migrated"
# What is not used for so long is deleted when something is made.
MAX_UNUSED_SECONDS = 7 * 24 * 3600.0


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """Return the path at which `make` has left a file or folder; it is called once for each state of the migrations."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    place = FOLDER / f"{_state()}-{name}"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let the other workers of a parallel run wait
        if not place.exists():
            _delete_unused()
            with tempfile.TemporaryDirectory(dir=FOLDER, prefix="unfinished-") as folder:
                make(Path(folder, name))
                Path(folder, name).rename(place)
        (FOLDER / f"{place.name}.used").touch()
    return place


@cache
def _state() -> str:
    """Return a digest of all that decides what a migrated database contains."""
    found = hashlib.sha256()
    for path in sorted(_sources()):
        found.update(f"{path.relative_to(ROOT)}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for app in ROOT.glob("*/apps.py"):
        yield app
        yield from app.parent.glob("migrations/*.py")
        yield from app.parent.rglob("models.py")  # permissions and content types follow the models
    yield from [ROOT / name for name in ("chatproject/settings.py", "requirements.txt", "tests/servers.py")]


def _delete_unused() -> None:
    for used in FOLDER.glob("*.used"):
        if time.time() - used.stat().st_mtime > MAX_UNUSED_SECONDS:
            place = used.with_suffix("")
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
            used.unlink()
