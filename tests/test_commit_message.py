"""scripts/check_commit_message.py: which subjects the commit hook accepts."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.check_commit_message import problem

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "check_commit_message.py"


@pytest.mark.parametrize(
    "message",
    [
        "quotas: delete Redis counters after each change",
        "chat/events: number events in one place\n\nThe reason stands here.",
        "docs, tests: rename the fixture\n# Please enter the commit message",
        "Merge branch 'main' into feature",
    ],
)
def test_a_well_formed_subject_is_accepted(message: str) -> None:
    """A subject with an area and a summary passes, and so do the subjects that git writes."""
    assert problem(message) == ""


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "form"),
        ("Delete the counters", "form"),
        ("quotas: delete the counters.", "form"),
        ("quotas: " + "x" * 80, "72"),
        ("quotas: delete\nthe counters", "empty line"),
    ],
)
def test_a_malformed_subject_is_rejected_with_its_reason(message: str, reason: str) -> None:
    """The hook says which rule the subject breaks."""
    assert reason in problem(message)


def test_the_hook_fails_for_a_malformed_message(tmp_path: Path) -> None:
    """As git calls it: the exit code decides whether the commit is made."""
    for message, code in (("docs: explain drains", 0), ("Explain drains", 1)):
        file = tmp_path / "message"
        file.write_text(message, encoding="utf-8")
        assert subprocess.run([sys.executable, str(SCRIPT), str(file)], capture_output=True).returncode == code
