"""`manage.py setup`: prepare a start: migrations, upstreams, quotas, text tools, the first admin."""

from contextlib import suppress

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import IntegrityError, OperationalError

from accounts import usernames
from accounts.first_admin import ensure_admin
from accounts.models import User
from chat import text_tools
from providers.setup import ensure_upstreams
from quotas.setup import ensure_defaults
from runtime import migrating
from runtime.schema import IncompatibleSchemaError

# Seconds for which a migration waits for a table that a backup or another long transaction uses.
TABLE_SECONDS = 3_600.0


class Command(BaseCommand):
    help = "Prepare the database and the first admin. Safe to repeat, and by several processes at once."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--table-seconds",
            type=float,
            default=TABLE_SECONDS,
            help="how long to wait for a table that another transaction uses (PostgreSQL; default %(default)g)",
        )

    def handle(self, *args: object, table_seconds: float, **options: object) -> None:
        try:
            with migrating.one_at_a_time():
                migrating.migrate(table_seconds, self._note_waiting)
                ensure_upstreams()
                ensure_defaults()
                text_tools.ensure_defaults()
                with suppress(IntegrityError):  # a sign-up took one of the names; the next start fills the others
                    usernames.fill_skeletons(User.objects.all())
                password = ensure_admin()
        except IncompatibleSchemaError as error:
            raise SystemExit(str(error)) from error
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise SystemExit(f"DATABASE_URL: the database cannot be used ({reason})") from error
        if password:
            self.stdout.write(f"Admin account: {settings.ENV.ADMIN_USERNAME}  password: {password}  (shown this once)")

    def _note_waiting(self) -> None:
        self.stderr.write("Waiting for a table that another transaction uses, such as a backup. The service goes on.")
        self.stderr.flush()
