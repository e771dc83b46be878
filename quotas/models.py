"""Quotas, daily usage, credits, reservations and the ledger; invitations and redeem codes.

Only `ledger.py` writes usage, credits, reservations and the ledger, `invitations.py` and `redeem_codes.py` the rows
named after them. Every generation writes here, so a foreign key has an index of its own only where queries need it and
no other index begins with it; quotas are hardly ever deleted.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from providers.models import ChatModel
from quotas.statements import MOST
from web import default_texts

# Titles that setup.py gives, by slug.
FIRST_RUN_TITLES = {"standard": _("Standard"), "premium": _("Premium")}
# Invitations for which an inviter gets credits on one day; further ones are rewarded on a later day.
REWARDS_A_DAY = 20
# SQLite itself would accept values above PostgreSQL's integer.
_COUNTABLE = [MaxValueValidator(MOST)]


class Source(models.TextChoices):
    DAILY = "daily", _("daily allowance")
    CREDIT = "credit", _("credit")


class Quota(models.Model):
    """A daily allowance for models. Limit None: unlimited; 0: credits only."""

    slug = models.SlugField(_("slug"), max_length=50, unique=True)
    title = models.CharField(_("title"), max_length=100)
    daily_limit = models.PositiveIntegerField(
        _("daily limit"), null=True, blank=True, validators=_COUNTABLE, help_text=_("Empty: no limit. 0: credits only.")
    )
    inviter_credits = models.PositiveIntegerField(_("credits for the inviter"), default=0, validators=_COUNTABLE)
    invitee_credits = models.PositiveIntegerField(_("credits for the invited"), default=0, validators=_COUNTABLE)
    models = models.ManyToManyField(ChatModel, through="QuotaModel", related_name="quotas", verbose_name=_("models"))

    class Meta:
        verbose_name = _("quota")
        verbose_name_plural = _("quotas")

    def __str__(self) -> str:
        return self.slug

    @property
    def shown_title(self) -> StrOrPromise:
        return default_texts.localized(self.title, FIRST_RUN_TITLES.get(self.slug))

    def cover(self, chosen: Iterable[ChatModel]) -> None:
        """Cover exactly these models, and take them out of other quotas."""
        chosen = list(chosen)
        self.links.exclude(model__in=chosen).delete()
        for model in chosen:
            QuotaModel.objects.update_or_create(model=model, defaults={"quota": self})


class QuotaModel(models.Model):
    """The one quota that a model counts against."""

    quota = models.ForeignKey(Quota, models.CASCADE, related_name="links", verbose_name=_("quota"))
    model = models.OneToOneField(ChatModel, models.CASCADE, related_name="quota_link", verbose_name=_("model"))

    class Meta:
        verbose_name = _("model of a quota")
        verbose_name_plural = _("models of a quota")

    def __str__(self) -> str:
        return f"{self.quota.slug}: {self.model.slug}"


class QuotaGroupLimit(models.Model):
    """The daily limit of a group's members, instead of the quota's own; the best counts."""

    quota = models.ForeignKey(Quota, models.CASCADE, related_name="group_limits", verbose_name=_("quota"))
    group = models.ForeignKey(Group, models.CASCADE, related_name="+", verbose_name=_("group"))
    daily_limit = models.PositiveIntegerField(
        _("daily limit"), null=True, blank=True, validators=_COUNTABLE, help_text=_("Empty: no limit. 0: credits only.")
    )

    class Meta:
        verbose_name = _("limit of a group")
        verbose_name_plural = _("limits of groups")
        constraints = [models.UniqueConstraint(fields=["quota", "group"], name="limit_once_per_group")]

    def __str__(self) -> str:
        return f"{self.quota.slug}: {self.group.name}"


class DailyUsage(models.Model):
    """Units of a quota that a user has taken on a day, running generations included."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, verbose_name=_("user"))
    quota = models.ForeignKey(Quota, models.CASCADE, db_index=False, verbose_name=_("quota"))
    day = models.DateField(_("day"), help_text=_("The calendar day in TIME_ZONE."))
    used = models.PositiveIntegerField(_("used"), default=0)
    # Unused. Processes of the previous release read and write it; docs/adr/0016 plans its removal.
    revision = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("daily usage")
        verbose_name_plural = _("daily usage")
        constraints = [
            models.UniqueConstraint(fields=["user", "quota", "day"], name="usage_once_per_day"),
            models.CheckConstraint(condition=models.Q(used__gte=0), name="usage_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.quota_id} {self.day}: {self.used}"


class CreditBalance(models.Model):
    """Credits of a user for a quota: the ledger's sum less open reservations."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, verbose_name=_("user"))
    quota = models.ForeignKey(Quota, models.CASCADE, db_index=False, verbose_name=_("quota"))
    credits = models.PositiveIntegerField(_("credits"), default=0)
    # Unused. Processes of the previous release read and write it; docs/adr/0016 plans its removal.
    revision = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("credit balance")
        verbose_name_plural = _("credit balances")
        constraints = [
            models.UniqueConstraint(fields=["user", "quota"], name="balance_once"),
            models.CheckConstraint(condition=models.Q(credits__gte=0), name="credits_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.quota_id}: {self.credits}"


class Reservation(models.Model):
    """A unit reserved for a running generation; it ends exactly once, settled or released."""

    class Status(models.TextChoices):
        RESERVED = "reserved", _("reserved")
        SETTLED = "settled", _("settled")
        RELEASED = "released", _("released")

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name=_("user"))
    quota = models.ForeignKey(Quota, models.PROTECT, db_index=False, verbose_name=_("quota"))
    day = models.DateField(_("day"))
    source = models.CharField(_("source"), max_length=10, choices=Source.choices)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.RESERVED)
    reference = models.CharField(_("generation"), max_length=40)
    reason = models.CharField(_("reason"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("reservation")
        verbose_name_plural = _("reservations")
        constraints = [
            models.UniqueConstraint(fields=["reference"], name="reservation_once_per_generation"),
            models.CheckConstraint(condition=models.Q(source__in=["daily", "credit"]), name="reservation_source"),
            models.CheckConstraint(
                condition=models.Q(status="reserved", ended_at=None)
                | models.Q(status__in=["settled", "released"], ended_at__isnull=False),
                name="reservation_ended_or_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reference} {self.status}"


class LedgerEntry(models.Model):
    """One grant (+) or spend (−). Rows are only added; balances are their sums.

    A spend names its generation. A credit that an operator takes back names none. Rows outlive their user.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, db_index=False, verbose_name=_("user")
    )
    quota = models.ForeignKey(Quota, models.PROTECT, db_index=False, verbose_name=_("quota"))
    amount = models.IntegerField(_("amount"))
    source = models.CharField(_("source"), max_length=10, choices=Source.choices)
    reason = models.CharField(_("reason"), max_length=200)
    reference = models.CharField(_("generation"), max_length=40, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger")
        constraints = [
            models.CheckConstraint(condition=~models.Q(amount=0), name="amount_not_zero"),
            models.UniqueConstraint(
                fields=["reference"],
                name="one_spend_per_generation",
                condition=models.Q(amount__lt=0) & ~models.Q(reference=""),
            ),
            models.CheckConstraint(
                condition=models.Q(reference="") | models.Q(amount__gte=-1), name="a_generation_spends_one"
            ),
            # Nothing grants the day's allowance, and only a generation spends it.
            models.CheckConstraint(
                condition=models.Q(source="credit") | (models.Q(source="daily", amount=-1) & ~models.Q(reference="")),
                name="ledger_source",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "-id"], name="ledger_by_user"),
            # Grants: for their list, and searches of their reasons.
            models.Index(fields=["-id"], name="ledger_grants", condition=models.Q(reference="")),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.amount:+d} {self.reason}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row; raise TypeError for one that exists."""
        if not self._state.adding:
            raise TypeError("A ledger row cannot be changed. Add another one.")
        super().save(*args, **kwargs)


class Invitation(models.Model):
    """An account made with an inviter's code, and the credits that the inviter earned.

    The row stays when the invited user is deleted, so that deleting accounts does not bring back a day's rewards.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        CREDITED = "credited", _("credited")
        # The invited user had an account before.
        NOTHING = "nothing", _("earns nothing")

    inviter = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        db_index=False,
        related_name="invitations",
        verbose_name=_("invited by"),
    )
    invited = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="invitation", verbose_name=_("invited")
    )
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.PENDING)
    reward = models.PositiveIntegerField(_("earned"), default=0, help_text=_("Credits, all quotas together."))
    joined_at = models.DateTimeField(_("joined"), auto_now_add=True)
    credited_at = models.DateTimeField(_("credited at"), null=True, blank=True)

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            models.CheckConstraint(condition=~models.Q(inviter=models.F("invited")), name="nobody_invites_themselves"),
            models.CheckConstraint(
                condition=models.Q(status="credited", credited_at__isnull=False)
                | models.Q(status__in=["pending", "nothing"], credited_at=None, reward=0),
                name="invitation_credited_or_not",
            ),
        ]
        indexes = [models.Index(fields=["inviter", "-id"], name="invitations_by_inviter")]

    def __str__(self) -> str:
        return f"{self.inviter_id} → {self.invited_id} {self.status}"


