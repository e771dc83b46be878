"""Upstreams, their keys, models, and the routes from models to upstreams."""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from providers import registry, validation

# Django looks for an app's models here.
from providers.alerts.models import Alert as Alert
from providers.alerts.models import AlertMessage as AlertMessage
from providers.deadlines import Deadlines, seconds_field
from providers.encryption import decrypt, encrypt, fingerprint, without_password
from providers.fields import EncryptedObject
from providers.troubles import Trouble
from web import default_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

# First-run texts by slug, translated at display while an admin has not changed them.
FIRST_RUN_TITLES = {"demo": _("Demo")}
FIRST_RUN_DESCRIPTIONS = {"demo": _("Answers from a script, without any vendor.")}

# A model's slug may be a vendor's own name (`org/model:free`), and it stands in URLs below /v1.
model_slug = RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", _("Letters, digits and . _ : / - only."))


# The fields of an upstream that decide which server is reached and how; evidence belongs to one combination of them.
WAY = ("kind", "base_url", "proxy", "proxy_ciphertext", "sign_host", "raw_key", "headers", "query")
# Context size in tokens of a model about which nothing is known.
UNKNOWN_CONTEXT_TOKENS = 32_768


class Upstream(Deadlines):
    """A remote service; `environment` holds the values last taken from the environment."""

    slug = models.SlugField(_("slug"), max_length=100, unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=registry.choices, default=registry.DEFAULT_KIND)
    base_url = models.CharField(_("base URL"), max_length=500, blank=True)
    # Without its password. With it, the address is encrypted in `proxy_ciphertext`.
    proxy = models.CharField(_("outgoing proxy"), max_length=500, blank=True)
    proxy_ciphertext = models.TextField(default="", db_default="", blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    connect_seconds = seconds_field(_("seconds to connect"))
    # Added to each request. Staff see no value of a header and no secret of the query.
    headers = EncryptedObject(_("headers"), default=dict, db_default="", blank=True)
    query = EncryptedObject(_("query parameters"), default=dict, db_default="", blank=True)
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
    # The previous release stores an upstream's cooldown here; the next release drops both columns.
    cooldown_until = models.DateTimeField(_("cooling until"), null=True, blank=True, editable=False)
    status_reason = models.CharField(_("reason"), max_length=200, blank=True, editable=False)
    environment = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = _("upstream")
        verbose_name_plural = _("upstreams")

    def __str__(self) -> str:
        return self.slug

    def save(self, *args: Any, update_fields: "Iterable[str] | None" = None, **kwargs: Any) -> None:
        """Save, with the proxy's password encrypted.

        An address without a password keeps the stored one while it is unchanged. A changed way to the upstream starts
        with a clean record.
        """
        earlier = Upstream.objects.filter(pk=self.pk).values_list(*WAY).first() if self.pk else None
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
        if earlier is not None and earlier != tuple(getattr(self, name) for name in WAY):
            self.clear_troubles()

    def clear_troubles(self) -> None:
        """Delete all troubles of this upstream, and what was learned about its models."""
        self.troubles.all().delete()
        KeyTrouble.objects.filter(key__upstream=self).delete()
        self.routes.update(**Route.BLANK)

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
        checks: dict[str, Callable[[Any], Any]] = {
            "base_url": partial(validation.base_url, self.kind),
            "proxy": validation.proxy,
            "sign_host": partial(validation.sign_host, self.kind),
            "headers": validation.headers,
            "query": validation.query,
        }
        named = self.environment.get("values", {})

        def kept(name: str, check: "Callable[[Any], Any]", entered: Any) -> Any:
            checked = check(entered)
            return entered if entered == named.get(name) else checked

        _check(self, {name: partial(kept, name, checks[name]) for name in checks.keys() - set(exclude or ())})


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


class KeyTrouble(Trouble):
    """The trouble of a key; an empty `model` stands for all models.

    A key without a row is in full use. When it is quarantined, only an operator puts it back.
    """

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="troubles", verbose_name=_("key"))
    quarantined_at = models.DateTimeField(_("quarantined since"), null=True)

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
        """`quarantined`, `cooling`, `suspect`, or `probing` (half-open)."""
        if self.quarantined_at:
            return "quarantined"
        if self.cooldown_until is None:
            return "suspect"
        return "cooling" if self.is_cooling else "probing"


class UpstreamTrouble(Trouble):
    """The circuit of an upstream for one model; without a row it is closed."""

    # Without a constraint in the database, because the previous release deletes upstreams without knowing this table.
    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="troubles", verbose_name=_("upstream"), db_constraint=False
    )

    class Meta:
        verbose_name = _("upstream trouble")
        verbose_name_plural = _("upstream troubles")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["upstream", "model"], name="trouble_once_per_upstream_and_model")
        ]

    def __str__(self) -> str:
        return f"{self.upstream_id} {self.model}"


