"""`manage.py restore <folder>`: restore what `backup` made."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandParser

from runtime.copies import backup
from runtime.copies.contents import one_line_errors


class Command(BaseCommand):
    help = (
        "Restore a backup into the database of DATABASE_URL and into VAR_DIR, and compare the rows of every table and "
        "the sums of their numbers with those of the backup. Stop the service first, and run `setup` afterwards."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the folder that `backup` made")
        parser.add_argument("--overwrite", action="store_true", help="replace a database that has tables already")

    def handle(self, *args: object, folder: Path, overwrite: bool, **options: object) -> None:
        with one_line_errors():
            manifest, files = backup.restore(folder, overwrite=overwrite)
        self.stdout.write(f"Restored and verified: {manifest.summary()}, of {manifest.made_at:%Y-%m-%d %H:%M %Z}")
        for name, setting in backup.SECRET_FILES.items():
            if name in files:
                self.stdout.write(f"Restored the file {name}")
            else:
                self.stdout.write(f"Not in this backup: {setting}. Set it to what it was.")
        if "key_encryption_keys" not in files and not set(manifest.keys) & set(backup.key_digests()):
            self.stderr.write("KEY_ENCRYPTION_KEYS has none of the keys of the backup: its secrets stay closed.")
        self.stdout.write("Now run `manage.py setup`, then start the service.")
