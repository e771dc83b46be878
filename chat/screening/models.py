"""The tables of screening: words, patterns, allowed phrases, refusal texts, and the list's version."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models.signals import m2m_changed, post_delete
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.apps import chat
from chat.screening import folding, limits
from chat.screening.expressions import Expression, NotAnExpression, compiled
from chat.screening.kinds import expression_of
from runtime import fast_sql

# Characters of a word or phrase at most. It bounds the text that a stream holds back.
MOST_CHARS = 32
# Characters of a folded word at most: folding makes up to eighteen letters of one character.
MOST_KEY_CHARS = MOST_CHARS * 20
# Characters of an own expression, of the text that replaces a hit, and of a refusal text at most.
MOST_EXPRESSION_CHARS = 200
MOST_REPLACEMENT_CHARS = 100
MOST_REFUSAL_CHARS = 500


class ListVersion(models.Model):
    """One row with a number that increases with every change of the list."""

    number = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.number)

    @classmethod
    def current(cls) -> int:
        row = fast_sql.read(cls, 1)  # each process asks every second
        return row.number if row else 0

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
    """Run a change of the list in a transaction, and publish it."""
    with transaction.atomic():
        yield
        ListVersion.publish_change()


class ListQuerySet(models.QuerySet[Any]):
    """Rows of the list; every change increments its version."""

    @list_change()
    def update(self, **values: Any) -> int:
        return super().update(**values)

    @list_change()
    def delete(self) -> tuple[int, dict[str, int]]:
        return super().delete()

    @list_change()
    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        return super().bulk_create(objs, *args, **kwargs)


class TermQuerySet(ListQuerySet):
    """Words or phrases."""

    @transaction.atomic
    def add_new(self, rows: Iterable[Any], groups: Mapping[str, Collection[int]] | None = None) -> int:
        """Store the rows whose keys are new and return their number; one batch of several.

        `groups` are the ids of the groups to which some are limited, by key. This process does not apply the change:
        call `ListVersion.publish_change` after the last batch.
        """
        by_key = {row.key: row for row in rows}
        known = set(self.filter(key__in=by_key).values_list("key", flat=True))
        new = [row for key, row in by_key.items() if key not in known]
        # Another transaction may be adding the same word.
        models.QuerySet.bulk_create(self, new, ignore_conflicts=True)
        if limited := {row.key: groups[row.key] for row in new if groups and row.key in groups}:
            through = self.model.groups.through
            stored = self.filter(key__in=limited).values_list("pk", "key")
            through.objects.bulk_create(
                (through(sensitiveword_id=pk, group_id=group) for pk, key in stored for group in limited[key]),
                ignore_conflicts=True,
            )
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
        super().clean()
        key = folding.key(self.text)
        if not key:
            raise ValidationError({self.text_field: _("This has no visible characters.")})
        if type(self).objects.filter(key=key).exclude(pk=self.pk).exists():
            raise ValidationError({self.text_field: _("This is already in the list.")})


class Action(models.TextChoices):
    """The change to a text with a hit."""

    BLOCK = "block", _("block")
    MASK = "mask", _("mask")
    REPLACE = "replace", _("replace")
    FLAG = "flag", _("flag")


class Scope(models.TextChoices):
    """Which texts are searched."""

    INPUT = "input", _("prompts")
    OUTPUT = "output", _("answers")
    BOTH = "both", _("both")


class RuleModel(models.Model):
    """The common fields of words and patterns: action, texts, and users."""

    Action, Scope = Action, Scope

    action = models.CharField(
        _("action"),
        max_length=7,
        choices=Action.choices,
        default=Action.BLOCK,
        help_text=_(
            "Blocking refuses a prompt and ends an answer before the hit; masking puts * in its place, replacing your "
            "text; flagging only records the hit."
        ),
    )
    replacement = models.CharField(
        _("replacement"),
        max_length=MOST_REPLACEMENT_CHARS,
        blank=True,
        default="",
        db_default="",
        help_text=_("The text that replaces a hit, such as [phone number]."),
    )
    scope = models.CharField(_("where"), max_length=6, choices=Scope.choices, default=Scope.BOTH)
    category = models.CharField(_("category"), max_length=50, blank=True, db_index=True)
    # Without a constraint in the database, because the previous release deletes groups without knowing this table.
    groups = models.ManyToManyField(
        Group,
        related_name="+",
        verbose_name=_("groups"),
        blank=True,
        db_constraint=False,
        help_text=_("Only the texts of their members are searched; without a group the texts of all users."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        if self.action == Action.REPLACE and not self.replacement.strip():
            raise ValidationError({"action": _("Replacing needs a text as replacement.")})


def _rule_constraints(name: str) -> list[models.BaseConstraint]:
    return [
        models.CheckConstraint(condition=models.Q(action__in=Action.values), name=f"{name}_action"),
        models.CheckConstraint(condition=models.Q(scope__in=Scope.values), name=f"{name}_scope"),
    ]


class SensitiveWord(TermModel, RuleModel):
    """A text to find in prompts, in completions, or in both."""

    text_field = "word"

    word = models.CharField(_("word"), max_length=MOST_CHARS)

    class Meta:
        verbose_name = _("sensitive word")
        verbose_name_plural = _("sensitive words")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~models.Q(key=""), name="word_can_be_seen"),
            *_rule_constraints("word"),
        ]


class SensitivePattern(RuleModel):
    """A kind of text to find, such as phone numbers, or an own regular expression."""

    class Kind(models.TextChoices):
        PHONE = "phone", _("phone number")
        IDENTITY_CARD = "identity_card", _("Chinese identity card")
        BANK_CARD = "bank_card", _("bank card")
        EMAIL = "email", _("e-mail address")
        EXPRESSION = "expression", _("own expression")

    title = models.CharField(_("title"), max_length=100)
    kind = models.CharField(_("kind"), max_length=20, choices=Kind.choices)
    expression = models.CharField(
        _("expression"),
        max_length=MOST_EXPRESSION_CHARS,
        blank=True,
        default="",
        help_text=_("For an own expression only; the handbook says which regular expressions can be used."),
    )

    objects: ClassVar[Any] = ListQuerySet.as_manager()

    class Meta:
        verbose_name = _("sensitive pattern")
        verbose_name_plural = _("sensitive patterns")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=models.Q(kind="expression") & ~models.Q(expression="")
                | ~models.Q(kind="expression") & models.Q(expression=""),
                name="pattern_expression",
            ),
            *_rule_constraints("pattern"),
        ]

    def __str__(self) -> str:
        return self.title

    @list_change()
    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.kind == self.Kind.EXPRESSION:
            limits.check(self.expression)  # a program may store a row without validating it
        super().save(*args, **kwargs)

    @list_change()
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        return super().delete(*args, **kwargs)

    def clean(self) -> None:
        """Refuse an expression that is missing, has no use, or would cost too much."""
        super().clean()
        if self.kind != self.Kind.EXPRESSION and self.expression:
            raise ValidationError({"expression": _("Only a pattern of the kind “own expression” has an expression.")})
        if self.kind == self.Kind.EXPRESSION:
            try:
                limits.check(self.expression)
            except NotAnExpression as refusal:
                raise ValidationError({"expression": refusal.reason}) from refusal
            if self.enabled:
                self._check_together()

    def _check_together(self) -> None:
        """Refuse to enable an expression that would cost too much beside the others."""
        try:
            limits.check_together([*self._others(), compiled(self.expression)])
        except NotAnExpression as refusal:
            raise ValidationError({"enabled": refusal.reason}) from refusal

    def _others(self) -> Iterator[Expression]:
        """Yield the expressions of the other patterns that are enabled."""
        rows = SensitivePattern.objects.filter(enabled=True).exclude(pk=self.pk)
        for kind, expression in rows.values_list("kind", "expression"):
            # One that an earlier release allowed may be unusable now, and is not searched for.
            with suppress(NotAnExpression):
                yield expression_of(kind, expression)


class RefusalText(models.Model):
    """The text that explains refusals of a category to users, in two languages."""

    category = models.CharField(_("category"), max_length=50, unique=True)
    text_zh = models.TextField(_("text (Chinese)"), blank=True, max_length=MOST_REFUSAL_CHARS)
    text_en = models.TextField(
        _("text (English)"),
        blank=True,
        max_length=MOST_REFUSAL_CHARS,
        help_text=_("Without a text in a language its users read the general one."),
    )

    objects: ClassVar[Any] = ListQuerySet.as_manager()

    class Meta:
        verbose_name = _("refusal text")
        verbose_name_plural = _("refusal texts")

    def __str__(self) -> str:
        return self.category

    @list_change()
    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)

    @list_change()
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        return super().delete(*args, **kwargs)

    def clean(self) -> None:
        """Refuse a row without a text."""
        if not (self.text_zh.strip() or self.text_en.strip()):
            raise ValidationError({"text_en": _("A text is needed in one language at least.")})


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


def _publish_change(action: str, **_values: Any) -> None:
    if action.startswith("post_"):
        ListVersion.publish_change()


def _publish_deletion(**_values: Any) -> None:
    """Publish the deletion of a group, because its lists become general ones."""
    ListVersion.publish_change()


for _model in (SensitiveWord, SensitivePattern):
    m2m_changed.connect(_publish_change, sender=_model.groups.through, dispatch_uid=f"list-{_model.__name__}")
post_delete.connect(_publish_deletion, sender=Group, dispatch_uid="list-groups")
