"""Users, their API tokens and their tickets."""

import hashlib
import secrets
from collections.abc import Collection, Iterable
from typing import Any, ClassVar, Self

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import AbstractUser, Group
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts import addresses, codes, usernames

# Django finds models of the app only here.
from accounts.audit.models import AuditEntry as AuditEntry
from accounts.guest_uses import GuestUse as GuestUse
from accounts.page_texts import PageText as PageText
from accounts.security_events import SecurityEvent as SecurityEvent
from accounts.signup_codes import BatchGroup as BatchGroup
from accounts.signup_codes import SignupCode as SignupCode
from web.refusals import Conflict

log = structlog.get_logger("accounts")

# API tokens that one user may have; a further one is refused with 409.
MOST_API_TOKENS = 50
# Characters of the instructions that a user gives for all conversations, at most.
INSTRUCTIONS_CHARS = 4_000

# Characters of a version of the terms of use, at most.
TERMS_VERSION_CHARS = 100


def new_invite_code() -> str:
    return codes.new_code(10)


class LowercaseEmailField(models.EmailField):  # type: ignore[type-arg]
    """An e-mail address that is stored and looked up in lower case, as allauth expects."""

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        return prepared.lower() if isinstance(prepared, str) else prepared


class User(AbstractUser):
    """A user. Names and addresses are unique regardless of case.

    An account without an address cannot chat unless a social login is linked.
    """

    # Without Django's validator: `name_problem` checks new names, and accounts keep the names that they have.
    username = models.CharField(
        _("username"),
        max_length=150,
        unique=True,
        error_messages={"unique": _("A user with that username already exists.")},
        help_text=_("Letters of one script (Chinese may be mixed with Latin), digits and _ - . only."),
    )
    email = LowercaseEmailField(_("email address"), blank=True)
    # Empty (NULL) for accounts that are older than this rule and whose name looks like an older account's.
    username_skeleton = models.CharField(
        max_length=usernames.SKELETON_CHARS, unique=True, null=True, default=None, editable=False
    )
    invite_code = models.CharField(
        _("invite code"), max_length=16, unique=True, default=new_invite_code, editable=False
    )
    invited_by = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, verbose_name=_("invited by"))
    # The invitation by the operator with which the account was made.
    signup_code = models.ForeignKey(
        SignupCode,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("invitation by the operator"),
    )
    # With SIGNUP_APPROVAL: the account asks no model until staff approve it.
    awaits_approval = models.BooleanField(_("waits for approval"), default=False, db_default=False)
    # A visitor without an account (see `guests`).
    is_guest = models.BooleanField(_("guest"), default=False, db_default=False, editable=False)
    # Sent before the system prompt of each of the user's conversations.
    instructions = models.TextField(
        _("instructions for all conversations"), blank=True, default="", db_default="", max_length=INSTRUCTIONS_CHARS
    )
    # Prompts that our screening or a vendor's moderation refused, for operators to check.
    abuse_count = models.PositiveIntegerField(_("refused by moderation"), default=0, editable=False)
    # The version of the terms of use that the user accepted last.
    accepted_terms = models.CharField(
        _("accepted terms of use"),
        max_length=TERMS_VERSION_CHARS,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    terms_accepted_at = models.DateTimeField(null=True, default=None, editable=False)
    # The age that the user stated at sign-up to have reached; 0: none was asked for.
    stated_age = models.PositiveSmallIntegerField(_("stated age"), default=0, db_default=0, editable=False)
    # Set: the account is being deleted; `deletion` has taken away its name and logins.
    deletion_requested_at = models.DateTimeField(null=True, default=None, editable=False)

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(Lower("email"), name="email_once", condition=~models.Q(email="")),
            models.UniqueConstraint(Lower("username"), name="username_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["deletion_requested_at"],
                name="accounts_to_delete",
                condition=models.Q(deletion_requested_at__isnull=False),
            )
        ]

    def name_problem(self, name: str) -> StrOrPromise | None:
        """Return why the account cannot take a normalized name; None when it can.

        An account may keep the name that it has.
        """
        if not self._state.adding and name == self.username:
            return None
        others = User.objects.exclude(pk=self.pk)
        if others.filter(username__iexact=name).exists():
            return _("A user with that username already exists.")
        if others.filter(username_skeleton=usernames.skeleton(name)).exists():
            return _("This name looks like the name of another user. Choose a different one.")
        try:
            usernames.check(name)
        except ValidationError as error:
            return str(error.messages[0])
        return None

    @property
    def shown_email(self) -> str:
        """The address, or the one that the account claims (see `claims`)."""
        claim = "" if self.email else EmailAddress.objects.filter(user=self).values_list("email", flat=True).first()
        return self.email or claim or ""

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Save with the name's skeleton, and record the address for good.

        Because the account may change its address, all that it had are recorded.
        """
        changed = None if update_fields is None else set(update_fields)
        if self._state.adding or self.username_skeleton is not None:
            self.username_skeleton = usernames.skeleton(self.username)
        if changed and "username" in changed:
            changed.add("username_skeleton")
        with transaction.atomic():
            if self.email and (changed is None or "email" in changed):
                self._settle_email()
            super().save(*args, update_fields=changed, **kwargs)
            if self.email and (changed is None or "email" in changed):
                UsedAddress.objects.note(self.pk, addresses.email_digest(self.email))

    def _settle_email(self) -> None:
        """Give the address to one account, where sign-up accepts taken ones (see `claims`).

        It belongs to the account that confirmed it, else to the first. The other accounts only claim it.
        """
        others = User.objects.exclude(pk=self.pk).filter(email=self.email)
        if settings.ACCOUNT_PREVENT_ENUMERATION != "strict" or not others.exists():
            return
        addresses_of_others = EmailAddress.objects.exclude(user=self.pk).filter(email=self.email)
        if self.pk and EmailAddress.objects.filter(user=self, email=self.email, verified=True).exists():
            others.update(email="")
            addresses_of_others.delete()
        else:
            # One claim is enough, so that no mailbox gets several mails for one password reset.
            addresses_of_others.filter(user__email="", verified=False).delete()
            self.email = ""


def queue_writes(user_id: int) -> None:
    """Let the transactions of one user wait for each other.

    Each counts rows before it stores one. SQLite needs no lock here, because each of its transactions has the write
    lock from the beginning.
    """
    if connection.vendor != "sqlite":
        list(User.objects.select_for_update(no_key=True, of=("self",)).filter(pk=user_id).values_list("pk"))


class ClaimedGroup(models.Model):
    """A group of a user that came from the claim of an OpenID Connect provider."""

    # Without constraints, because a process of the previous release deletes users and groups without these rows.
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    group = models.ForeignKey(Group, models.CASCADE, related_name="+", db_constraint=False)

    class Meta:
        verbose_name = _("group from a claim")
        verbose_name_plural = _("groups from a claim")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user", "group"], name="claimed_once")
        ]

    def __str__(self) -> str:
        return f"{self.user_id}: {self.group_id}"


class UsedAddressManager(models.Manager["UsedAddress"]):
    def note(self, user_id: int, digest: str) -> None:
        """Store the address as this user's, unless an account had it before. Repeating is safe."""
        self.bulk_create([UsedAddress(digest=digest, user_id=user_id)], ignore_conflicts=True)

    def used_by_others(self, user_id: int, digests: Collection[str]) -> bool:
        """Return whether another account had one of these addresses first."""
        return self.filter(digest__in=digests).exclude(user_id=user_id).exists()


