"""Base classes of the staff REST API, which manages the rows of a model.

Each app subclasses them and names its model and serializer. Rights are Django's model permissions, as in the admin
pages, and every change is recorded in the admin history of the row.
"""

import json
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar

from django.contrib import admin
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

from runtime.apps import runtime
from web.bodies import StrictSerializer
from web.openapi import Operation
from web.refusals import Conflict, InvalidRequest

# Rights for methods that change rows; all others need "change".
_RIGHTS = {"POST": "add", "DELETE": "delete"}
# Rows of a list at once; the header `Link` leads to the next ones.
LISTED = 2_000
# Seconds that a replica of the database may work for a list.
LIST_SECONDS = 5.0
# Characters of a searched text.
MOST_SEARCH_CHARS = 100
# Attempts to delete a row while other requests insert rows that refer to it; then the response is 409.
DELETE_ATTEMPTS = 4

_REFUSES = (409, 413, 415)
# The API descriptions of view sets that state none of their own.
OPERATIONS = {
    "list": Operation(
        "Staff",
        "List the {resource}",
        "`search` finds what the administration's list finds. `limit` rows come at once, 2,000 at most. Where there "
        'are more, the header `Link` has the address of the next ones (`rel="next"`).',
        query={"search": str, "limit": int, "cursor": int},
        refuses=_REFUSES,
    ),
    "create": Operation("Staff", "Add to the {resource}", refuses=_REFUSES),
    "retrieve": Operation("Staff", "Read one of the {resource}", refuses=_REFUSES),
    "partial_update": Operation("Staff", "Change one of the {resource}", refuses=_REFUSES),
    "destroy": Operation("Staff", "Delete one of the {resource}", refuses=_REFUSES),
}


def with_query(**names: type) -> Operation:
    """Return the description of a list that takes further parameters."""
    listing = OPERATIONS["list"]
    return replace(listing, query={**listing.query, **names})


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

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return rows in the order of the query set, which is that of their ids."""
        return runtime().read_replica.read(lambda: self._page(request), LIST_SECONDS)

    def _page(self, request: Request) -> Response:
        limit = _whole_number(request, "limit", 1, LISTED) or LISTED
        after = _whole_number(request, "cursor", 0, 2**63 - 1)
        rows = self._found(self.filter_queryset(self.get_queryset()))
        if after is not None:
            rows = rows.filter(**{"pk__lt" if _is_descending(rows) else "pk__gt": after})
        page = list(rows[: limit + 1])
        response = Response(self.get_serializer(page[:limit], many=True).data)
        if len(page) > limit:
            query = request.query_params.copy()
            query["cursor"] = str(page[limit - 1].pk)
            response["Link"] = f'<{request.build_absolute_uri(f"{request.path}?{query.urlencode()}")}>; rel="next"'
        return response

    def _found(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        text = self.request.query_params.get("search", "").strip()
        if len(text) > MOST_SEARCH_CHARS or "\0" in text:
            raise InvalidRequest(details={"search": [_("This text is too long.")]})
        if not text:
            return rows
        page = admin.site.get_model_admin(self.model)
        found, duplicates = page.get_search_results(self.request._request, rows, text)
        return self.get_queryset().filter(pk__in=found.order_by().values("pk")) if duplicates else found

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


def _is_descending(rows: QuerySet[Any]) -> bool:
    return str(rows.query.order_by[0]).startswith("-")


def _whole_number(request: Request, name: str, least: int, most: int) -> int | None:
    """Return a number of the query, None when it is not there or empty."""
    text = request.query_params.get(name, "")
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise InvalidRequest(details={name: [_("This number is not valid.")]})
