"""The tables of screening: sensitive words, allowed phrases, the version of the list, and hits."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.apps import chat
from chat.screening import folding

# Characters of a word or phrase at most. It bounds the text that a stream holds back.
MOST_CHARS = 32
# Characters of a folded word at most: folding makes up to eighteen letters of one character.
MOST_KEY_CHARS = MOST_CHARS * 20
# How long hits are kept: Chinese operators must be able to look back half a year.
HITS_KEPT = timedelta(days=183)


class ListVersion(models.Model):
    """One row with a number that increases with every change of words or phrases."""

    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

    @classmethod
    def current(cls) -> int:
        return cls.objects.filter(pk=1).values_list("number", flat=True).first() or 0

    @classmethod
    def increment(cls) -> None:
        """Record a change for other processes."""
        ListVersion.objects.bulk_create([ListVersion(pk=1)], ignore_conflicts=True)
        ListVersion.objects.filter(pk=1).update(number=models.F("number") + 1)

    @classmethod
    def publish_change(cls) -> None:
        """Record a change for other processes, and apply it in this one after the commit."""
        cls.increment()
        transaction.on_commit(chat().words.refresh_if_loaded, robust=True)


@contextmanager
def list_change() -> Iterator[None]:
    """Run a change of words or phrases in a transaction, and publish it."""
    with transaction.atomic():
        yield
        ListVersion.publish_change()


class TermQuerySet(models.QuerySet[Any]):
    """Words or phrases; every change increments the version of the list."""

    @list_change()
    def update(self, **values: Any) -> int:
        return super().update(**values)

    @list_change()
    def delete(self) -> tuple[int, dict[str, int]]:
        return super().delete()

    @list_change()
    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        return super().bulk_create(objs, *args, **kwargs)

    @transaction.atomic
    def add_new(self, rows: Iterable[Any]) -> int:
        """Store the rows whose keys are new and return their number; one batch of several.

        This process does not apply the change: call `ListVersion.publish_change` after the last batch.
        """
        by_key = {row.key: row for row in rows}
        known = set(self.filter(key__in=by_key).values_list("key", flat=True))
        new = [row for key, row in by_key.items() if key not in known]
        # Another transaction may be adding the same word.
        super().bulk_create(new, ignore_conflicts=True)
        ListVersion.increment()
        return len(new)


class TermModel(models.Model):
    """A text to find. Texts with the same folded key are stored once."""

    # The name of the field that holds the text.
    text_field: ClassVar[str]

    key = models.CharField(max_length=MOST_KEY_CHARS, unique=True, editable=False)

    objects: ClassVar[Any] = TermQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.text

    @list_change()
    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = folding.key(self.text)
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "key"}
        super().save(*args, **kwargs)

    @list_change()
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        return super().delete(*args, **kwargs)

    @property
    def text(self) -> str:
        return str(getattr(self, self.text_field))

    def clean(self) -> None:
        key = folding.key(self.text)
        if not key:
            raise ValidationError({self.text_field: _("This has no visible characters.")})
        if type(self).objects.filter(key=key).exclude(pk=self.pk).exists():
            raise ValidationError({self.text_field: _("This is already in the list.")})


class SensitiveWord(TermModel):
    """A text to block or mask in prompts, in completions, or in both."""

    class Action(models.TextChoices):
        BLOCK = "block", _("block")
        MASK = "mask", _("mask")

    class Scope(models.TextChoices):
        INPUT = "input", _("prompts")
        OUTPUT = "output", _("answers")
        BOTH = "both", _("both")

    text_field = "word"

    word = models.CharField(_("word"), max_length=MOST_CHARS)
    action = models.CharField(
        _("action"),
        max_length=5,
        choices=Action.choices,
        default=Action.BLOCK,
        help_text=_("Blocking refuses a prompt and ends an answer before the word; masking puts * in its place."),
    )
    scope = models.CharField(_("where"), max_length=6, choices=Scope.choices, default=Scope.BOTH)
    category = models.CharField(_("category"), max_length=50, blank=True, db_index=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("sensitive word")
        verbose_name_plural = _("sensitive words")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~models.Q(key=""), name="word_can_be_seen"),
            models.CheckConstraint(condition=models.Q(action__in=["block", "mask"]), name="word_action"),
            models.CheckConstraint(condition=models.Q(scope__in=["input", "output", "both"]), name="word_scope"),
        ]


class AllowedPhrase(TermModel):
    """A text within which words are ignored, such as "Scunthorpe" or "小学生日记"."""

    text_field = "phrase"

    phrase = models.CharField(_("phrase"), max_length=MOST_CHARS)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("allowed phrase")
        verbose_name_plural = _("allowed phrases")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~models.Q(key=""), name="phrase_can_be_seen")
        ]


class Hit(models.Model):
    """Record that a word was found in a user's text, once per word and text."""

    class Direction(models.TextChoices):
        INPUT = "input", _("prompt")
        OUTPUT = "output", _("answer")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="screening_hits", verbose_name=_("user")
    )
    # A number, not a relation, because a hit outlives its word.
    word_id = models.BigIntegerField(_("word"))
    direction = models.CharField(_("where"), max_length=6, choices=Direction.choices)
    # None for a prompt that was refused.
    generation = models.ForeignKey(
        "chat.Generation", models.SET_NULL, null=True, related_name="screening_hits", verbose_name=_("generation")
    )
    created_at = models.DateTimeField(_("time"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("hit")
        verbose_name_plural = _("hits")

    def __str__(self) -> str:
        return f"{self.word_id} {self.direction}"
