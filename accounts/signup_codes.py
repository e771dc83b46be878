"""Invitations by the operator, and groups that codes give.

A code stands for several sign-ups, may expire, and gives new users groups. Users have invite codes of their own
(`invites`); both kinds are typed into the same field.
"""

from typing import Any, ClassVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import codes
from quotas.models import RedeemBatch

CODE_CHARS = 16
# Characters of a code that we make. Codes of users have ten, so the two kinds never meet by chance.
_NEW_CODE_CHARS = 12


def new_signup_code() -> str:
    return codes.new_code(_NEW_CODE_CHARS)


class SignupCodeManager(models.Manager["SignupCode"]):
    def usable(self, code: str) -> "SignupCode | None":
        """Return the usable invitation with this code; ignore case and outer spaces."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, code=code.strip().upper(), uses__lt=F("most_uses")).first()

    def take(self, pk: int) -> bool:
        """Take one use; return whether there was one left.

        Of concurrent sign-ups exactly as many succeed as uses are left.
        """
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return bool(self.filter(unexpired, pk=pk, uses__lt=F("most_uses")).update(uses=F("uses") + 1))


class SignupCode(models.Model):
    """An invitation that the operator gives to a class, a team or one user."""

    code = models.CharField(
        _("code"),
        max_length=CODE_CHARS,
        unique=True,
        default=new_signup_code,
        validators=[RegexValidator(r"^[A-Z0-9]{4,16}$", _("4 to 16 capital letters and digits."))],
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    # Without constraints of the database, because a process of the previous release deletes groups without these rows.
    groups = models.ManyToManyField(Group, blank=True, related_name="+", verbose_name=_("groups"), db_constraint=False)
    most_uses = models.PositiveIntegerField(_("number of uses"), default=1, validators=[MinValueValidator(1)])
    uses = models.PositiveIntegerField(_("used"), default=0, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    # With SIGNUP_APPROVAL: accounts made with this code need none.
    approves = models.BooleanField(_("approves the account"), default=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects: ClassVar[SignupCodeManager] = SignupCodeManager()

    class Meta:
        verbose_name = _("invitation by the operator")
        verbose_name_plural = _("invitations by the operator")

    def __str__(self) -> str:
        return self.code

    def clean(self) -> None:
        users: Any = SignupCode._meta.apps.get_model("accounts", "User")
        if users.objects.filter(invite_code=self.code).exists():
            raise ValidationError({"code": _("This is the invite code of a user.")})


class BatchGroup(models.Model):
    """The group that users get who redeem a code of a batch."""

    batch = models.OneToOneField(RedeemBatch, models.CASCADE, related_name="+", verbose_name=_("batch"))
    # Without a constraint, because a process of the previous release deletes groups without these rows.
    group = models.ForeignKey(Group, models.CASCADE, related_name="+", verbose_name=_("group"), db_constraint=False)

    class Meta:
        verbose_name = _("group by redeem code")
        verbose_name_plural = _("groups by redeem code")

    def __str__(self) -> str:
        return f"{self.batch} → {self.group}"
