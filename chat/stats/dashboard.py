"""The admin dashboard: completions, tokens, charges and failures, as plots and sums."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from chat.stats import daily
from chat.stats.plot import Plot, stacked

# Days that the dashboard shows.
DAYS = 30

Values = Mapping[str, Mapping[date, int]]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the last 30 days to staff with the permission to view generations; one query."""
    if not request.user.has_perm("chat.view_generation"):
        raise PermissionDenied
    rows = daily.of_all_users(DAYS)
    context = {
        **admin.site.each_context(request),
        "title": _("Dashboard"),
        "days": DAYS,
        "plots": _plots(rows),
        "tables": [
            {"heading": _("model"), "rows": _sums(rows, "model")},
            {"heading": _("upstream"), "rows": _sums(rows, "upstream")},
        ],
        "total": _sum(rows),
    }
    return TemplateResponse(request, "admin/dashboard.html", context)


def _plots(rows: list[daily.Row]) -> list[tuple[str, Plot]]:
    tokens = {"all_input_tokens": _("Read"), "all_output_tokens": _("Written")}
    charges = {"all_daily_charges": _("Daily allowance"), "all_credit_charges": _("Credits")}
    models, upstreams = (_plot(_by(rows, column, "all_answers")) for column in ("model", "upstream"))
    return [
        (_("Answers by model"), models),
        (_("Answers by upstream"), upstreams),
        (_("Tokens"), _plot(_of(rows, tokens))),
        (_("Charges"), _plot(_of(rows, charges))),
        (_("Failures by model"), _plot(_by(rows, "model", "all_failures"), models)),
        (_("Failures by upstream"), _plot(_by(rows, "upstream", "all_failures"), upstreams)),
    ]


def _plot(values: Values, like: Plot | None = None) -> Plot:
    return stacked(daily.last_days(DAYS), values, _("Others"), like)


def _by(rows: list[daily.Row], column: str, counter: str) -> Values:
    """Return a counter by day, with a series per value of a column."""
    return _series(rows, lambda row: {_name(row[column]): row[counter]})


def _of(rows: list[daily.Row], counters: dict[str, str]) -> Values:
    """Return several counters by day, with a series per counter."""
    return _series(rows, lambda row: {name: row[counter] for counter, name in counters.items()})


def _series(rows: list[daily.Row], parts: Callable[[daily.Row], dict[str, int]]) -> Values:
    values: dict[str, Counter[date]] = defaultdict(Counter)
    for row in rows:
        for name, value in parts(row).items():
            values[name][row["day"]] += value
    return values


def _sums(rows: list[daily.Row], column: str) -> list[dict[str, Any]]:
    groups: dict[str, list[daily.Row]] = defaultdict(list)
    for row in rows:
        groups[_name(row[column])].append(row)
    sums = [{"name": name, **_sum(group)} for name, group in groups.items()]
    return sorted(sums, key=lambda row: (-row["all_answers"], row["name"]))


def _sum(rows: list[daily.Row]) -> dict[str, int]:
    return {f"all_{name}": sum(row[f"all_{name}"] for row in rows) for name in daily.COUNTERS}


def _name(value: str) -> str:
    """Return the name to show; a generation that reached no upstream has none."""
    return value or "–"
