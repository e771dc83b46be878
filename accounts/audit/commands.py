"""The rows of commands, which `manage.py` writes when a command has ended well."""

import getpass
from collections.abc import Sequence

import structlog
from django.db import Error

from accounts.audit.models import ACTION_CHARS, FIELDS_CHARS, AuditEntry

log = structlog.get_logger("accounts")

# Commands that change no data of the service. `setup` is part of each start and records the account that it creates;
# Django keeps a table of the migrations that it applied.
UNRECORDED = frozenset(
    {
        *("check", "check_deploy", "compilemessages", "diffsettings", "findstatic", "help", "makemessages", "migrate"),
        *("makemigrations", "runserver", "sendtestemail", "serve", "setup", "showmigrations", "spectacular"),
        *("sqlmigrate", "test", "testserver", "version", "--help", "--version", "-h"),
    }
)


def note(arguments: Sequence[str]) -> None:
    """Record the command of a command line that was executed without an error."""
    if len(arguments) > 1 and arguments[1] not in UNRECORDED and not {"--help", "-h"} & set(arguments):
        record(arguments[1], arguments[2:])


def record(command: str, options: Sequence[str] = (), user_id: int | None = None) -> None:
    """Store that a command was executed, with the names of its options.

    Without their values, because these may be secrets.
    """
    # The value of a short option may follow without a space.
    long = [option.partition("=")[0] if option.startswith("--") else option[:2] for option in options]
    names = [name for name in long if name.startswith("-")]
    try:
        AuditEntry.objects.create(
            actor_name=_operator(),
            via=AuditEntry.Via.COMMAND,
            action=command[:ACTION_CHARS],
            object_type="accounts.user" if user_id else "",
            object_id=str(user_id or ""),
            user_id=user_id,
            changed_fields=" ".join(names)[:FIELDS_CHARS],
        )
    except Error as error:  # for example before the first `setup`
        log.warning("command not recorded in the audit", command=command, error=type(error).__name__)


def _operator() -> str:
    """Return the name of the operating system's user."""
    try:
        return getpass.getuser()[:150]
    except (KeyError, OSError):  # a container may run as a number without a name
        return "–"
