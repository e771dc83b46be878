"""`manage.py setup`: prepare a start: migrations, upstreams, quotas, text tools, the first admin."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import IntegrityError, OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from accounts import usernames
from accounts.first_admin import ensure_admin
from accounts.models import User
from chat import text_tools
from providers.setup import ensure_upstreams
from quotas.setup import ensure_defaults

# The key of PostgreSQL's advisory lock: an arbitrary constant.
ADVISORY_LOCK = 7_481_265_018
# Seconds between two attempts to take it.
LOCK_RETRY_SECONDS = 0.2


class Command(BaseCommand):
    help = "Prepare the database and the first admin. Safe to repeat, and by several processes at once."
    requires_system_checks: list[str] = []

    def handle(self, *args: object, **options: object) -> None:
        try:
            with _setup_lock():
                _migrate()
                ensure_upstreams()
                ensure_defaults()
                text_tools.ensure_defaults()
                with suppress(IntegrityError):  # a sign-up took one of the names; the next start fills the others
                    usernames.fill_skeletons(User.objects.all())
                password = ensure_admin()
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise SystemExit(f"DATABASE_URL: the database cannot be used ({reason})") from error
        if password:
            self.stdout.write(f"Admin account: {settings.ENV.ADMIN_USERNAME}  password: {password}  (shown this once)")


@contextmanager
def _setup_lock() -> Iterator[None]:
    """Wait for other starts: a file lock on this machine, an advisory lock across machines."""
    with (settings.VAR_DIR / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if connection.vendor != "postgresql":
            yield
            return
        with connection.cursor() as cursor:
            # Migrations, and waiting for those of another process, may take minutes.
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("SET lock_timeout = 0")
            # Tried again and again, because a statement that waits keeps PostgreSQL from building an index meanwhile.
            while not _took_lock(cursor):
                time.sleep(LOCK_RETRY_SECONDS)
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


def _took_lock(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
    return bool(cursor.fetchone()[0])


def _migrate() -> None:
    """Migrate if a migration is pending; the check keeps later starts fast."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)
