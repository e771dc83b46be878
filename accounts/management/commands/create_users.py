"""`manage.py create_users <file>`: create accounts from a CSV file."""

import csv
import sys
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import bulk_creation
from accounts.bulk_creation import InvalidFileError
from web import spreadsheets


class Command(BaseCommand):
    help = (
        "Create accounts from a CSV file in UTF-8 with the columns username, email and optionally password and groups "
        "(separated by semicolons). All are created, or none and every mistake is listed with its line. Addresses "
        "count as verified."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the CSV file; `-` reads standard input")
        parser.add_argument(
            "--generate-passwords",
            action="store_true",
            help="give a password to each account without one, and print names and passwords as CSV",
        )

    def handle(self, *args: object, file: str, generate_passwords: bool, **options: object) -> None:
        try:
            accounts = bulk_creation.read(self._lines(file))
            without = [account for account in accounts if not account.password]
            if without and not generate_passwords and not settings.ENV.EMAIL_URL:
                raise CommandError(
                    f"line {without[0].line}: no password, and without EMAIL_URL users cannot set one. Give passwords, "
                    "or use --generate-passwords."
                )
            bulk_creation.create(accounts, generate_passwords=generate_passwords)
        except InvalidFileError as error:
            raise CommandError("\n".join([*error.problems, "No account was created."])) from error
        if generate_passwords and without:
            table = csv.writer(self.stdout)
            table.writerow(["username", "password"])
            table.writerows([[spreadsheets.cell(account.username), account.password] for account in without])
        self.stderr.write(f"Created {len(accounts)} accounts", self.style.SUCCESS)

    def _lines(self, file: str) -> list[str]:
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            return data.decode("utf-8-sig").splitlines(keepends=True)
        except OSError as error:
            raise CommandError(f"{file} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not in UTF-8") from error
