"""The page of the audit, with filters and CSV.

Nothing can be changed or deleted here.
"""

import csv
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.audit.models import AuditEntry
from accounts.audit.recording import record
from web import spreadsheets
from web.readonly_admin import RecordAdmin

# Rows of one CSV file, the newest first.
MOST_EXPORTED = 50_000
COLUMNS = (
    *("id", "at", "actor_id", "actor_name", "via", "address", "action", "object_type", "object_id"),
    *("user_id", "changed_fields", "reason", "request_id"),
)


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin[AuditEntry]):
    change_list_template = "admin/accounts/auditentry/change_list.html"
    list_display = ("at", "actor_name", "via", "action", "what", "changed_fields", "reason", "address")
    list_filter = ("via", "at", "action", "object_type")
    search_fields = ("actor_name", "address", "=object_id", "=request_id", "=user_id")
    search_help_text = _("Actor, address, number of the object or of its user, or number of the request")
    date_hierarchy = "at"
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

    @admin.display(description=_("object"), ordering="object_type")
    def what(self, entry: AuditEntry) -> str:
        return f"{entry.object_type} {entry.object_id}".strip() or "–"
