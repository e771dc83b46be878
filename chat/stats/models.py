"""The table of daily counts."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class DailyAnswers(models.Model):
    """Daily counts of a user's generations, by the day on which each began."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, verbose_name=_("user"))
    day = models.DateField(_("day"))
    model = models.CharField(_("model"), max_length=100)
    upstream = models.CharField(_("upstream"), max_length=100, blank=True)
    answers = models.PositiveIntegerField(_("answers"), default=0)
    daily_charges = models.PositiveIntegerField(_("charged to the daily allowance"), default=0)
    credit_charges = models.PositiveIntegerField(_("charged to credits"), default=0)
    failures = models.PositiveIntegerField(_("failures"), default=0)
    input_tokens = models.BigIntegerField(_("input tokens"), default=0)
    output_tokens = models.BigIntegerField(_("output tokens"), default=0)

    class Meta:
        verbose_name = _("answers of a day")
        verbose_name_plural = _("answers by day")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "day", "model", "upstream"], name="answers_once_per_day")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["day", "model", "upstream"], name="answers_by_day")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.day} {self.model}: {self.answers}"