class InviterDay(models.Model):
    """The number of invitations that earned an inviter credits on a day."""

    inviter = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, db_index=False, verbose_name=_("invited by"))
    day = models.DateField(_("day"), help_text=_("The calendar day in TIME_ZONE."))
    rewarded = models.PositiveIntegerField(_("rewarded"), default=0)

    class Meta:
        verbose_name = _("inviter's day")
        verbose_name_plural = _("inviters' days")
        constraints = [
            models.UniqueConstraint(fields=["inviter", "day"], name="inviter_once_per_day"),
            models.CheckConstraint(condition=models.Q(rewarded__lte=REWARDS_A_DAY), name="rewards_of_a_day"),
        ]

    def __str__(self) -> str:
        return f"{self.inviter_id} {self.day}: {self.rewarded}"


class RedeemBatch(models.Model):
    """Codes that were made together."""

    note = models.CharField(_("note"), max_length=200, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("made by")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("batch of redeem codes")
        verbose_name_plural = _("batches of redeem codes")

    def __str__(self) -> str:
        return f"#{self.pk} {self.note}".strip()


class RedeemCode(models.Model):
    """Credits for the first user who types the code.

    Stored readable, without dashes, because operators export codes again.
    """

    batch = models.ForeignKey(RedeemBatch, models.CASCADE, related_name="codes", verbose_name=_("batch"))
    code = models.CharField(_("code"), max_length=20, unique=True)
    quota = models.ForeignKey(Quota, models.CASCADE, db_index=False, verbose_name=_("quota"))
    credits = models.PositiveIntegerField(_("credits"))
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    redeemed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, verbose_name=_("redeemed by")
    )
    redeemed_at = models.DateTimeField(_("redeemed"), null=True, blank=True)

    class Meta:
        verbose_name = _("redeem code")
        verbose_name_plural = _("redeem codes")
        indexes = [models.Index(fields=["batch", "id"], name="codes_of_batch")]
        constraints = [
            models.CheckConstraint(condition=models.Q(credits__gte=1), name="code_is_worth_something"),
            models.CheckConstraint(
                condition=models.Q(redeemed_by=None) | models.Q(redeemed_at__isnull=False), name="code_redeemed_or_not"
            ),
        ]

    def __str__(self) -> str:
        return self.grouped()

    def grouped(self) -> str:
        """Return the code in groups: `XXXXX-XXXXX-XXXXX-XXXXX`."""
        return "-".join(self.code[start : start + 5] for start in range(0, len(self.code), 5))
