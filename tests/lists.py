"""All lists of the administration and of the staff API, as the addresses that staff open."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import BooleanField
from django.urls import reverse

from web.large_tables import LargeTable

# The staff API's rows by their last part.
STAFF_LISTS = (
    *("users", "credits", "redeem-codes", "sensitive-words", "allowed-phrases"),
    *("upstreams", "keys", "models", "quotas", "announcements", "sensitive-patterns", "refusal-texts"),
)
# A name that one user has, one that all have, and one that none has.
RARE, COMMON, UNKNOWN = "person777@", "person", "unknown-name"


def changelist(model: Any) -> str:
    """Return the address of a list of the administration."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def every_list() -> Iterator[str]:
    """Yield each list: plain, further pages, searched, filtered by yes or a choice, and sorted by each column."""
    for model, page in admin.site._registry.items():
        texts = (RARE, COMMON, UNKNOWN) if page.search_fields else ()
        queries = [{}, {"p": "2"}, {"p": "300"}, *({"q": text} for text in texts)]
        queries += [{"o": str(number)} for number in range(1, len(page.list_display) + 1)]
        for name in page.list_filter:
            field: Any = model._meta.get_field(name.split("__")[0]) if isinstance(name, str) else None
            if isinstance(field, BooleanField):
                queries += [{f"{name}__exact": "1"}]
            # A relation from another table has none.
            choices = getattr(field, "choices", None) or ()
            queries += [{f"{name}__exact": str(value)} for value, _text in choices]
        yield from (f"{changelist(model)}?{urlencode(query)}" for query in queries)
    for name in STAFF_LISTS:
        path = f"/api/admin/{name}/"
        yield from (path, *(f"{path}?search={text}" for text in (RARE, COMMON, UNKNOWN)))


def large_lists() -> Iterator[str]:
    """Yield the lists that must read few rows: those of large tables, plain and by a search with few results."""
    for model, page in admin.site._registry.items():
        if isinstance(page, LargeTable):
            yield from (changelist(model), f"{changelist(model)}?q={RARE}")
    yield reverse("admin:quotas_redeembatch_changelist")
    for name in ("credits", "redeem-codes"):
        yield from (f"/api/admin/{name}/?limit=50", f"/api/admin/{name}/?limit=50&search={RARE}")
