"""Announcements of staff to users."""

from typing import ClassVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

MOST_CHARS = 1_000


class Announcement(models.Model):
    """A text at the top of pages for a while, in two languages.

    An empty one falls back to the other.
    """

    class Severity(models.TextChoices):
        INFO = "info", _("information")
        WARNING = "warning", _("warning")
        CRITICAL = "critical", _("critical")

    class Audience(models.TextChoices):
        ALL = "all", _("all users and visitors")
        MEMBERS = "members", _("users who are logged in")
        GROUPS = "groups", _("members of groups")

    text_en = models.TextField(
        _("text (English)"),
        blank=True,
        max_length=MOST_CHARS,
        help_text=_("Also **bold**, *italic*, `code` and [links](https://example.org)."),
    )
    text_zh = models.TextField(_("text (Chinese)"), blank=True, max_length=MOST_CHARS)
    severity = models.CharField(_("severity"), max_length=10, choices=Severity.choices, default=Severity.INFO)
    audience = models.CharField(_("shown to"), max_length=10, choices=Audience.choices, default=Audience.ALL)
    # Without a constraint in the database, because the previous release deletes groups without knowing this table.
    groups = models.ManyToManyField(Group, related_name="+", verbose_name=_("groups"), blank=True, db_constraint=False)
    starts_at = models.DateTimeField(_("from"), default=timezone.now)
    ends_at = models.DateTimeField(_("until"), null=True, blank=True, help_text=_("Empty: until you delete it."))

    class Meta:
        verbose_name = _("announcement")
        verbose_name_plural = _("announcements")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(ends_at=None) | models.Q(ends_at__gt=models.F("starts_at")),
                name="announcement_ends_later",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    def clean(self) -> None:
        """Refuse an announcement without a text."""
        if not (self.text_en.strip() or self.text_zh.strip()):
            raise ValidationError({"text_en": _("A text is needed in one language at least.")})
        if self.ends_at and self.starts_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": _("The end comes before the beginning.")})
