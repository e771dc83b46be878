"""The previous release and another one before this, unpacked from the history of this clone."""

import shutil
import subprocess
from functools import cache, partial
from pathlib import Path

from tests.kept import kept
from tests.launcher import ROOT
from tests.product import Product

# The last commit of 0.2.0, the release from which operators come. The next release names its predecessor here.
COMMIT = "002e634122d68b91b2d88437e7f49f256996c453"
# That release knows no Redis Cluster. The end of the series of commits that began with it.
FIRST_WITH_CLUSTER = "3f84a5d8fb7398765ed3b8d23120af0c796937da"
# What starts programs of the tests, which that release lacks.
OUR_PROGRAMS = ("tests/launcher.py", "tests/first_start.py")


class PreviousProduct(Product):
    """The product of the previous release, with the packages of this one."""

    commit, knows_pooler = COMMIT, False

    @property
    def root(self) -> Path:  # type: ignore[override]
        return code(self.commit)


class ProductWithCluster(PreviousProduct):
    """The product as it was when it had just learned to use a Redis Cluster."""

    commit, knows_pooler = FIRST_WITH_CLUSTER, True


def is_missing() -> bool:
    """Whether this is no clone, or one without history that far back."""
    if shutil.which("git") is None:
        return True
    found = subprocess.run(["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True)
    return found.returncode != 0


@cache
def code(commit: str) -> Path:
    """Return the folder with the code of a commit."""
    return kept(f"release-{commit[:12]}", partial(_unpack, commit))


def _unpack(commit: str, folder: Path) -> None:
    folder.mkdir()
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    for name in OUR_PROGRAMS:
        shutil.copy(ROOT / name, folder / name)
