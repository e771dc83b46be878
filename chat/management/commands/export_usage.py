"""`manage.py export_usage`: what users used, as CSV."""

import csv
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from chat.models import DailyAnswers
from chat.stats.daily import COUNTERS
from web import spreadsheets

# Days that are exported without `--from`, today included.
DAYS = 30
COLUMNS = ("date", "user", "model", "upstream", *COUNTERS)


class Command(BaseCommand):
    help = (
        "Write what each user used as CSV: a row for each day in TIME_ZONE, user, model and upstream. Texts that a "
        "spreadsheet would read as formulas get an apostrophe."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="first", type=date.fromisoformat, metavar="YYYY-MM-DD", help="first day")
        parser.add_argument("--to", dest="last", type=date.fromisoformat, metavar="YYYY-MM-DD", help="last day")
        parser.add_argument("--output", type=Path, help="a new file; otherwise standard output")

    def handle(
        self, *args: object, first: date | None, last: date | None, output: Path | None, **options: object
    ) -> None:
        last = last or timezone.localdate()
        first = first or last - timedelta(days=DAYS - 1)
        if first > last:
            raise CommandError("--from is after --to.")
        if output is None:
            _write(self.stdout, first, last)
            return
        try:
            with output.open("x", encoding="utf-8-sig", newline="") as file:
                _write(file, first, last)
        except OSError as error:
            raise CommandError(f"{output} cannot be written ({error.strerror})") from error


def _write(file: TextIO | Any, first: date, last: date) -> None:
    rows = DailyAnswers.objects.filter(day__range=(first, last)).order_by("day", "user_id", "model", "upstream")
    table = csv.writer(file)
    table.writerow(COLUMNS)
    for row in rows.values_list("day", "user__username", "model", "upstream", *COUNTERS).iterator():
        table.writerow(map(spreadsheets.cell, row))
