"""The table of the audit.

Triggers of the database (migration 0016) let no row be changed, or deleted early.
"""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

# Characters of an action's name, of the names of changed fields, and of a reason, that a row keeps.
ACTION_CHARS, FIELDS_CHARS, REASON_CHARS = 60, 500, 300


class AuditEntryManager(models.Manager["AuditEntry"]):
    def erase_user(self, user_id: int) -> None:
        """Take away which user, row, fields and reason the entries about a user's data name.

        This is the only change that the database allows: who did what and when stays.
        """
        self.filter(user_id=user_id).update(user_id=None, object_id="", changed_fields="", reason="")


class AuditEntry(models.Model):
    """One action of staff or of a command, or one look at a user's data."""

    class Via(models.TextChoices):
        ADMIN = "admin", _("administration")
        API = "api", _("staff API")
        COMMAND = "command", _("command line")

    at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    # No foreign key: an entry outlives the account of who acted. Empty for commands.
    actor_id = models.BigIntegerField(null=True)
    actor_name = models.CharField(_("actor"), max_length=150)
    via = models.CharField(_("via"), max_length=10, choices=Via.choices)
    address = models.CharField(_("address"), max_length=45, blank=True)
    # `add`, `change`, `delete`, `view`, `list`, `refused`, or the name of an admin action or of a command.
    action = models.CharField(_("action"), max_length=ACTION_CHARS)
    object_type = models.CharField(_("type of object"), max_length=100, blank=True)
    object_id = models.CharField(_("object"), max_length=64, blank=True)
    # The user whose data it is, so that a deletion of the account finds the entry.
    user_id = models.BigIntegerField(null=True, db_index=True)
    # Names without values, because values may be secrets.
    changed_fields = models.CharField(_("changed fields"), max_length=FIELDS_CHARS, blank=True)
    reason = models.CharField(_("reason"), max_length=REASON_CHARS, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)

    objects: ClassVar[AuditEntryManager] = AuditEntryManager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit")
        # Only the permission to read exists, so that no group can give another.
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.object_type} {self.object_id}".rstrip()
