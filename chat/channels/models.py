"""The tables of push channels: state, messages, and the highest numbers of pruned channels."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

# Seconds without a message after which readers are disconnected, unless `push.open` sets another limit.
IDLE_SECONDS = 600.0


class Channel(models.Model):
    """The push channel of one user and key: its numbering, and how it ended.

    Numbers have no gaps, because the writer that increments `last_event` locks the row until its message is stored.
    """

    class Ending(models.TextChoices):
        COMPLETE = "complete", _("complete")
        ERROR = "error", _("error")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="channels", verbose_name=_("user"))
    key = models.CharField(_("channel key"), max_length=128)
    # The first event is `base` + 1; events up to `dropped_until` have been deleted.
    base = models.BigIntegerField(default=0)
    dropped_until = models.BigIntegerField(default=0)
    last_event = models.BigIntegerField(default=0)
    kept_bytes = models.BigIntegerField(default=0)
    timeout_seconds = models.FloatField(_("idle limit in seconds"), default=IDLE_SECONDS)
    ending = models.CharField(_("ending"), max_length=8, choices=Ending.choices, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))

    class Meta:
        verbose_name = _("push channel")
        verbose_name_plural = _("push channels")
        permissions = [("publish_channel", "Can publish to push channels")]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "key"], name="one_channel_per_key")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["expires_at"], name="channels_to_prune")]

    def __str__(self) -> str:
        return f"{self.user_id}:{self.key}"


class ChannelMessage(models.Model):
    """One event of a push channel."""

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="messages", db_index=False)
    number = models.BigIntegerField()
    event = models.CharField(max_length=100)
    data = models.TextField(blank=True)
    size = models.IntegerField(help_text="bytes on the wire")

    class Meta:
        verbose_name = _("pushed message")
        verbose_name_plural = _("pushed messages")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["channel", "number"], name="one_message_per_number")
        ]

    def __str__(self) -> str:
        return f"{self.channel_id}:{self.number}"


class ChannelMark(models.Model):
    """The highest number of this user's pruned channels; new channels begin above it.

    Because of this an event id that a reader keeps longer than its channel never names an event of a new channel.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+")
    number = models.BigIntegerField()

    class Meta:
        verbose_name = _("channel mark")
        verbose_name_plural = _("channel marks")

    def __str__(self) -> str:
        return f"{self.user_id}:{self.number}"
