"""REST for staff: the rows of a model, and who may touch them. Knows no app: a subclass names model and serializer.

The rights are Django's own, as in the admin pages, and every change is noted in the admin's history of the row.
"""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, ClassVar

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Model, ProtectedError, QuerySet, RestrictedError
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import Conflict

_RIGHTS = {
    "GET": ("view", "change"),  # as in the admin: who may change may look
    "HEAD": ("view", "change"),
    "OPTIONS": ("view", "change"),
    "POST": ("add",),
    "PATCH": ("change",),
    "DELETE": ("delete",),
}


# Of a deletion that others keep writing into.
ATTEMPTS = 4


_REFUSES = (409, 413, 415)
# What the API's description states of rows whose view set states nothing else.
OPERATIONS = {
    "list": Operation("Staff", "List the {resource}", refuses=_REFUSES),
    "create": Operation("Staff", "Add to the {resource}", refuses=_REFUSES),
    "retrieve": Operation("Staff", "Read one of the {resource}", refuses=_REFUSES),
    "partial_update": Operation("Staff", "Change one of the {resource}", refuses=_REFUSES),
    "destroy": Operation("Staff", "Delete one of the {resource}", refuses=_REFUSES),
}


class StaffOnly(BasePermission):
    """`is_staff`, and Django's permission for what the method does to rows of the view's `model`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        model: type[Model] = view.model  # type: ignore[attr-defined]
        meta, user = model._meta, request.user
        rights = _RIGHTS.get(request.method or "", ("change",))
        return user.is_staff and any(user.has_perm(f"{meta.app_label}.{right}_{meta.model_name}") for right in rights)


class StaffSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """A row of a model. Unknown fields are refused, read-only ones are let pass: what was read may be sent back.

    The model's own `clean_fields` and `clean` have the last word, as in the admin, and may put values in order.
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


class StaffRows(viewsets.ModelViewSet[Any]):
    """A bare array of all rows, create, read, PATCH and delete. Subclasses name `model` and `serializer_class`."""

    model: ClassVar[type[Model]]
    operations: ClassVar[Mapping[str, Operation]] = OPERATIONS
    permission_classes = (StaffOnly,)

    def get_queryset(self) -> QuerySet[Any]:
        """Return all rows, in the order in which they are listed."""
        manager: Any = self.model._default_manager
        return manager.order_by("pk")  # type: ignore[no-any-return]

    def changed(self) -> None:
        """Called inside of the transaction of every change; for what must hear of it."""

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Two who change one row at the same time queue here, or the later would write back what it read before. Who
        # only refers to the row need not wait: they hold what a deletion will want next.
        changing = self.request.method in {"PATCH", "DELETE"}
        return queryset.select_for_update(no_key=True, of=("self",)) if changing else queryset

    @transaction.atomic
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().create(request, *args, **kwargs)

    @transaction.atomic
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().partial_update(request, *args, **kwargs)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete, and begin anew where others wrote what refers to the row meanwhile: then that goes, or keeps it."""
        for _attempt in range(ATTEMPTS - 1):
            try:
                return self._destroy(request, *args, **kwargs)
            except (IntegrityError, OperationalError) as error:
                if not (isinstance(error, IntegrityError) or _is_deadlock(error)):
                    raise
        try:
            return self._destroy(request, *args, **kwargs)
        except IntegrityError as error:
            raise Conflict(_("Other data needs this row, so it stays.")) from error

    @transaction.atomic
    def _destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().destroy(request, *args, **kwargs)

    def perform_create(self, serializer: serializers.BaseSerializer[Any]) -> None:
        self._note(self._saved(serializer), ADDITION, {"added": {}})

    def perform_update(self, serializer: serializers.BaseSerializer[Any]) -> None:
        fields: Iterable[str] = serializer.initial_data
        self._note(self._saved(serializer), CHANGE, {"changed": {"fields": list(fields)}})

    def perform_destroy(self, instance: Model) -> None:
        self._note(instance, DELETION, {"deleted": {}})
        try:
            with transaction.atomic():
                instance.delete()
        except (ProtectedError, RestrictedError) as error:
            raise Conflict(_("Other data needs this row, so it stays.")) from error

    def _saved(self, serializer: serializers.BaseSerializer[Any]) -> Model:
        try:
            with transaction.atomic():
                row: Model = serializer.save()
        except IntegrityError as error:
            # Somebody was quicker: now that their row can be seen, the same check names the field.
            serializer.run_validation(serializer.initial_data)
            raise Conflict from error
        return row

    def _note(self, row: Model, flag: int, message: dict[str, Any]) -> None:
        user: Any = self.request.user
        LogEntry.objects.log_actions(user.pk, [row], flag, json.dumps([message]), single_object=True)
        self.changed()


def _is_deadlock(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", "") == "40P01"


def routes(prefix: str, rows: type[StaffRows]) -> list[URLPattern]:
    """Return the routes of a list and of one row of it; `prefix` ends with a slash."""
    return [
        path(prefix, rows.as_view({"get": "list", "post": "create"})),
        path(f"{prefix}<int:pk>/", rows.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"})),
    ]
