"""Upstreams and keys in the admin; secrets are write-only. Models and routes are in `model_admin`."""

from collections.abc import Callable, Mapping
from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.functional import lazy
from django.utils.safestring import SafeString
from django.utils.text import capfirst, format_lazy
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from providers import addresses, fields, health_display, registry, snapshot, trial
from providers.admin_base import RefreshingAdmin, badge, small_json
from providers.alert_admin import AlertAdmin
from providers.apps import providers_app
from providers.catalogue_page import CataloguePage
from providers.model_admin import ChatModelAdmin, ReservingGroupAdmin
from providers.models import ApiKey, KeyTrouble, Route, Upstream, UpstreamTrouble
from web.editable_lists import EditableList

# Django registers only what this module imports.
__all__ = ["AlertAdmin", "ApiKeyAdmin", "ChatModelAdmin", "ReservingGroupAdmin", "UpstreamAdmin"]

# Keys that one action tries; all are tried at once, each for as long as an upstream may take.
MAX_TRIALS = 5


def _examples(attribute: str) -> str:
    """Return the values of an adapter attribute, each after the label of its kind."""
    values = ((label, getattr(registry.ADAPTERS[kind], attribute)) for kind, label in registry.choices())
    return "; ".join(f"{label}: {value}" for label, value in values if value)


_lazy_examples = lazy(_examples, str)


class MaskedObject(forms.JSONField):
    """A JSON object whose secrets are masked.

    A form with errors has none of those just entered. They must be entered again, since a mask would bring back the
    stored ones.
    """

    def __init__(self, shown: Callable[[Mapping[str, str]], dict[str, str]], **options: Any) -> None:
        super().__init__(required=False, widget=small_json(), **options)
        self._shown = shown

    def bound_data(self, data: Any, initial: Any) -> Any:
        found = super().bound_data(data, initial)
        if not isinstance(found, dict):
            return found
        shown = self._shown(found)
        return {name: "" if shown[name] == fields.MASK != value else value for name, value in found.items()}

    def prepare_value(self, value: Any) -> Any:
        return super().prepare_value(self._shown(value) if isinstance(value, dict) else value)


class UpstreamForm(forms.ModelForm[Upstream]):
    headers = MaskedObject(
        fields.hidden,
        label=capfirst(_("headers")),
        help_text=_(
            'Added to each request, such as {"X-Team": "blue"}. Values are stored encrypted and not shown again; '
            "a value that stays ******** is kept."
        ),
    )
    query = MaskedObject(
        fields.shown_query,
        label=capfirst(_("query parameters")),
        help_text=_(
            'Added to each address, such as {"api-version": "2024-10-21"}. '
            "Values of keys, tokens and the like are not shown again."
        ),
    )

    class Meta:
        model = Upstream
        fields = ("base_url", "proxy", "headers", "query")  # the others are chosen by the page
        help_texts = {
            "base_url": format_lazy(
                _("The address without /chat/completions. Examples: {examples}."),
                examples=_lazy_examples("example_base_url"),
            ),
            "proxy": _(
                "http://, https:// or socks5://; empty: none. "
                "A password in it is stored encrypted and not shown again. An unchanged address keeps it."
            ),
        }

    def clean_headers(self) -> dict[str, str]:
        return self._unmasked("headers")

    def clean_query(self) -> dict[str, str]:
        return self._unmasked("query")

    def _unmasked(self, name: str) -> dict[str, str]:
        entered = self.cleaned_data[name] or {}
        if not isinstance(entered, dict):
            raise forms.ValidationError(_("A JSON object is expected."))
        return fields.unmasked(entered, getattr(self.instance, name))


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A form with a write-only secret: required for a new key, empty means unchanged."""

    secret = forms.CharField(
        label=capfirst(_("secret")),
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text=format_lazy(
            _("Stored encrypted and never shown again. Leave it empty to keep the stored one. Forms: {forms}."),
            forms=_lazy_examples("key_form"),
        ),
    )

    class Meta:
        model = ApiKey
        fields = ("upstream", "secret", "enabled", "max_concurrency")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        secret = values.get("secret")
        upstream = values.get("upstream") or getattr(self.instance, "upstream", None)
        if not secret and self.instance.pk is None:
            self.add_error("secret", _("A new key needs its secret."))
        elif secret and upstream:
            try:
                values["secret"] = self.instance.checked(secret, upstream)
            except forms.ValidationError as error:
                self.add_error("secret", error)
        return values

    def save(self, commit: bool = True) -> ApiKey:
        if secret := self.cleaned_data.get("secret"):
            self.instance.replace_secret(secret)
        return super().save(commit)


class ApiKeyFormSet(forms.BaseInlineFormSet[ApiKey, Upstream, ApiKeyForm]):
    """The key rows of an upstream's page, which refuse one secret entered twice."""

    def clean(self) -> None:
        super().clean()
        entered: set[str] = set()
        for form in self.forms:
            secret = getattr(form, "cleaned_data", {}).get("secret")
            if secret in entered:
                form.add_error("secret", _("This upstream already has this key."))
            entered |= {secret} if secret else set()


