"""Alerts for operators, and the messages about them."""

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _


class Alert(models.Model):
    """A condition that an operator should know about.

    `subject` identifies what it is about, such as a key; while it is open, there is no second row about the same.
    """

    class Kind(models.TextChoices):
        KEY_DEAD = "key_dead", _("key dead")
        BALANCE_EMPTY = "balance_empty", _("balance empty")
        CIRCUIT_OPEN = "circuit_open", _("circuit open")
        DISK_NEARLY_FULL = "disk_nearly_full", _("disk nearly full")
        QUOTA_NEARLY_USED = "quota_nearly_used", _("quota nearly used")

    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    subject = models.CharField(_("subject"), max_length=400)
    # Names and numbers for the text, as they were when the alert began.
    details: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(default=dict)
    opened_at = models.DateTimeField(_("began"))
    # When a process last found the condition.
    seen_at = models.DateTimeField(_("last found"))
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["kind", "subject"], condition=models.Q(ended_at=None), name="one_open_alert_per_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class AlertMessage(models.Model):
    """A message about the beginning or the end of an alert to one target.

    `target` is `mail`, or a webhook by a digest of its address. A process claims an attempt by counting it.
    """

    class Event(models.TextChoices):
        OPENED = "opened", _("beginning")
        ENDED = "ended", _("recovery")

    alert = models.ForeignKey(Alert, models.CASCADE, related_name="messages", verbose_name=_("alert"))
    event = models.CharField(_("event"), max_length=10, choices=Event.choices)
    target = models.CharField(_("target"), max_length=40)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    due_at = models.DateTimeField(_("next attempt"))
    sent_at = models.DateTimeField(_("sent"), null=True)
    error = models.CharField(_("error"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("message about an alert")
        verbose_name_plural = _("messages about alerts")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["alert", "event", "target"], name="one_message_per_event_and_target")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at"], name="messages_to_send", condition=models.Q(sent_at=None))
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} {self.event} {self.target}"
