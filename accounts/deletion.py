"""Delete accounts with all that belongs to them, within a minute.

A request marks an account: from then on it has no name, address, password, token or login, so all four ways to
authenticate refuse it. A timer of any process then deletes the rest in small steps, because a large account takes
seconds and one database thread serves all requests. A step may repeat: a process that dies leaves the mark, and the
next one goes on. The ledger keeps amounts without a user.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import CharField
from django.db.models.functions import Cast
from django.utils import timezone

from accounts import permissions
from accounts.audit.models import AuditEntry
from accounts.identities import SECONDS as BELIEVED_SECONDS
from accounts.models import RefreshFamily, Ticket, UsedAddress, User, new_invite_code
from quotas import history, ledger
from runtime import database
from runtime.process import ServingProcess

log = structlog.get_logger("accounts")

# Seconds between two looks for marked accounts.
LOOK_SECONDS = 5.0
# After the mark, other processes may believe a caller for `identities.SECONDS`, and such a request may store rows.
GRACE = timedelta(seconds=2 * BELIEVED_SECONDS)
# Sessions that are decoded at one time, so that others do not wait long for the database thread.
SESSIONS_AT_ONCE = 500
# Milliseconds to wait for readers of the write-ahead log. Writers wait meanwhile, so the next look tries again.
CHECKPOINT_MILLISECONDS = 100
# The user id of a used address whose account is gone; no account has it.
NO_USER = 0

Step = Callable[[int], Awaitable[None]]


def request(user: User) -> None:
    """Mark an account for deletion, and take away its name, addresses and logins.

    Repeating is safe. Raises Forbidden for the last superuser.
    """
    with transaction.atomic():
        permissions.require_another_superuser(user)
        user.username, user.email = f"deleted-{secrets.token_hex(12)}", ""
        user.first_name = user.last_name = user.instructions = ""
        user.invite_code, user.invited_by = new_invite_code(), None
        user.is_active = user.is_staff = user.is_superuser = False
        user.set_unusable_password()
        user.deletion_requested_at = timezone.now()
        user.save()
        user.groups.clear()
        user.user_permissions.clear()
        user.api_tokens.all().delete()
        for model in (EmailAddress, SocialAccount, Ticket, RefreshFamily):
            model._default_manager.filter(user=user).delete()
    log.info("account deletion requested", user=user.pk)


class Deletions:
    """Deletes the marked accounts; one object per process."""

    def __init__(self, process: ServingProcess) -> None:
        self._steps: list[Step] = []
        # Whether this process has deleted rows whose bytes may still be in SQLite's write-ahead log.
        self._truncation_due = False
        process.every(lambda: LOOK_SECONDS, "account deletions", self.run)

    def before(self, step: Step) -> None:
        """Await `step` with the user's id before the account goes; it may be repeated."""
        self._steps.append(step)

    async def run(self) -> None:
        """Delete the accounts whose time has come. A timer."""
        for user_id in await database.run(_due):
            try:
                await self.delete(user_id)
            except Exception:  # another process deletes it too, or stored a row meanwhile: the next look goes on
                log.exception("account not deleted yet", user=user_id)
        if self._truncation_due:
            self._truncation_due = not await database.run(_truncate_write_ahead_log)

    async def delete(self, user_id: int) -> None:
        """Delete all that belongs to the account, then the account. Repeating is safe."""
        # First, while the rows are there by which its entries are found.
        await database.run(_clear_admin_log, user_id)
        for step in self._steps:
            await step(user_id)
        after: str | None = ""
        while after is not None:
            after = await database.run(_delete_sessions, user_id, after)
        await database.run(_delete_account, user_id)
        self._truncation_due = connection.vendor == "sqlite"
        log.info("account deleted", user=user_id)


def _due() -> list[int]:
    marked = User.objects.filter(deletion_requested_at__lte=timezone.now() - GRACE)
    return list(marked.order_by("deletion_requested_at").values_list("pk", flat=True))


def _clear_admin_log(user_id: int) -> None:
    """Leave that staff did something to these rows, but not their names, texts or ids."""
    own: list[tuple[Any, str]] = [
        (relation.related_model, relation.field.name) for relation in User._meta.related_objects
    ]
    for model, field in [(User, "pk"), *own]:
        rows = model._base_manager.filter(**{field: user_id}).annotate(logged_id=Cast("pk", CharField()))
        entries = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(model), object_id__in=rows.values("logged_id")
        )
        entries.update(object_id=None, object_repr="", change_message="")
    AuditEntry.objects.erase_user(user_id)


def _delete_sessions(user_id: int, after: str) -> str | None:
    """Delete the user's sessions among the next ones; return the last key.

    None: there are no more. The user of a session is in its encoded data only, so each has to be decoded.
    """
    rows = list(Session.objects.filter(session_key__gt=after).order_by("session_key")[:SESSIONS_AT_ONCE])
    own = [row.session_key for row in rows if row.get_decoded().get(SESSION_KEY) == str(user_id)]
    Session.objects.filter(session_key__in=own).delete()
    return rows[-1].session_key if rows else None


@transaction.atomic
def _delete_account(user_id: int) -> None:
    ledger.detach(user_id, history.OWN_REASONS)
    UsedAddress.objects.filter(user_id=user_id).update(user_id=NO_USER)
    User.objects.filter(pk=user_id).delete()


def _truncate_write_ahead_log() -> bool:
    """Empty the log into the database file; return False while readers prevent that."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        (usual,) = cursor.fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {CHECKPOINT_MILLISECONDS}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (busy, _pages, _moved) = cursor.fetchone()
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {usual}")
    return not busy