class ApiKeyInline(admin.TabularInline[ApiKey, Upstream]):
    model = ApiKey
    form = ApiKeyForm
    formset = ApiKeyFormSet  # type: ignore[assignment]
    fields = ("last4", "secret", "enabled", "max_concurrency", "health")
    readonly_fields = ("last4", "health")
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).prefetch_related("troubles")

    @admin.display(description=_("health"))
    def health(self, key: ApiKey) -> SafeString | str:
        return badge(health_display.level_of_key(key), health_display.text_of_key(key)) if key.pk else ""


@admin.register(Upstream)
class UpstreamAdmin(CataloguePage, RefreshingAdmin, EditableList[Upstream]):
    form = UpstreamForm
    list_display = ("slug", "health", "usable", "cooling", "quarantined", "enabled", "kind", "base_url")
    list_editable = ("enabled",)
    list_filter = ("kind", "enabled")
    search_fields = ("slug", "base_url")
    readonly_fields = ("health",)
    inlines = (ApiKeyInline,)
    actions = ("clear_health", "show_models")
    fieldsets = (
        (None, {"fields": ("slug", "kind", "base_url", "proxy", "enabled")}),
        (_("Requests"), {"fields": ("headers", "query"), "classes": ("collapse",)}),
        (_("Options of single vendors"), {"fields": ("sign_host", "raw_key"), "classes": ("collapse",)}),
        (
            _("Deadlines"),
            {
                "fields": ("connect_seconds", "first_seconds", "idle_seconds", "total_seconds"),
                "classes": ("collapse",),
            },
        ),
    )

    class Media:
        css = {"all": ("providers/admin.css",)}

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Upstream], search_term: str) -> Any:
        found, has_duplicates = super().get_search_results(request, queryset, search_term)
        # The autocomplete of routes pages through the rows and gives no order.
        return found if found.ordered else found.order_by("slug"), has_duplicates

    def get_fieldsets(self, request: HttpRequest, obj: Upstream | None = None) -> Any:
        first, *others = self.fieldsets
        return [(None, {"fields": (*first[1]["fields"], "health")}), *others] if obj else self.fieldsets

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        return super().get_queryset(request).prefetch_related("keys__troubles", "troubles", "routes__model")

    @admin.display(description=_("usable keys"))
    def usable(self, upstream: Upstream) -> str:
        found = health_display.of_upstream(upstream)
        return f"{found.usable} / {found.keys}"

    @admin.display(description=_("cooling"))
    def cooling(self, upstream: Upstream) -> int:
        return health_display.of_upstream(upstream).cooling

    @admin.display(description=_("quarantined"))
    def quarantined(self, upstream: Upstream) -> int:
        return health_display.of_upstream(upstream).quarantined

    @admin.display(description=_("health"))
    def health(self, upstream: Upstream) -> SafeString | str:
        if not upstream.pk:
            return ""
        found = health_display.of_upstream(upstream)
        return badge(found.level, found.text)

    @admin.action(description=_("Put back to use: end cooldowns and quarantines"), permissions=["change"])
    def clear_health(self, request: HttpRequest, upstreams: QuerySet[Upstream]) -> None:
        count = upstreams.count()
        UpstreamTrouble.objects.filter(upstream__in=upstreams).delete()
        KeyTrouble.objects.filter(key__upstream__in=upstreams).delete()
        Route.objects.filter(upstream__in=upstreams).update(**Route.BLANK)
        providers_app().configuration.changed()
        text = ngettext(
            "%(count)d upstream is in use again, with its keys.",
            "%(count)d upstreams are in use again, with their keys.",
            count,
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=_("Fetch the model list"), permissions=["change"])
    def show_models(self, request: HttpRequest, upstreams: QuerySet[Upstream]) -> HttpResponse | None:
        if upstreams.count() == 1:
            return redirect("admin:providers_upstream_models", pk=upstreams.get().pk)
        self.message_user(request, _("Choose one upstream."), messages.WARNING)
        return None

    def after_saving(self, request: HttpRequest, row: Upstream) -> None:
        if not registry.ADAPTERS[row.kind].needs_base_url or snapshot.from_environment(row):
            return
        if host := addresses.refused_now(row.base_url, row.proxy):
            text = _(
                "%(host)s is a private address now, so connections will be refused. "
                "To allow it, add it to ALLOWED_PRIVATE_UPSTREAMS and restart."
            )
            self.message_user(request, text % {"host": host}, messages.WARNING)


