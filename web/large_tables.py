"""Lists of the administration whose tables grow with use.

Their pages, filters and searches read few rows by an index, or one narrow column once. So there are no sorted columns
and no hierarchy of dates, which read whole tables, and a search by user looks for the users first.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)

# Users whose rows a search shows at most, the newest first.
MOST_USERS = 500
# Rows from which on their number is PostgreSQL's estimate.
COUNTED = 10_000


class EstimatingPaginator(Paginator[Any]):
    """Takes PostgreSQL's estimate for the rows of a large table that is shown whole."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if connection.vendor == "postgresql" and not rows.query.where:
            with connection.cursor() as cursor:
                table = connection.ops.quote_name(rows.model._meta.db_table)
                cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table])
                if (estimate := int(cursor.fetchone()[0])) > COUNTED:
                    return estimate
        return int(rows.order_by().count())


class BoundedPaginator(EstimatingPaginator):
    """Counts no further than COUNTED where filters choose rows of a large table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows.order_by().values("pk")[: COUNTED + 1].count() if rows.query.where else super().count


class UnsortedList(ChangeList):
    """Has one order, also where an address asks for another one."""

    def get_ordering_field(self, field_name: Any) -> None:
        return None


class LargeTable(admin.ModelAdmin[Row]):
    """A list of rows that belong to users.

    A search finds the rows of users whose name or address contains the text. `exact` are columns that it finds by their
    whole value, `contained` those by a part. Subclasses say in `search_help_text` what can be found.
    """

    paginator = EstimatingPaginator
    show_full_result_count = False
    # It shows the field; `get_search_results` does the rest.
    search_fields: ClassVar[Any] = ("user__username",)
    user_fields: ClassVar[tuple[str, ...]] = ("user",)
    exact: ClassVar[tuple[str, ...]] = ()
    contained: ClassVar[tuple[str, ...]] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return UnsortedList

    def get_sortable_by(self, request: HttpRequest) -> tuple[str, ...]:
        return ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Row], search_term: str
    ) -> tuple[QuerySet[Row], bool]:
        text = search_term.strip()
        if not text:
            return queryset, False
        found = Q(pk__in=[])
        for condition in self.conditions(text):
            found |= condition
        return queryset.filter(found), False

    def conditions(self, text: str) -> Iterator[Q]:
        """Yield what a row may fulfil to be found."""
        names = Q(username__icontains=text) | Q(email__icontains=text)
        users = get_user_model()._default_manager.filter(names).order_by("-pk").values_list("pk", flat=True)
        chosen = list(users[:MOST_USERS])
        for name in self.user_fields:
            yield Q(**{f"{name}__in": chosen})
        for name in self.exact:
            field = self.model._meta.get_field(name)
            if field.get_internal_type() == "CharField" or (text.isascii() and text.isdigit() and len(text) < 19):
                yield Q(**{name: text})
        for name in self.contained:
            yield Q(**{f"{name}__icontains": text})
