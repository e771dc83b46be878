"""`manage.py move_database <url>`: move from SQLite to PostgreSQL."""

import sys

from django.core.management.base import BaseCommand, CommandParser

from runtime.copies.contents import one_line_errors
from runtime.copies.move import move


class Command(BaseCommand):
    help = (
        "Copy all rows from the SQLite database in use to an empty PostgreSQL database, and compare the rows of every "
        "table and the sums of their numbers. Stop the service first. The SQLite file stays as it is."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "url", help="postgresql://user:password@host:port/name; `-` reads it from standard input, unseen by others"
        )

    def handle(self, *args: object, url: str, verbosity: int, **options: object) -> None:
        address = sys.stdin.readline().strip() if url == "-" else url
        with one_line_errors():
            moved = move(address, self.stdout.write if verbosity > 1 else lambda _line: None)
        rows = sum(numbers["rows"] for numbers in moved.values())
        self.stdout.write(f"Moved and verified: {len(moved)} tables with {rows} rows")
        self.stdout.write("Now set DATABASE_URL to the new address, run `manage.py setup`, then start the service.")
