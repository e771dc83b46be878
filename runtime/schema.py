"""Whether this release can run on the tables that the database has.

A release adds migrations that the previous one can live with: it ignores what it does not know. A migration that older
releases cannot live with names the schema that a release must have, such as `0030_drop_revision_needs_schema_2`. The
release that no longer uses what it removes has raised `SCHEMA` to that number before.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from django.apps import apps
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

# The tables that this release can live with: all migrations that need this schema or a lower one.
SCHEMA = 1
NEEDS = re.compile(r"_needs_schema_(\d+)$")


class IncompatibleSchemaError(Exception):
    """This release cannot run on these tables; the message says what to do."""


@dataclass(frozen=True)
class State:
    """How the tables differ from those of this release."""

    # Migrations of this release that are not applied.
    pending: list[str]
    # Applied migrations of a newer release.
    newer: list[str]
    # What texts are stored in.
    encoding: str = "UTF8"

    def require_known(self) -> None:
        """Raise IncompatibleSchemaError when texts cannot be stored, or the tables are too new."""
        if self.encoding != "UTF8":
            raise IncompatibleSchemaError(
                f"DATABASE_URL: the database is encoded in {self.encoding}, in which most texts cannot be stored. "
                "Make one with `createdb --encoding UTF8 --template template0`."
            )
        needed = max((int(found[1]) for name in self.newer if (found := NEEDS.search(name))), default=0)
        if needed > SCHEMA:
            raise IncompatibleSchemaError(
                f"DATABASE_URL: a newer release has changed the tables (schema {needed}, this release knows {SCHEMA}). "
                "Install that release, or restore a backup from before."
            )

    def require_current(self) -> None:
        """Raise IncompatibleSchemaError unless this release can serve on the tables."""
        self.require_known()
        if self.pending:
            raise IncompatibleSchemaError(
                f"DATABASE_URL: the tables lack {len(self.pending)} migrations of this release. Run `manage.py setup`."
            )


def state() -> State:
    """Compare the applied migrations with this release's files.

    It imports none of them, so that starts stay fast.
    """
    applied = {".".join(key) for key in MigrationRecorder(connection).applied_migrations()}
    own = {
        f"{app.label}.{path.stem}"
        for app in apps.get_app_configs()
        for path in Path(app.path, "migrations").glob("[!_]*.py")
    }
    return State(sorted(own - applied), sorted(applied - own), _encoding())


def _encoding() -> str:
    if connection.vendor != "postgresql":
        return "UTF8"
    connection.ensure_connection()
    return str(connection.connection.info.parameter_status("server_encoding"))


def require_current() -> None:
    """Raise IncompatibleSchemaError unless this release can serve on the tables."""
    state().require_current()
