"""Parts that the admin pages of this package have in common."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from providers import health_display
from providers.apps import providers_app

if TYPE_CHECKING:
    Mixed = admin.ModelAdmin[Any]
else:
    Mixed = object

SIGNS: dict[health_display.Level, str] = {"ok": "✓", "off": "–", "warning": "▲", "down": "✕"}


class RefreshingAdmin(Mixed):
    """Pages after whose changes this process reads the configuration; other processes follow within seconds."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        request.saved_row = form.instance  # type: ignore[attr-defined]
        providers_app().configuration.changed()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        providers_app().configuration.changed()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        super().delete_queryset(request, queryset)
        providers_app().configuration.changed()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Serve the page, then call `after_saving` outside the transaction, because it may take seconds."""
        response = super().changeform_view(request, *args, **kwargs)
        row = getattr(request, "saved_row", None)
        if row is not None and response.status_code == 302:
            self.after_saving(request, row)
        return response

    def after_saving(self, request: HttpRequest, row: Any) -> None:
        """Do what follows a stored change; for subclasses."""


def badge(level: health_display.Level, text: str) -> SafeString:
    """Return a state as colour, and as sign and words for readers who see none."""
    return format_html(
        '<span class="health {}"><span aria-hidden="true">{}</span> {}</span>', level, SIGNS[level], text
    )


def small_json(rows: int = 2) -> forms.Textarea:
    """Return a field for JSON of a few lines."""
    return forms.Textarea(attrs={"rows": rows, "cols": 60, "class": "vLargeTextField", "spellcheck": "false"})
