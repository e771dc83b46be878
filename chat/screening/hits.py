"""The table of hits: what screening found, and what staff think of it."""

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.screening.models import Action

# Characters of a category's name at most.
CATEGORY_CHARS = 50
# How long hits are kept: Chinese operators must be able to look back half a year.
HITS_KEPT = timedelta(days=183)


class Hit(models.Model):
    """Record that something was found in a user's text, once per thing and text."""

    class Source(models.TextChoices):
        WORD = "word", _("word")
        PATTERN = "pattern", _("pattern")
        SERVICE = "service", _("moderation service")

    Action = Action

    class Direction(models.TextChoices):
        INPUT = "input", _("prompt")
        OUTPUT = "output", _("answer")

    class Verdict(models.TextChoices):
        OPEN = "open", _("open")
        HARMLESS = "harmless", _("harmless")
        CONFIRMED = "confirmed", _("confirmed")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="screening_hits", verbose_name=_("user")
    )
    source = models.CharField(
        _("found by"), max_length=10, choices=Source.choices, default=Source.WORD, db_default=Source.WORD
    )
    # A number, not a relation, because a hit outlives its word or pattern; 0 for the moderation service.
    word_id = models.BigIntegerField(_("word"))
    # Both as they were when the text was screened. Hits of earlier releases have neither.
    category = models.CharField(_("category"), max_length=CATEGORY_CHARS, blank=True, default="", db_default="")
    action = models.CharField(_("action"), max_length=10, choices=Action.choices, blank=True, default="", db_default="")
    direction = models.CharField(_("where"), max_length=6, choices=Direction.choices)
    # None for a prompt that was refused.
    generation = models.ForeignKey(
        "chat.Generation", models.SET_NULL, null=True, related_name="screening_hits", verbose_name=_("generation")
    )
    # Of a refused prompt, the text around what was found; empty without HIT_EXCERPT_CHARS.
    excerpt = models.TextField(_("excerpt"), blank=True, default="", db_default="")
    created_at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)
    verdict = models.CharField(
        _("verdict"), max_length=10, choices=Verdict.choices, default=Verdict.OPEN, db_default=Verdict.OPEN
    )
    # Its index has the reviewed hits only.
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("reviewed by"),
    )
    reviewed_at = models.DateTimeField(_("reviewed"), null=True)

    class Meta:
        verbose_name = _("hit")
        verbose_name_plural = _("hits")
        permissions = [("view_hit_context", "Can read the text around a hit")]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["reviewed_by"], name="hits_by_reviewer", condition=models.Q(reviewed_by__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.word_id} {self.direction}"
