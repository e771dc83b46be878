"""Announcements in the admin."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import DateTimeField, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from chat.announcements.models import Announcement
from chat.apps import chat
from web import limited_markdown


@admin.register(Announcement)
class AnnouncementAdmin(admin.ModelAdmin[Announcement]):
    list_display = ("text", "severity", "audience", "starts_at", "ends_at", "state")
    list_filter = ("severity", "audience")
    search_fields = ("text_en", "text_zh")
    fields = ("text_en", "text_zh", "severity", "audience", "groups", "starts_at", "ends_at")
    # Instead of Django's pair of fields, whose second one has no label.
    formfield_overrides: ClassVar[Any] = {
        DateTimeField: {
            "form_class": forms.DateTimeField,
            "widget": forms.DateTimeInput({"type": "datetime-local", "step": 1}, "%Y-%m-%dT%H:%M:%S"),
        }
    }
    ordering = ("-starts_at", "-id")

    @admin.display(description=_("text"))
    def text(self, row: Announcement) -> str:
        return Truncator(limited_markdown.plain(row.text_zh or row.text_en)).chars(80)

    @admin.display(description=_("state"))
    def state(self, row: Announcement) -> Any:
        now = timezone.now()
        if row.ends_at and row.ends_at <= now:
            return _("past")
        return _("shown now") if row.starts_at <= now else _("not yet shown")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        chat().announcements.changed()

    def delete_model(self, request: HttpRequest, obj: Announcement) -> None:
        super().delete_model(request, obj)
        chat().announcements.changed()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Announcement]) -> None:
        super().delete_queryset(request, queryset)
        chat().announcements.changed()
