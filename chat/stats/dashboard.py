"""The admin dashboard: completions, tokens, charges and failures, as plots and sums."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
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
from providers import health_display
from providers.alerts import texts
from providers.models import Alert

# Days that the dashboard shows.
DAYS = 30

# Shown for the upstream of generations that reached none.
NO_NAME = "–"

# The series, the day and the number of one part of a plot.
Value = tuple[str, date, int]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the last 30 days to staff with the permission to view generations; three queries."""
    if not _may_see(request):
        raise PermissionDenied
    context = {**admin.site.each_context(request), "title": _("Dashboard"), **_figures()}
    return TemplateResponse(request, "admin/dashboard.html", context)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Open the administration with the dashboard, for staff who may see it."""
    return admin.site.index(request, _figures() if _may_see(request) else None)


def _may_see(request: HttpRequest) -> bool:
    return request.user.has_perm("chat.view_generation")


def _figures() -> dict[str, Any]:
    rows = daily.of_all_users(DAYS)
    return {
        "days": DAYS,
        "plots": _plots(rows),
        "tables": [
            {"heading": _("model"), "rows": _sums(rows, "model")},
            {"heading": _("upstream"), "rows": _sums(rows, "upstream")},
        ],
        "total": _sum(rows),
        "open_alerts": [(alert, texts.headline(alert)) for alert in Alert.objects.filter(ended_at=None).order_by("id")],
        "passed_over": [(route, health_display.of_route(route)[1]) for route in health_display.routes_passed_over()],
    }


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


def _plot(values: Iterable[Value], like: Plot | None = None) -> Plot:
    series: dict[str, Counter[date]] = defaultdict(Counter)
    for name, day, value in values:
        series[name][day] += value
    return stacked(daily.last_days(DAYS), series, _("Others"), like)


def _by(rows: list[daily.Row], column: str, counter: str) -> Iterator[Value]:
    """Yield a counter, with a series per value of a column."""
    return ((row[column] or NO_NAME, row["day"], row[counter]) for row in rows)


def _of(rows: list[daily.Row], counters: dict[str, str]) -> Iterator[Value]:
    """Yield several counters, with a series per counter."""
    return ((name, row["day"], row[counter]) for row in rows for counter, name in counters.items())


def _sums(rows: list[daily.Row], column: str) -> list[dict[str, Any]]:
    groups: dict[str, list[daily.Row]] = defaultdict(list)
    for row in rows:
        groups[row[column] or NO_NAME].append(row)
    sums = [{"name": name, **_sum(group)} for name, group in groups.items()]
    return sorted(sums, key=lambda row: (-row["all_answers"], row["name"]))


def _sum(rows: list[daily.Row]) -> dict[str, int]:
    return {f"all_{name}": sum(row[f"all_{name}"] for row in rows) for name in daily.COUNTERS}