class UsedAddress(models.Model):
    """An address and the id of the first account that had it.

    The digest outlives the account, so that signing up again earns nothing. Then the id is 0.
    """

    digest = models.CharField(max_length=64, unique=True)
    user_id = models.BigIntegerField()

    objects: ClassVar[UsedAddressManager] = UsedAddressManager()

    def __str__(self) -> str:
        return self.digest


def digest(secret: str) -> str:
    """Return the digest of a random secret; its 128 bits make a slow hash unnecessary."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiToken(models.Model):
    """A personal token for programs: `sk-…`, shown once and stored as a digest."""

    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    # Limits; None: none.
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    allowed_models: "models.JSONField[list[str] | None, list[str] | None]" = models.JSONField(
        _("models"), null=True, blank=True
    )
    daily_limit = models.PositiveIntegerField(_("answers a day"), null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(_("requests a minute"), null=True, blank=True)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, user: User, name: str, **limits: Any) -> "tuple[Self, str]":
        """Create a token; return it and its secret, which is not stored.

        Raises Conflict when there are too many.
        """
        secret = f"sk-{secrets.token_urlsafe(32)}"
        with transaction.atomic():
            queue_writes(user.pk)
            if user.api_tokens.count() >= MOST_API_TOKENS:
                raise Conflict(_("You have 50 API tokens, and more are not possible. Please delete one first."))
            token = cls.objects.create(user=user, name=name, digest=digest(secret), **limits)
        log.info("API token created", user=user.pk, token_id=token.pk)
        return token, secret


class TokenUse(models.Model):
    """A generation that counts for a token's day."""

    generation = models.CharField(max_length=32, primary_key=True)
    # Without a constraint, because a token may go while a generation starts.
    token = models.ForeignKey(ApiToken, models.CASCADE, related_name="uses", db_constraint=False, db_index=False)
    day = models.DateField()

    class Meta:
        verbose_name = _("use of an API token")
        verbose_name_plural = _("uses of API tokens")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["token", "day"], name="token_uses_of_day"),
            models.Index(fields=["day"], name="token_use_day"),
        ]

    def __str__(self) -> str:
        return self.generation


