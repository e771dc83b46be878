"""The table of shares: frozen copies of branches, which other users read at a link."""

import secrets
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.storage import ROW_BYTES, Bytes, CountedRows

# Random bytes of a token, which is all that a reader needs to know.
TOKEN_BYTES = 24


def new_token() -> str:
    """Return 32 characters that cannot be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class ShareQuerySet(CountedRows["Share"]):
    def open_now(self) -> "ShareQuerySet":
        """Return the shares whose time has not passed, and whose conversation is stored."""
        # A column of the conversation, because with its key alone the tables are not joined.
        return self.exclude(expires_at__lte=timezone.now()).filter(conversation__updated_at__isnull=False)

    def ended(self) -> "ShareQuerySet":
        """Return the shares that are not open, those too whose conversation a previous release deleted."""
        return self.exclude(pk__in=self.model.objects.open_now().values("pk"))

    def stored_bytes(self) -> int:
        """Return what these shares count in `StorageUse`."""
        return self.aggregate(bytes=Sum(Bytes("title") + Bytes("turns") + ROW_BYTES))["bytes"] or 0


class Share(models.Model):
    """A copy of one branch, as it was when its owner made the link."""

    # Without constraints, because a process of the previous release deletes users and conversations without these rows.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="shares", db_constraint=False, verbose_name=_("user")
    )
    conversation = models.ForeignKey("chat.Conversation", models.CASCADE, related_name="shares", db_constraint=False)
    token = models.CharField(max_length=64, unique=True, default=new_token)
    title = models.CharField(_("title"), max_length=255)
    # A JSON list of turns, as `chat.sharing.frozen` encodes them.
    turns = models.TextField()
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True, db_index=True)

    objects: ClassVar[ShareQuerySet] = ShareQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("share")
        verbose_name_plural = _("shares")

    def __str__(self) -> str:
        return f"{self.pk} of {self.user_id}"
