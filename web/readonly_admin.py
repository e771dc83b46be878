"""Admin pages for tables that only the product writes, so that staff can read them."""

from typing import TypeVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)


class RecordAdmin(admin.ModelAdmin[Row]):
    """Show rows, newest first, without adding, changing or deleting. They are deleted with their user."""

    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        # Django also checks this when a user is deleted together with these rows, so the user's own pages allow it.
        user = get_user_model()._meta
        pages = {f"{user.app_label}_{user.model_name}_{page}" for page in ("delete", "changelist")}
        return bool(request.resolver_match and request.resolver_match.url_name in pages)
