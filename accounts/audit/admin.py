"""The page of the audit, with filters and CSV.

Nothing can be changed or deleted here.
"""

import csv
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.audit.models import AuditEntry
from accounts.audit.recording import record
from web import spreadsheets
from web.large_tables import LargeTable
from web.readonly_admin import RecordAdmin

# Rows of one CSV file, the newest first.
MOST_EXPORTED = 50_000
COLUMNS = (
    *("id", "at", "actor_id", "actor_name", "via", "address", "action", "object_type", "object_id"),
    *("user_id", "changed_fields", "reason", "request_id"),
)


class ActionFilter(admin.SimpleListFilter):
    """Usual actions; Django would read the whole table for those that occur."""

    title, parameter_name = _("action"), "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ("add", "change", "delete", "view", "list", "export", "refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class TypeFilter(admin.SimpleListFilter):
    """The types of objects that staff can work with."""

    title, parameter_name = _("type of object"), "object_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        return [(model._meta.label_lower, model._meta.verbose_name_plural or "") for model in admin.site._registry]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return queryset.filter(object_type=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin[AuditEntry], LargeTable[AuditEntry]):
    change_list_template = "admin/accounts/auditentry/change_list.html"
    list_display = ("at", "actor_name", "via", "action", "what", "changed_fields", "reason", "address")
    list_filter = ("via", "at", ActionFilter, TypeFilter)
    user_fields = ()
    exact = ("actor_name", "object_id", "user_id", "request_id")
    contained = ("address",)
    search_help_text = _("An actor, a part of an address, or the whole id of an object, its user or a request.")
    fields: ClassVar[Any] = COLUMNS

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export)
        return [path("export/", view, name="accounts_auditentry_export"), *super().get_urls()]

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def export(self, request: HttpRequest) -> HttpResponse:
        """Return the rows that the filters of the query select."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = self.get_changelist_instance(request).get_queryset(request).order_by("-pk")[:MOST_EXPORTED]
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="audit-{timezone.localdate()}.csv"'
        file = csv.writer(response)
        file.writerow(COLUMNS)
        for row in rows.iterator():
            values = [getattr(row, column) for column in COLUMNS]
            values[1] = timezone.localtime(row.at).isoformat()
            file.writerow(map(spreadsheets.cell, values))
        record(request, "export", AuditEntry, [])
        return response

    @admin.display(description=_("object"))
    def what(self, entry: AuditEntry) -> str:
        return f"{entry.object_type} {entry.object_id}".strip() or "–"