@admin.register(ApiKey)
class ApiKeyAdmin(RefreshingAdmin, EditableList[ApiKey]):
    form = ApiKeyForm
    list_display = ("upstream", "ending", "health", "enabled", "max_concurrency", "origin")
    list_display_links = ("ending",)
    list_editable = ("enabled", "max_concurrency")
    list_filter = ("upstream", "enabled")
    list_select_related = ("upstream",)
    search_fields = ("last4", "fingerprint", "upstream__slug")
    fields = ("upstream", "secret", "enabled", "max_concurrency")
    readonly_fields = ("last4", "fingerprint", "health", "origin", "created_at")
    actions = ("clear_health", "try_now")

    class Media:
        css = {"all": ("providers/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).prefetch_related("troubles")

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return (*self.fields, *self.readonly_fields) if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        # A key that moved would send its secret to another host, so it must be entered there.
        return (*self.readonly_fields, "upstream") if obj else self.readonly_fields

    @admin.display(description=_("key"), ordering="last4")
    def ending(self, key: ApiKey) -> str:
        return f"…{key.last4}" if key.last4 else key.fingerprint

    @admin.display(description=_("health"))
    def health(self, key: ApiKey) -> SafeString | str:
        return badge(health_display.level_of_key(key), health_display.text_of_key(key)) if key.pk else ""

    @admin.display(description=_("origin"), ordering="from_environment")
    def origin(self, key: ApiKey) -> Any:
        return _("environment") if key.from_environment else "–"

    @admin.action(description=_("Put back to use: end cooldown and quarantine"), permissions=["change"])
    def clear_health(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        count = keys.count()
        KeyTrouble.objects.filter(key__in=keys).delete()
        providers_app().configuration.changed()
        text = ngettext("%(count)d key is in use again.", "%(count)d keys are in use again.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=_("Try this key now"), permissions=["change"])
    def try_now(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        chosen = list(keys[: MAX_TRIALS + 1])
        if len(chosen) > MAX_TRIALS:
            text = _("Only the first %(count)d keys were tried.") % {"count": MAX_TRIALS}
            self.message_user(request, text, messages.WARNING)
        self._try(request, chosen[:MAX_TRIALS])

    def after_saving(self, request: HttpRequest, row: ApiKey) -> None:
        if "_try" in request.POST:
            self._try(request, [row])

    def _try(self, request: HttpRequest, keys: list[ApiKey]) -> None:
        outcomes = async_to_sync(trial.try_keys)([key.pk for key in keys], providers_app().configuration)
        for key, outcome in zip(keys, outcomes, strict=True):
            level = messages.SUCCESS if outcome.ok else messages.ERROR
            self.message_user(request, f"{key}: {outcome.text}", level)
