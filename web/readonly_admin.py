"""Tables in the administration that only the product writes: to look at."""

from typing import TypeVar

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)


class RecordAdmin(admin.ModelAdmin[Row]):
    """The newest first. Nobody adds, changes or deletes one; they go with the person whose they are."""

    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        # Asked also when a person is deleted, whose rows go too: that must stay possible, on the person's own pages.
        person = get_user_model()._meta
        pages = {f"{person.app_label}_{person.model_name}_{page}" for page in ("delete", "changelist")}
        return bool(request.resolver_match and request.resolver_match.url_name in pages)
