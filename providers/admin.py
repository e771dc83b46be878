"""Upstreams, keys, models and routes in the admin. Secrets go in and never come out."""

from typing import Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from providers import table, trial
from providers.models import ApiKey, ChatModel, KeyTrouble, Route, Upstream, fingerprint

# Trials of one action run one after the other, each for as long as an upstream may take.
MOST_TRIALS = 5


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
        table.forget()

    def delete_model(self, *args: Any, **kwargs: Any) -> None:
        super().delete_model(*args, **kwargs)  # type: ignore[misc]
        table.forget()


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
        shut = KeyTrouble.objects.filter(key=OuterRef("pk"), model="").filter(
            Q(quarantined_at__isnull=False) | Q(cooldown_until__gt=timezone.now())
        )
        out = ApiKey.objects.filter(Exists(shut)).values("pk")
        counts = {
            "key_count": Count("keys"),
            "usable_count": Count("keys", filter=Q(keys__enabled=True) & ~Q(keys__in=out)),
        }
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
    list_display = ("upstream", "ending", "enabled", "max_concurrency", "health", "from_environment")
    list_display_links = ("ending",)
    list_editable = ("enabled", "max_concurrency")
    list_filter = ("upstream", "enabled")
    list_select_related = ("upstream",)
    search_fields = ("last4", "fingerprint", "upstream__slug")
    readonly_fields = ("last4", "fingerprint", "health", "created_at")
    actions = ("clear_health", "try_now")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).prefetch_related("troubles")

    @admin.display(description=_("key"), ordering="last4")
    def ending(self, key: ApiKey) -> str:
        return f"…{key.last4}" if key.last4 else key.fingerprint

    @admin.display(description=_("health"))
    def health(self, key: ApiKey) -> str:
        return health(key)

    @admin.action(description=_("Use again: end cooldown and quarantine"), permissions=["change"])
    def clear_health(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        count = keys.count()
        KeyTrouble.objects.filter(key__in=keys).delete()
        table.forget()
        text = ngettext("%(count)d key is in use again.", "%(count)d keys are in use again.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=_("Try this key now"), permissions=["change"])
    def try_now(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        for key in keys[:MOST_TRIALS]:
            outcome = async_to_sync(trial.try_key)(key.pk)
            level = messages.SUCCESS if outcome.ok else messages.ERROR
            self.message_user(request, f"{key}: {outcome.text}", level)


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
    """Say in words how a key is: ok, or for each trouble since or until when, with which model, and why."""
    return "; ".join(map(_trouble, key.troubles.all())) or str(_("ok"))


def _trouble(trouble: KeyTrouble) -> str:
    if trouble.quarantined_at:
        text = _("quarantined since %(time)s") % {"time": _shown(trouble.quarantined_at)}
    elif trouble.status == "cooling":
        text = _("cooling until %(time)s") % {"time": _shown(trouble.cooldown_until)}
    else:
        text = str(_("waits for one successful try"))
    scope = f" ({trouble.model})" if trouble.model else ""
    return f"{text}{scope}: {trouble.status_reason}"


def _shown(moment: Any) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
