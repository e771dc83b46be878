"""Upstreams, keys, models and routes in the admin. Secrets go in and never come out."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from providers import routing
from providers.models import ApiKey, ChatModel, Route, Upstream, fingerprint


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A write-only secret: required for a new key, empty means unchanged."""

    secret = forms.CharField(
        label=_("secret"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text=_("Stored encrypted and never shown again. Leave empty to keep the one that is stored."),
    )

    class Meta:
        model = ApiKey
        fields = ("upstream", "secret", "enabled", "max_concurrency")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        secret = values.get("secret")
        if not secret and self.instance.pk is None:
            self.add_error("secret", _("A new key needs its secret."))
        upstream = values.get("upstream") or getattr(self.instance, "upstream", None)
        same = ApiKey.objects.filter(fingerprint=fingerprint(secret or ""), upstream=upstream).exclude(
            pk=self.instance.pk
        )
        if secret and upstream and upstream.pk and same.exists():
            self.add_error("secret", _("This upstream already has this key."))
        return values

    def save(self, commit: bool = True) -> ApiKey:
        if secret := self.cleaned_data.get("secret"):
            self.instance.set_secret(secret)
        return super().save(commit)


class Reloading:
    """Admin pages after whose changes this process reads its configuration anew; others follow within seconds."""

    def save_related(self, *args: Any, **kwargs: Any) -> None:
        super().save_related(*args, **kwargs)  # type: ignore[misc]
        routing.forget()

    def delete_model(self, *args: Any, **kwargs: Any) -> None:
        super().delete_model(*args, **kwargs)  # type: ignore[misc]
        routing.forget()


class ApiKeyInline(admin.TabularInline[ApiKey, Upstream]):
    model = ApiKey
    form = ApiKeyForm
    fields = ("last4", "secret", "enabled", "max_concurrency", "health")
    readonly_fields = ("last4", "health")
    extra = 0

    @admin.display(description=_("health"))
    def health(self, key: ApiKey) -> str:
        return health(key)


class RouteInline(admin.TabularInline[Route, ChatModel]):
    model = Route
    extra = 0
    autocomplete_fields = ("upstream",)


@admin.register(Upstream)
class UpstreamAdmin(Reloading, admin.ModelAdmin[Upstream]):
    list_display = ("slug", "kind", "base_url", "enabled", "key_count", "usable_count")
    list_editable = ("enabled",)
    list_filter = ("kind", "enabled")
    search_fields = ("slug", "base_url")
    inlines = (ApiKeyInline,)
    fieldsets = (
        (None, {"fields": ("slug", "kind", "base_url", "proxy", "enabled")}),
        (_("Deadlines"), {"fields": ("first_seconds", "idle_seconds", "total_seconds"), "classes": ("collapse",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upstream]:
        healthy = Q(keys__enabled=True, keys__quarantined_at=None) & (
            Q(keys__cooldown_until=None) | Q(keys__cooldown_until__lte=timezone.now())
        )
        counts = {"key_count": Count("keys"), "usable_count": Count("keys", filter=healthy)}
        return super().get_queryset(request).annotate(**counts)

    @admin.display(description=_("keys"))
    def key_count(self, upstream: Upstream) -> int:
        return int(upstream.key_count)  # type: ignore[attr-defined]

    @admin.display(description=_("usable now"))
    def usable_count(self, upstream: Upstream) -> int:
        return int(upstream.usable_count)  # type: ignore[attr-defined]


@admin.register(ApiKey)
class ApiKeyAdmin(Reloading, admin.ModelAdmin[ApiKey]):
    form = ApiKeyForm
    list_display = ("upstream", "ending", "enabled", "max_concurrency", "health", "status_reason", "from_environment")
    list_display_links = ("ending",)
    list_editable = ("enabled", "max_concurrency")
    list_filter = ("upstream", "enabled")
    list_select_related = ("upstream",)
    search_fields = ("last4", "fingerprint", "upstream__slug")
    readonly_fields = ("last4", "fingerprint", "health", "status_reason", "created_at")
    actions = ("clear_health",)

    @admin.display(description=_("key"), ordering="last4")
    def ending(self, key: ApiKey) -> str:
        return f"…{key.last4}" if key.last4 else key.fingerprint

    @admin.display(description=_("health"))
    def health(self, key: ApiKey) -> str:
        return health(key)

    @admin.action(description=_("Use again: end cooldown and quarantine"), permissions=["change"])
    def clear_health(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        count = keys.update(cooldown_until=None, quarantined_at=None, status_reason="")
        routing.forget()
        text = ngettext("%(count)d key is in use again.", "%(count)d keys are in use again.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)


@admin.register(ChatModel)
class ChatModelAdmin(Reloading, admin.ModelAdmin[ChatModel]):
    list_display = ("slug", "title", "enabled", "position", "context_tokens", "upstreams")
    list_editable = ("enabled", "position")
    list_filter = ("enabled", "routes__upstream")
    search_fields = ("slug", "title")
    inlines = (RouteInline,)
    fieldsets = (
        (None, {"fields": ("slug", "title", "description", "enabled", "position")}),
        (_("Requests"), {"fields": ("context_tokens", "parameters", "token_cap_field", "include_usage")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatModel]:
        return super().get_queryset(request).prefetch_related("routes__upstream")

    @admin.display(description=_("upstreams"))
    def upstreams(self, model: ChatModel) -> str:
        routes = sorted(model.routes.all(), key=lambda route: route.priority)
        return " → ".join(route.upstream.slug for route in routes) or "–"


def health(key: ApiKey) -> str:
    """Say in words how a key is: usable, cooling until when, or quarantined since when."""
    if key.quarantined_at:
        return str(_("quarantined since %(time)s") % {"time": _shown(key.quarantined_at)})
    if key.cooldown_until and key.cooldown_until > timezone.now():
        return str(_("cooling until %(time)s") % {"time": _shown(key.cooldown_until)})
    return str(_("ok"))


def _shown(moment: Any) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
