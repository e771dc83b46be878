"""The previous release, unpacked from the history of this clone."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.kept import kept
from tests.launcher import ROOT
from tests.product import Product

# The last commit of 0.2.0, the release from which operators come. The next release names its predecessor here.
COMMIT = "002e634122d68b91b2d88437e7f49f256996c453"
# What starts programs of the tests, which that release lacks.
OUR_PROGRAMS = ("tests/launcher.py", "tests/first_start.py")


class PreviousProduct(Product):
    """The product of the previous release, with the packages of this one."""

    @property
    def root(self) -> Path:  # type: ignore[override]
        return code()


def is_missing() -> bool:
    """Whether this is no clone, or one without history that far back."""
    if shutil.which("git") is None:
        return True
    found = subprocess.run(["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True)
    return found.returncode != 0


@cache
def code() -> Path:
    """Return the folder with the release's code."""
    return kept(f"release-{COMMIT[:12]}", _unpack)


def _unpack(folder: Path) -> None:
    folder.mkdir()
    packed = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    for name in OUR_PROGRAMS:
        shutil.copy(ROOT / name, folder / name)
