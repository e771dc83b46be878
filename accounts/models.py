"""People and their API tokens."""

import hashlib
import secrets
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

# No look-alikes: codes are read aloud and typed by hand.
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


def new_invite_code() -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _i in range(10))


class LowercaseEmailField(models.EmailField):  # type: ignore[type-arg]
    """An address kept and looked up in lower case, as allauth asks for it; nobody's mailbox depends on case."""

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        return prepared.lower() if isinstance(prepared, str) else prepared


class User(AbstractUser):
    """A person. Names and addresses are unique whatever their case.

    An account without an address cannot chat unless a social login is linked.
    """

    email = LowercaseEmailField(_("email address"), blank=True)
    invite_code = models.CharField(
        _("invite code"), max_length=16, unique=True, default=new_invite_code, editable=False
    )
    invited_by = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, verbose_name=_("invited by"))
    # Prompts that moderation refused, ours or a vendor's, and answers it cut: for operators to look at.
    abuse_count = models.PositiveIntegerField(_("refused by moderation"), default=0, editable=False)

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), name="email_once", condition=~models.Q(email="")),
            models.UniqueConstraint(Lower("username"), name="username_once"),
        ]


def digest(secret: str) -> str:
    """Return what is stored of a random secret. They have 128 bits and more: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiToken(models.Model):
    """A personal token for programs: `sk-…`, shown once, kept as a digest."""

    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, user: User, name: str) -> "tuple[Self, str]":
        """Make a token; return it and its secret, which is known only now."""
        secret = f"sk-{secrets.token_urlsafe(32)}"
        return cls.objects.create(user=user, name=name, digest=digest(secret)), secret


class Ticket(models.Model):
    """A pass for one event stream: one use, one user, one path. Kept in the database, where every process sees it."""

    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"))
    path = models.CharField(max_length=2000)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("ticket")
        verbose_name_plural = _("tickets")

    def __str__(self) -> str:
        return self.path
