"""Upstreams, their keys, models, and the routes from models to upstreams."""

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from providers import registry, validation
from web import default_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

# First-run texts by slug, translated at display while an admin has not changed them.
FIRST_RUN_TITLES = {"demo": _("Demo")}
FIRST_RUN_DESCRIPTIONS = {"demo": _("Answers from a script, without any vendor.")}

# A model's slug may be a vendor's own name (`org/model:free`), and it stands in URLs below /v1.
model_slug = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", _("Letters, digits and . _ : / - only."))


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.KEY_ENCRYPTION_KEYS])


def encrypt(secret: str) -> str:
    return _cipher().encrypt(secret.encode()).decode()


def decrypt(ciphertext: str) -> str | None:
    """Return the secret; None when no key in KEY_ENCRYPTION_KEYS opens it."""
    try:
        return _cipher().decrypt(ciphertext.encode()).decode()
    except InvalidToken:
        return None


def without_password(url: str) -> str:
    """Return an address without the password in it."""
    scheme, separator, rest = url.partition("://")
    access, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{access.partition(':')[0]}{at}{host}"


Row = TypeVar("Row", bound=models.Model)


class CoolingQuerySet(models.QuerySet[Row]):
    """Rows with `cooldown_until` and `status_reason`."""

    def cool_down(self, until: "datetime", reason: str) -> int:
        """Leave rows out until a time; a later cooldown never shortens a longer one."""
        return self.filter(models.Q(cooldown_until=None) | models.Q(cooldown_until__lt=until)).update(
            cooldown_until=until, status_reason=reason
        )