class TokenDay(models.Model):
    """Usage of one model by one token on one day; it outlives the token."""

    # Both without a constraint: usage outlives its token, and a process of the previous release deletes users without
    # these rows.
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_constraint=False, db_index=False)
    token = models.ForeignKey(ApiToken, models.DO_NOTHING, related_name="days", db_constraint=False, db_index=False)
    # The name of the token, for lists after its deletion. Nothing changes the name of a token.
    name = models.CharField(max_length=100)
    day = models.DateField()
    model = models.CharField(max_length=100)
    # Charged completions.
    answers = models.PositiveIntegerField()
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()

    class Meta:
        verbose_name = _("usage of an API token")
        verbose_name_plural = _("usage of API tokens")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["token", "day", "model"], name="token_usage_once_per_day")
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "day"], name="token_usage_of_user"),
            models.Index(fields=["day"], name="token_usage_to_expire"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.day} {self.model}: {self.answers}"


class RefreshFamily(models.Model):
    """The refresh tokens that descend from one login.

    Only the newest one is valid. A login makes the row, each exchange renews it, and its deletion ends the family.
    """

    # Without a constraint, because a process of the previous release deletes users without these rows.
    user = models.ForeignKey(User, models.CASCADE, related_name="+", db_constraint=False)
    family = models.CharField(max_length=32, unique=True)
    newest = models.CharField(max_length=32)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("login of an app")
        verbose_name_plural = _("logins of apps")

    def __str__(self) -> str:
        return self.family


class Ticket(models.Model):
    """A ticket for one event stream: one use, one user, one path, any process."""

    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("user"))
    # The token of the program that took the ticket, whose limits hold for it too. Without a constraint, because a
    # process of the previous release deletes tokens without these rows.
    token = models.ForeignKey(ApiToken, models.CASCADE, related_name="+", null=True, db_constraint=False)
    path = models.CharField(max_length=2000)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("ticket")
        verbose_name_plural = _("tickets")

    def __str__(self) -> str:
        return self.path
