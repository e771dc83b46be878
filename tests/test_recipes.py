"""CONTRIBUTING.md: each recipe is followed to the letter in a copy of the project, and its checks pass there.

A recipe is a section `### …` below `## Recipes`. Its steps have one of four forms, each followed by a fenced block:
"Create `path`:", "In `path`, after `line`:", "In `path`, replace `line`:" and "Check:" (commands, one on each line).
`line` is the beginning of a line that occurs once.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import conftest, kept

ROOT = Path(__file__).resolve().parent.parent
CHECK_SECONDS = 240
STEP = re.compile(
    r"(?:(?P<create>Create) `(?P<made>[^`]+)`:|In `(?P<path>[^`]+)`, (?P<how>after|replace) `(?P<line>[^\n]+?)`:"
    r"|(?P<check>Check):)\n+```\w*\n(?P<block>.*?)```",
    re.DOTALL,
)


@dataclass(frozen=True)
class Recipe:
    title: str
    text: str

    def steps(self) -> Iterator[re.Match[str]]:
        return STEP.finditer(self.text)


def recipes() -> list[Recipe]:
    """Return the recipes of CONTRIBUTING.md."""
    section = (
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("\n## Recipes\n")[2].partition("\n## ")[0]
    )
    parts = re.split(r"^### (.+)$", section, flags=re.MULTILINE)[1:]
    return [Recipe(title, text) for title, text in zip(parts[::2], parts[1::2], strict=True)]


def copy_of_the_project(folder: Path) -> Path:
    """Copy what a clone has, its compiled files too, and share this project's virtual environment."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)  # with its time, by which Python knows that its compiled file fits
    for compiled in {(ROOT / name).parent / "__pycache__" for name in listed.stdout.splitlines()}:
        if compiled.is_dir():
            # Other tests may be writing compiled files, which have a longer name until they are whole.
            unfinished = shutil.ignore_patterns("*.pyc.*")
            shutil.copytree(compiled, folder / compiled.relative_to(ROOT), ignore=unfinished)
    (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
    kept.FOLDER.mkdir(parents=True, exist_ok=True)
    (folder / kept.FOLDER.relative_to(ROOT)).parent.mkdir(parents=True)
    (folder / kept.FOLDER.relative_to(ROOT)).symlink_to(kept.FOLDER)
    return folder


def follow(step: re.Match[str], folder: Path) -> None:
    """Apply one step to the copy; fail when the line it names is not there exactly once."""
    if step["create"]:
        path = folder / step["made"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step["block"], encoding="utf-8")
    elif step["path"]:
        path = folder / step["path"]
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.startswith(step["line"])]
        assert len(places) == 1, f"{step['path']} has {len(places)} lines that begin with {step['line']!r}"
        start = places[0] + (step["how"] == "after")
        lines[start : places[0] + 1] = step["block"].splitlines(keepends=True)
        path.write_text("".join(lines), encoding="utf-8")
    else:
        for command in filter(None, step["block"].splitlines()):
            environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            done = subprocess.run(
                ["sh", "-ec", command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=CHECK_SECONDS,
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.server
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_a_recipe_works_as_written(recipe: Recipe, tmp_path: Path) -> None:
    """Following the steps in a copy of the project leads to checks that pass."""
    if shutil.which("msgfmt") is None:
        conftest._missing("GNU gettext is not installed: apt-get install gettext")
    folder = copy_of_the_project(tmp_path)
    steps = list(recipe.steps())
    assert steps, "a recipe without steps"
    assert steps[-1]["check"], "a recipe ends with its check"
    for step in steps:
        follow(step, folder)


def test_the_usual_changes_have_recipes() -> None:
    """The changes that newcomers make most often are among the recipes."""
    titles = {recipe.title for recipe in recipes()}
    assert {
        f"Add {thing}" for thing in ("a vendor", "an event", "a route", "a setting", "a language", "an admin action")
    } <= titles
