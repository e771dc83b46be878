"""The security log of an account, for its user to read."""

from datetime import timedelta
from typing import Any, ClassVar

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.db import models
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.devices import device

# Rows of one user: failed logins, and all others. Older ones go, and strangers can fill only the first kind.
MOST_FAILURES, MOST_OTHERS = 50, 150
# An event that happens again within this time is counted in the row that is there.
MERGED = timedelta(hours=1)
DETAIL_CHARS = 120


class SecurityEventManager(models.Manager["SecurityEvent"]):
    def note(self, user_id: int, kind: str, request: HttpRequest | None, detail: str = "") -> None:
        """Store an event of a user; delete the oldest ones beyond the bound."""
        now = timezone.now()
        client = client_of(request) if request else {"address": "", "device": ""}
        values: dict[str, Any] = {"user_id": user_id, "kind": kind, "detail": detail[:DETAIL_CHARS], **client}
        if self.filter(**values, at__gt=now - MERGED).update(at=now, times=F("times") + 1):
            return
        self.create(at=now, **values)
        is_failure = kind == SecurityEvent.Kind.LOGIN_FAILED
        rows = self.filter(user_id=user_id, kind=kind) if is_failure else self._others(user_id)
        most = MOST_FAILURES if is_failure else MOST_OTHERS
        oldest = list(rows.order_by("-at", "-pk").values_list("pk", flat=True)[most:])
        if oldest:
            self.filter(pk__in=oldest).delete()

    def _others(self, user_id: int) -> "models.QuerySet[SecurityEvent]":
        return self.filter(user_id=user_id).exclude(kind=SecurityEvent.Kind.LOGIN_FAILED)


class SecurityEvent(models.Model):
    """Something that happened to an account, with the client that did it."""

    class Kind(models.TextChoices):
        LOGIN = "login", _("Logged in")
        LOGIN_FAILED = "login_failed", _("Failed login")
        LOGOUT = "logout", _("Logged out")
        PASSWORD = "password_changed", _("Password changed")
        EMAIL = "email_changed", _("E-mail address changed")
        FACTOR_ADDED = "factor_added", _("Second factor added")
        FACTOR_REMOVED = "factor_removed", _("Second factor removed")
        RECOVERY_CODES = "recovery_codes", _("New recovery codes")
        LINKED = "login_linked", _("Account of another service linked")
        UNLINKED = "login_unlinked", _("Account of another service unlinked")
        TOKEN_CREATED = "token_created", _("API token created")
        TOKEN_DELETED = "token_deleted", _("API token deleted")
        SESSION_ENDED = "session_ended", _("Session ended")
        STAFF = "changed_by_staff", _("Changed by the operator")

    # Without a constraint, because a process of the previous release deletes users without these rows.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    at = models.DateTimeField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    address = models.CharField(max_length=45)
    device = models.CharField(max_length=60)
    # Name of the token, address of the mailbox, kind of the factor, number of ended sessions.
    detail = models.CharField(max_length=DETAIL_CHARS)
    times = models.PositiveIntegerField(default=1)

    objects: ClassVar[SecurityEventManager] = SecurityEventManager()

    class Meta:
        verbose_name = _("entry of the security log")
        verbose_name_plural = _("security log")
        default_permissions = ()
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["user", "-at"], name="security_log_of_user")]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.kind}"


def client_of(request: HttpRequest) -> dict[str, str]:
    """Return address and device of a client, as a row keeps them."""
    return {
        "address": get_adapter(request).get_client_ip(request)[:45],
        "device": device(request.META.get("HTTP_USER_AGENT", ""))[:60],
    }


def of(user_id: int) -> list[SecurityEvent]:
    """Return the user's log, the newest first."""
    return list(SecurityEvent.objects.filter(user_id=user_id).order_by("-at", "-pk"))
