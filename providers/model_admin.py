"""Models and their routes in the admin, and groups, to which models may be reserved."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from providers import access, context_sizes, health_display
from providers.admin_base import RefreshingAdmin, badge, small_json
from providers.apps import providers_app
from providers.models import ChatModel, Route
from web.editable_lists import EditableList


class ChatModelForm(forms.ModelForm[ChatModel]):
    class Meta:
        model = ChatModel
        fields = ("parameters", "takes", "allowed_tool_types")  # the others are chosen by the page
        widgets = {"parameters": small_json(3), "takes": small_json(), "allowed_tool_types": small_json()}


class RouteForm(forms.ModelForm[Route]):
    class Meta:
        model = Route
        fields = ("parameters", "drop")  # the others are chosen by the page
        widgets = {"parameters": small_json(), "drop": small_json()}


class RouteInline(admin.StackedInline[Route, ChatModel]):
    model = Route
    form = RouteForm
    extra = 0
    autocomplete_fields = ("upstream",)
    readonly_fields = ("state", "lessons")
    fieldsets = (
        (None, {"fields": (("upstream", "upstream_model"), ("priority", "weight"), "state")}),
        (
            _("Requests"),
            {
                "fields": ("parameters", "drop", "lessons", ("first_seconds", "idle_seconds", "total_seconds")),
                "classes": ("collapse",),
            },
        ),
    )

    @admin.display(description=_("state"))
    def state(self, route: Route) -> SafeString | str:
        return badge(*health_display.of_route(route)) if route.pk else ""

    @admin.display(description=_("learned"))
    def lessons(self, route: Route) -> str:
        return health_display.lessons_of(route) or "–"


@admin.register(ChatModel)
class ChatModelAdmin(RefreshingAdmin, EditableList[ChatModel]):
    form = ChatModelForm
    list_display = ("slug", "title", "state", "enabled", "position", "context_tokens", "upstreams")
    list_editable = ("enabled", "position")
    list_filter = ("enabled", "routes__upstream", "groups")
    search_fields = ("slug", "title")
    filter_horizontal = ("groups",)
    readonly_fields = ("state",)
    inlines = (RouteInline,)
    actions = ("forget_lessons",)
    fieldsets = (
        (None, {"fields": ("slug", "title", "description", "enabled", "position")}),
        (
            _("Requests"),
            {
                "fields": (
                    *("context_tokens", "context_assumed", "parameters", "token_cap_field", "include_usage"),
                    *("think_tags", "takes", "allowed_tool_types"),
                )
            },
        ),
        (_("Deadlines"), {"fields": ("first_seconds", "idle_seconds", "total_seconds"), "classes": ("collapse",)}),
        (_("Who may use it"), {"fields": ("groups",), "classes": ("collapse",)}),
    )

    class Media:
        css = {"all": ("providers/admin.css",)}

    def get_fieldsets(self, request: HttpRequest, obj: ChatModel | None = None) -> Any:
        first, *others = self.fieldsets
        return [(None, {"fields": (*first[1]["fields"], "state")}), *others] if obj else self.fieldsets

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatModel]:
        return super().get_queryset(request).prefetch_related("routes__upstream")

    @admin.display(description=_("upstreams"))
    def upstreams(self, model: ChatModel) -> str:
        routes = sorted(model.routes.all(), key=lambda route: (route.priority, route.pk))
        return " → ".join(route.upstream.slug for route in routes) or "–"

    @admin.display(description=_("state"))
    def state(self, model: ChatModel) -> SafeString | str:
        return badge(*health_display.of_model(model)) if model.pk else ""

    @admin.action(description=_("Forget what upstreams refused"), permissions=["change"])
    def forget_lessons(self, request: HttpRequest, models: QuerySet[ChatModel]) -> None:
        count = Route.objects.filter(model__in=models).exclude(learned={}).update(learned={})
        providers_app().configuration.changed()
        text = ngettext(
            "%(count)d route starts again with the model's settings.",
            "%(count)d routes start again with the model's settings.",
            count,
        )
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    def save_model(self, request: HttpRequest, obj: ChatModel, form: Any, change: bool) -> None:
        """Store the model; a new one gets the known context size unless one was entered."""
        if not change and "context_tokens" not in form.changed_data:
            obj.context_tokens, obj.context_assumed = context_sizes.of(obj.slug)
        elif "context_tokens" in form.changed_data:
            obj.context_assumed = False
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if not change:
            providers_app().catalogue.notify_added()


class ReservingGroupAdmin(GroupAdmin):
    """Django's page of groups, which disables the models that a deleted group reserved.

    `accounts.admin` registers it, with its rules about rights.
    """

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        self._disable_reserved(request, [obj])
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Group]) -> None:
        self._disable_reserved(request, list(queryset))
        super().delete_queryset(request, queryset)

    def _disable_reserved(self, request: HttpRequest, groups: list[Group]) -> None:
        slugs = access.disable_reserved(groups)
        providers_app().configuration.changed()
        for slug in slugs:
            text = _("The model %(model)s is now disabled, because only deleted groups could use it.") % {"model": slug}
            self.message_user(request, text, messages.WARNING)
