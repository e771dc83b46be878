"""Base classes of the staff REST API, which manages the rows of a model.

Each app subclasses them and names its model and serializer. Rights are Django's model permissions, as in the admin
pages, and every change is recorded in the admin history of the row.
"""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, ClassVar

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Model, ProtectedError, QuerySet, RestrictedError
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers, viewsets
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import Conflict

# Rights for methods that change rows; all others need "change".
_RIGHTS = {"POST": "add", "DELETE": "delete"}
# Attempts to delete a row while other requests insert rows that refer to it; then the response is 409.
DELETE_ATTEMPTS = 4

_REFUSES = (409, 413, 415)
# The API descriptions of view sets that state none of their own.
OPERATIONS = {
    "list": Operation("Staff", "List the {resource}", refuses=_REFUSES),
    "create": Operation("Staff", "Add to the {resource}", refuses=_REFUSES),
    "retrieve": Operation("Staff", "Read one of the {resource}", refuses=_REFUSES),
    "partial_update": Operation("Staff", "Change one of the {resource}", refuses=_REFUSES),
    "destroy": Operation("Staff", "Delete one of the {resource}", refuses=_REFUSES),
}


class StaffOnly(BasePermission):
    """Require `is_staff`, and Django's permission for the method on the view's `model`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        model: type[Model] = view.model  # type: ignore[attr-defined]
        meta, user = model._meta, request.user
        right = _RIGHTS.get(request.method or "", "change")
        # As in the admin, "change" includes "view".
        rights = ("view", "change") if request.method in SAFE_METHODS else (right,)
        return user.is_staff and any(user.has_perm(f"{meta.app_label}.{right}_{meta.model_name}") for right in rights)


class StaffSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """A row of a model. Unknown fields are refused; read-only fields are ignored.

    So a client may send back a row as it was read. The model's `clean_fields` and `clean` run as in the admin, and may
    normalize values.
    """

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        model: type[Model] = self.Meta.model
        columns = {field.name for field in model._meta.concrete_fields}
        row = copy(self.instance) if isinstance(self.instance, Model) else model()
        for name in columns & attrs.keys():
            setattr(row, name, attrs[name])
        row.clean_fields(exclude=columns - {name for name, field in self.fields.items() if not field.read_only})
        row.clean()
        return {**attrs, **{name: getattr(row, name) for name in columns & attrs.keys()}}


@method_decorator(transaction.atomic, name="create")
@method_decorator(transaction.atomic, name="partial_update")
class StaffRows(viewsets.ModelViewSet[Any]):
    """List (a bare array), create, read, PATCH and delete; subclasses set `model` and `serializer_class`."""

    model: ClassVar[type[Model]]
    operations: ClassVar[Mapping[str, Operation]] = OPERATIONS
    permission_classes = (StaffOnly,)

    def get_queryset(self) -> QuerySet[Any]:
        return self.model._default_manager.order_by("pk")

    def changed(self) -> None:
        """Override to react to a change; called inside the transaction of each change."""

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Lock the row: of two concurrent changes the second must read what the first wrote. `no_key` does not block
        # inserts that refer to the row; they hold locks that a deletion needs next, so blocking them would deadlock.
        changing = self.request.method in {"PATCH", "DELETE"}
        return queryset.select_for_update(no_key=True, of=("self",)) if changing else queryset

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a row; try again when another request inserted a reference to it meanwhile."""
        destroy = transaction.atomic(super().destroy)
        for _attempt in range(DELETE_ATTEMPTS - 1):
            try:
                return destroy(request, *args, **kwargs)
            except IntegrityError:
                continue
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", "") != "40P01":  # a deadlock
                    raise
        try:
            return destroy(request, *args, **kwargs)
        except IntegrityError as error:
            raise Conflict(_("Other data refers to this row, so it cannot be deleted.")) from error

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        self._note(self._save(serializer), ADDITION, {"added": {}})

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        fields: Iterable[str] = serializer.initial_data
        self._note(self._save(serializer), CHANGE, {"changed": {"fields": list(fields)}})

    def perform_destroy(self, instance: Model) -> None:
        self._note(instance, DELETION, {"deleted": {}})
        try:
            with transaction.atomic():
                instance.delete()
        except (ProtectedError, RestrictedError) as error:
            raise Conflict(_("Other data refers to this row, so it cannot be deleted.")) from error

    def _save(self, serializer: serializers.BaseSerializer[Any]) -> Model:
        try:
            with transaction.atomic():
                row: Model = serializer.save()
        except IntegrityError as error:
            # Another request stored the value first; its row is visible now, so validating again names the field.
            serializer.run_validation(serializer.initial_data)
            raise Conflict from error
        return row

    def _note(self, row: Model, flag: int, message: dict[str, Any]) -> None:
        user: Any = self.request.user
        LogEntry.objects.log_actions(user.pk, [row], flag, json.dumps([message]), single_object=True)
        self.changed()


def routes(prefix: str, rows: type[StaffRows]) -> list[URLPattern]:
    """Return the routes of a list and of its rows; `prefix` ends with a slash."""
    return [
        path(prefix, rows.as_view({"get": "list", "post": "create"})),
        path(f"{prefix}<int:pk>/", rows.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})),
    ]
