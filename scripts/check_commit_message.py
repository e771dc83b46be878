"""Check the subject line of a commit message; a git `commit-msg` hook calls this with the message's file."""

import re
import sys
from pathlib import Path

MAX_CHARS = 72
SUBJECT = re.compile(r"[a-z0-9][a-z0-9./_-]*(, [a-z0-9./_-]+)*: \S.*[^.\s]")
# Git writes these subjects itself.
GENERATED = ("Merge ", "Revert ", "fixup! ", "squash! ")


def problem(message: str) -> str:
    """Return what is wrong with the subject line of a commit message, or an empty string."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if subject.startswith(GENERATED):
        return ""
    if len(subject) > MAX_CHARS:
        return f"the subject has {len(subject)} characters, at most {MAX_CHARS} are allowed"
    if not SUBJECT.fullmatch(subject):
        return "the subject must have the form 'area: imperative summary', without a full stop"
    if len(lines) > 1 and lines[1].strip():
        return "an empty line must follow the subject"
    return ""


if __name__ == "__main__":
    if found := problem(Path(sys.argv[1]).read_text(encoding="utf-8")):
        sys.exit(f"commit message: {found}")