class ChatModel(Deadlines):
    """A model that users pick by its slug."""

    class TokenCapField(models.TextChoices):
        MAX_TOKENS = "max_tokens", "max_tokens"
        MAX_COMPLETION_TOKENS = "max_completion_tokens", "max_completion_tokens"
        NONE = "none", _("none")

    slug = models.CharField(_("slug"), max_length=100, unique=True, validators=[model_slug])
    title = models.CharField(_("title"), max_length=100)
    description = models.CharField(_("description"), max_length=300, blank=True)
    context_tokens = models.PositiveIntegerField(_("context size in tokens"), default=UNKNOWN_CONTEXT_TOKENS)
    context_assumed = models.BooleanField(
        _("context size is assumed"),
        default=False,
        db_default=False,
        help_text=_("The model is in no table of ours. A new context size, or clearing this box, confirms the size."),
    )
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
    allowed_tool_types: "models.JSONField[list[str], list[str]]" = models.JSONField(
        _("allowed tool types"),
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text=_(
            'Types of tools on /v1 beside function, such as ["web_search"]. The vendor runs and may charge them.'
        ),
    )
    takes: "models.JSONField[list[str] | None, list[str] | None]" = models.JSONField(
        _("takes"),
        null=True,
        blank=True,
        default=None,
        help_text=_(
            'What the model accepts, such as ["images", "tools"]; a request with anything else is refused. '
            "Empty: requests are passed on, and a refusal of the vendor is reported."
        ),
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
        """Raise ValidationError for a value that no request could use."""
        super().clean_fields(exclude)
        excluded = set(exclude or ())
        if "context_tokens" not in excluded and self.context_tokens < 1:
            raise ValidationError({"context_tokens": _("A whole number from 1 upwards is expected.")})
        checks: dict[str, Callable[[Any], Any]] = {
            "parameters": validation.parameters,
            "allowed_tool_types": validation.tool_types,
            "takes": validation.takes,
        }
        _check(self, {name: check for name, check in checks.items() if name not in excluded})


def _check(row: models.Model, checks: "Mapping[str, Callable[[Any], Any]]") -> None:
    """Tidy the fields of a row; raise ValidationError that names the wrong ones."""
    problems: dict[str, Any] = {}
    for name, check in checks.items():
        try:
            setattr(row, name, check(getattr(row, name)))
        except ValidationError as error:
            problems[name] = error
    if problems:
        raise ValidationError(problems)


class Route(Deadlines):
    """One way from a model to an upstream; `weight` shares load among equal `priority`.

    `learned` holds what the upstream refused for this model, as `providers.learned.Learned` reads it. The last three
    columns describe the requests that passed the route over since it last served one.
    """

    # The columns that describe the upstream's model as we met it; another upstream or name starts with these.
    BLANK: ClassVar[dict[str, Any]] = {
        "learned": {},
        "passed_over_since": None,
        "passed_over": 0,
        "passed_over_reason": "",
    }

    model = models.ForeignKey(ChatModel, models.CASCADE, related_name="routes", verbose_name=_("model"))
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="routes", verbose_name=_("upstream"))
    upstream_model = models.CharField(_("the upstream's name for it"), max_length=200)
    priority = models.PositiveIntegerField(_("priority"), default=0, help_text=_("Lower comes first."))
    weight = models.PositiveIntegerField(_("weight"), default=1, validators=[MinValueValidator(1)])
    parameters: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        _("parameters"),
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text=_("Fields of the request's body for this route; they replace those of the model."),
    )
    drop: "models.JSONField[list[str], list[str]]" = models.JSONField(
        _("left out"),
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        help_text=_('Fields that this route\'s requests never have, such as ["temperature"].'),
    )
    learned: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), blank=True, editable=False
    )
    passed_over_since = models.DateTimeField(null=True, editable=False)
    passed_over = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    passed_over_reason = models.CharField(max_length=200, default="", db_default="", blank=True, editable=False)

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["model", "upstream", "upstream_model"], name="route_once"),
            models.CheckConstraint(condition=models.Q(weight__gte=1), name="route_weight_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.model.slug} → {self.upstream.slug}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a changed upstream or model name clears what was learned."""
        way = ("upstream_id", "upstream_model")
        earlier = Route.objects.filter(pk=self.pk).values_list(*way).first() if self.pk else None
        if earlier is not None and earlier != tuple(getattr(self, name) for name in way):
            for name, value in self.BLANK.items():
                setattr(self, name, value)
        super().save(*args, **kwargs)

    def clean_fields(self, exclude: "Collection[str] | None" = None) -> None:
        """Raise ValidationError for parameters that no request could have."""
        super().clean_fields(exclude)
        checks: dict[str, Callable[[Any], Any]] = {"parameters": validation.parameters, "drop": validation.dropped}
        _check(self, {name: check for name, check in checks.items() if name not in set(exclude or ())})
