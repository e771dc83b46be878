"""Conversations, generations and text tools in the admin; conversations and generations are read-only."""

from collections.abc import Iterator
from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.audit import reasons
from chat.announcements import admin as announcements_admin  # noqa: F401  (Django looks for admin pages only here)
from chat.models import Conversation, Generation, Message, Preset, TextTool
from chat.screening import admin as screening_admin  # noqa: F401  (likewise)
from chat.screening import (
    hit_admin,  # noqa: F401  (likewise)
    pattern_admin,  # noqa: F401  (likewise)
)
from providers.models import ChatModel, Upstream
from web.editable_lists import EditableList
from web.large_tables import LargeTable


class MessageInline(admin.TabularInline[Message, Conversation]):
    model = Message
    fk_name = "conversation"
    fields = ("role", "model", "content", "created_at")
    readonly_fields = fields
    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Conversation)
class ConversationAdmin(LargeTable[Conversation]):
    """Show conversations. Each look is in the audit, and needs a reason with AUDIT_REASON."""

    audits_reads = True
    list_display = ("title", "user", "message_count", "pinned", "archived", "updated_at")
    list_filter = ("pinned", "archived", "updated_at")
    list_select_related = ("user",)
    contained = ("title",)
    search_help_text = _("A user, or a part of a title.")
    ordering = ("-id",)
    readonly_fields = ("user", "title", "system_prompt", "pinned", "archived", "created_at", "updated_at")
    inlines = (MessageInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        messages = Message.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        # A subquery, which only the rows of a page cost.
        counted = Subquery(messages.annotate(n=Count("pk")).values("n"))
        return super().get_queryset(request).annotate(message_count=Coalesce(counted, 0))

    def get_list_display(self, request: HttpRequest) -> Any:
        # A title is a text of the user: the first prompt.
        names = super().get_list_display(request)
        return ("id", *names[1:]) if settings.AUDIT_REASON else names

    def conditions(self, text: str) -> Iterator[Q]:
        found = super().conditions(text)
        yield from (one for one in found if not (settings.AUDIT_REASON and "title__icontains" in dict(one.children)))  # type: ignore[arg-type]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # An address such as `?title__startswith=a` would tell a title letter by letter.
        is_text = lookup.partition("__")[0] in {"title", "system_prompt"}
        return not (settings.AUDIT_REASON and is_text) and super().lookup_allowed(lookup, value, request)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        asked = reasons.ask(self, request, object_id)
        return asked or super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        return reasons.ask(self, request, object_id) or super().delete_view(request, object_id, extra_context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        return reasons.ask(self, request, object_id) or super().history_view(request, object_id, extra_context)

    def get_actions(self, request: HttpRequest) -> Any:
        # Their check boxes and questions name titles.
        return {} if settings.AUDIT_REASON else super().get_actions(request)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Log ids without titles, which are texts of users and would outlive the account."""
        return super().log_deletions(request, [Conversation(pk=row.pk) for row in queryset])  # type: ignore[arg-type]  # any iterable

    @admin.display(description=_("messages"))
    def message_count(self, row: Conversation) -> int:
        return int(row.message_count)  # type: ignore[attr-defined]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


class ConfiguredNames(admin.SimpleListFilter):
    """Chooses by a column of configured names, which it takes from the configuration."""

    rows: ClassVar[type[ChatModel | Upstream]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        slugs = self.rows._default_manager.order_by("slug").values_list("slug", flat=True)
        return [(slug, slug) for slug in slugs]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset


class OfModel(ConfiguredNames):
    title, parameter_name, rows = _("model"), "model", ChatModel


class OfUpstream(ConfiguredNames):
    title, parameter_name, rows = _("upstream"), "upstream", Upstream


class OfFinish(admin.SimpleListFilter):
    """Chooses by how generations ended."""

    title, parameter_name = _("finish reason"), "finish_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason) for reason in ("stop", "length", "tool_calls", "content_filter", "cancelled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(finish_reason=self.value()) if self.value() else queryset


@admin.register(Generation)
class GenerationAdmin(LargeTable[Generation]):
    """Show generations without their text, which is not needed to see how they ended."""

    list_display = ("id", "user", "model", "upstream", "status", "finish_reason", "cost", "created_at", "finished_at")
    list_filter = ("status", OfFinish, OfModel, OfUpstream, "created_at")
    list_select_related = ("user",)
    exact = ("id",)
    search_help_text = _("A user, or the whole id of a generation.")
    # Ids begin with the time.
    ordering = ("-id",)
    fields = (
        *("id", "user", "conversation_number", "model", "upstream", "status", "finish_reason", "error", "charge"),
        *("input_tokens", "output_tokens", "usage_estimated", "created_at", "finished_at"),
    )
    readonly_fields = fields

    @admin.display(description=_("conversation"))
    def conversation_number(self, row: Generation) -> str:
        # Not the row itself, whose name is its title: a text of the user.
        return str(row.conversation_id or "–")

    @admin.display(description=_("charge"))
    def cost(self, row: Generation) -> str:
        return "" if row.charge is None else f"{row.charge['amount']} ({row.charge['source']})"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(TextTool)
class TextToolAdmin(EditableList[TextTool]):
    list_display = ("slug", "title_en", "title_zh", "asks_for_language", "position", "enabled")
    list_editable = ("position", "enabled")
    list_filter = ("enabled",)
    search_fields = ("slug", "title_en", "title_zh", "instruction_en", "instruction_zh")
    ordering = ("position", "slug")
    prepopulated_fields = {"slug": ("title_en",)}

    @admin.display(description=_("asks for a language"), boolean=True)
    def asks_for_language(self, row: TextTool) -> bool:
        return row.needs_target_language


@admin.register(Preset)
class PresetAdmin(admin.ModelAdmin[Preset]):
    """Edit presets, and choose who may use them; users make their own on the page."""

    audits_reads = True
    list_display = ("title", "user", "model", "audience", "created_at")
    list_filter = ("audience",)
    list_select_related = ("user",)
    search_fields = ("title", "user__username")
    fields = ("user", "title", "model", "system_prompt", "parameters", "audience", "groups", "created_at")
    readonly_fields = ("user", "created_at")
    filter_horizontal = ("groups",)

    def save_model(self, request: HttpRequest, obj: Preset, form: Any, change: bool) -> None:
        """Make the admin the owner of a new preset."""
        if not change:
            obj.user_id = cast("int", request.user.pk)
        super().save_model(request, obj, form, change)