class Upstream(models.Model):
    """A remote service; `environment` holds the values last taken from the environment."""

    slug = models.SlugField(_("slug"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=registry.choices, default=registry.DEFAULT_KIND)
    base_url = models.CharField(_("base URL"), max_length=500, blank=True)
    # Without its password. With it, the address is encrypted in `proxy_ciphertext`.
    proxy = models.CharField(_("outgoing proxy"), max_length=500, blank=True)
    proxy_ciphertext = models.TextField(default="", db_default="", blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    first_seconds = models.FloatField(
        _("seconds to the first event"), null=True, blank=True, validators=[MinValueValidator(0.1)]
    )
    idle_seconds = models.FloatField(
        _("seconds between events"), null=True, blank=True, validators=[MinValueValidator(0.1)]
    )
    total_seconds = models.FloatField(_("seconds in all"), null=True, blank=True, validators=[MinValueValidator(0.1)])
    sign_host = models.CharField(
        _("host name to sign"),
        max_length=253,
        blank=True,
        help_text=_(
            "Only for Spark behind a reverse proxy of yours: the host name that the vendor's gateway sees. "
            "Empty: that of the base URL."
        ),
    )
    raw_key = models.BooleanField(
        _("send the key itself"),
        default=False,
        help_text=_("Only for Zhipu: send the key as it is instead of a short-lived token signed with it."),
    )
    cooldown_until = models.DateTimeField(_("cooling until"), null=True, blank=True, editable=False)
    status_reason = models.CharField(_("reason"), max_length=200, blank=True, editable=False)
    environment = models.JSONField(default=dict, blank=True, editable=False)

    objects: ClassVar["CoolingQuerySet[Upstream]"] = CoolingQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("upstream")
        verbose_name_plural = _("upstreams")

    def __str__(self) -> str:
        return self.slug

    def save(self, *args: Any, update_fields: "Iterable[str] | None" = None, **kwargs: Any) -> None:
        """Save, with the proxy's password encrypted.

        An address without a password keeps the stored one while it is unchanged.
        """
        changed = None if update_fields is None else set(update_fields)
        if changed is None or "proxy" in changed:
            known, address = decrypt(self.proxy_ciphertext), without_password(self.proxy)
            if address != self.proxy:
                self.proxy_ciphertext = encrypt(self.proxy)
            elif known and without_password(known) != address:
                self.proxy_ciphertext = ""
            self.proxy = address
            changed = changed and changed | {"proxy_ciphertext"}
        super().save(*args, update_fields=changed, **kwargs)

    def proxy_url(self) -> str:
        """Return the proxy's address, with its password if it has one.

        The password belongs to the address with which it was entered, so that it is never sent to another proxy.
        """
        url = decrypt(self.proxy_ciphertext)
        return url if url and without_password(url) == self.proxy else self.proxy

    def clean_fields(self, exclude: "Collection[str] | None" = None) -> None:
        """Check and tidy the addresses; raise ValidationError for those that no connection can reach.

        A value of the environment is stored as it is, because a row whose value differs no longer follows it.
        """
        super().clean_fields(exclude)
        checks: dict[str, Callable[[str], str]] = {
            "base_url": partial(validation.base_url, self.kind),
            "proxy": validation.proxy,
            "sign_host": partial(validation.sign_host, self.kind),
        }
        named = self.environment.get("values", {})
        problems: dict[str, Any] = {}
        for name in checks.keys() - set(exclude or ()):
            entered = getattr(self, name)
            try:
                checked = checks[name](entered)
            except ValidationError as error:
                problems[name] = error
            else:
                setattr(self, name, entered if entered == named.get(name) else checked)
        if problems:
            raise ValidationError(problems)


class ApiKey(models.Model):
    """A key of an upstream; the secret is encrypted, and `last4` tells keys apart."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="keys", verbose_name=_("upstream"))
    ciphertext = models.TextField(editable=False)
    fingerprint = models.CharField(_("fingerprint"), max_length=12, editable=False)
    last4 = models.CharField(_("last four characters"), max_length=4, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    max_concurrency = models.PositiveIntegerField(_("at once at most"), null=True, blank=True)
    from_environment = models.BooleanField(_("from the environment"), default=False, editable=False)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["upstream", "fingerprint"], name="key_once_per_upstream")
        ]

    def __str__(self) -> str:
        return f"{self.upstream.slug} …{self.last4}"

    def set_secret(self, secret: str) -> None:
        """Encrypt a new secret into the row; the caller saves."""
        self.ciphertext = encrypt(secret)
        self.fingerprint = fingerprint(secret)
        self.last4 = secret[-4:] if len(secret) >= 8 else ""

    def replace_secret(self, secret: str) -> None:
        """Replace the secret with one that staff entered, and forget its troubles; the caller saves."""
        self.set_secret(secret)
        self.from_environment = False
        if self.pk:
            self.troubles.all().delete()

    def checked(self, secret: str, upstream: Upstream) -> str:
        """Return a secret as it is stored; raise ValidationError for a malformed or known one."""
        value = validation.secret(upstream.kind, secret)
        known = upstream.keys.exclude(pk=self.pk).filter(fingerprint=fingerprint(value)) if upstream.pk else None
        if known is not None and known.exists():
            raise ValidationError(_("This upstream already has this key."))
        return value

    def secret(self) -> str | None:
        """Return the secret; None when no key in KEY_ENCRYPTION_KEYS opens it."""
        return decrypt(self.ciphertext)


class KeyTroubleQuerySet(CoolingQuerySet["KeyTrouble"]):
    def of(self, key_id: int, model: str) -> "KeyTroubleQuerySet":
        """Return the trouble of a key with an upstream's model, or with all (empty name)."""
        return self.filter(key_id=key_id, model=model)

    def claim_probe(self, now: "datetime", until: "datetime") -> int:
        """Claim the right to probe; return 0 when another attempt, in any process, has it."""
        free = models.Q(probe_until=None) | models.Q(probe_until__lt=now)
        return self.filter(free, quarantined_at=None, cooldown_until__lte=now).update(probe_until=until)


class KeyTrouble(models.Model):
    """The reason why a key is left out, for one model or for all.

    A key without a row is in full use. Until `cooldown_until` the key is cooling. After that it is half-open: one
    attempt at a time may probe it, and the first success deletes the row. When it is quarantined, only an operator puts
    it back.
    """

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="troubles", verbose_name=_("key"))
    model = models.CharField(_("model"), max_length=200, blank=True)
    cooldown_until = models.DateTimeField(_("cooling until"), null=True)
    quarantined_at = models.DateTimeField(_("quarantined since"), null=True)
    probe_until = models.DateTimeField(_("being probed until"), null=True)
    status_reason = models.CharField(_("reason"), max_length=200, blank=True)

    objects: ClassVar[KeyTroubleQuerySet] = KeyTroubleQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("key trouble")
        verbose_name_plural = _("key troubles")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["key", "model"], name="trouble_once_per_key_and_model")
        ]

    def __str__(self) -> str:
        return f"{self.key_id} {self.model}"

    @property
    def status(self) -> str:
        """`quarantined`, `cooling`, or `probing` (half-open)."""
        if self.quarantined_at:
            return "quarantined"
        return "cooling" if self.cooldown_until and self.cooldown_until > timezone.now() else "probing"


