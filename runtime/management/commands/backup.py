"""`manage.py backup <folder>`: back up the database and the secret files."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from runtime.copies import backup
from runtime.copies.contents import one_line_errors


class Command(BaseCommand):
    help = (
        "Back up the database (with all attachments) and the secret files of VAR_DIR into a new folder, while the "
        "service runs. Not included: environment variables and the files that they name, and Redis, which holds "
        "copies only."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
        parser.add_argument("--without-secrets", action="store_true", help="leave the secret files out")

    def handle(self, *args: object, folder: Path, without_secrets: bool, **options: object) -> None:
        with one_line_errors():
            made = backup.make(folder, with_secrets=not without_secrets)
        self.stdout.write(f"Backed up to {folder}: {made.summary()}; files: {', '.join(sorted(made.digests))}")
        for name, setting in backup.SECRET_FILES.items():
            if name not in made.digests:
                self.stdout.write(f"Not included: {setting}. {_where(name, setting)}")


def _where(name: str, setting: str) -> str:
    place = settings.VAR_DIR / name
    if place.exists():
        return f"Keep a copy of {place} in a safe place."
    return f"It comes from the environment ({setting} or {setting}_FILE). Keep a copy in a safe place."