def fingerprint(secret: str) -> str:
    """Return a short digest that stands for a key in logs and uniqueness checks."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


class ChatModel(models.Model):
    """A model that users pick by its slug."""

    class TokenCapField(models.TextChoices):
        MAX_TOKENS = "max_tokens", "max_tokens"
        MAX_COMPLETION_TOKENS = "max_completion_tokens", "max_completion_tokens"
        NONE = "none", _("none")

    slug = models.CharField(_("slug"), max_length=100, unique=True, validators=[model_slug])
    title = models.CharField(_("title"), max_length=100)
    description = models.CharField(_("description"), max_length=300, blank=True)
    context_tokens = models.PositiveIntegerField(_("context size in tokens"), default=8192)
    parameters: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        _("parameters"), default=dict, blank=True, help_text=_("Sent with every request, e.g. temperature, max_tokens.")
    )
    token_cap_field = models.CharField(
        _("token cap field"), max_length=30, choices=TokenCapField.choices, default=TokenCapField.MAX_TOKENS
    )
    include_usage = models.BooleanField(_("ask for usage"), default=True)
    think_tags = models.BooleanField(
        _("<think> is reasoning"),
        default=True,
        db_default=True,
        help_text=_("A leading <think> block becomes reasoning. Off: it stays part of the content."),
    )
    position = models.IntegerField(_("position in lists"), default=0)
    enabled = models.BooleanField(_("enabled"), default=True)
    groups = models.ManyToManyField(
        Group,
        related_name="chat_models",
        verbose_name=_("groups"),
        blank=True,
        help_text=_("Only members of these groups may use it; none: everybody."),
    )

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")

    def __str__(self) -> str:
        return self.slug

    @property
    def shown_title(self) -> StrOrPromise:
        return default_texts.localized(self.title, FIRST_RUN_TITLES.get(self.slug))

    @property
    def shown_description(self) -> StrOrPromise:
        return default_texts.localized(self.description, FIRST_RUN_DESCRIPTIONS.get(self.slug))

    def clean_fields(self, exclude: "Collection[str] | None" = None) -> None:
        """Raise ValidationError for an empty context, and for parameters that no request could carry."""
        super().clean_fields(exclude)
        excluded = set(exclude or ())
        if "context_tokens" not in excluded and self.context_tokens < 1:
            raise ValidationError({"context_tokens": _("A whole number from 1 upwards is expected.")})
        if "parameters" not in excluded:
            _check_parameters(self.parameters)


def _check_parameters(parameters: object) -> None:
    if not isinstance(parameters, dict):
        raise ValidationError({"parameters": _("A JSON object is expected.")})
    cap, temperature = parameters.get("max_tokens", 1), parameters.get("temperature", 0)
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise ValidationError({"parameters": _("max_tokens is a whole number from 1 upwards.")})
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise ValidationError({"parameters": _("temperature is a number.")})


class Route(models.Model):
    """One way from a model to an upstream; `weight` shares load among equal `priority`."""

    model = models.ForeignKey(ChatModel, models.CASCADE, related_name="routes", verbose_name=_("model"))
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="routes", verbose_name=_("upstream"))
    upstream_model = models.CharField(_("the upstream's name for it"), max_length=200)
    priority = models.PositiveIntegerField(_("priority"), default=0, help_text=_("Lower comes first."))
    weight = models.PositiveIntegerField(_("weight"), default=1, validators=[MinValueValidator(1)])

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["model", "upstream", "upstream_model"], name="route_once"),
            models.CheckConstraint(condition=models.Q(weight__gte=1), name="route_weight_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.model.slug} → {self.upstream.slug}"
