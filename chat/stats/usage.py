"""A user's quotas and usage: the page `/usage/`; programs use usage_api.py."""

from collections import defaultdict
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import redeem, token_usage
from accounts.models import User
from chat.models import Generation
from chat.stats import daily
from chat.stats.plot import stacked
from providers.apps import providers_app
from quotas import history, ledger
from quotas.models import LedgerEntry, Source
from web.refusals import Refusal

# Days that the page shows by default, and offers to show.
DAYS, SPANS = 30, (7, 30, 90)
# Ledger entries on one page.
ROWS = 25


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """Show the user's quotas, completions by day, and ledger; a POST redeems a code."""
    user: User = request.user  # type: ignore[assignment]
    if request.method == "POST":
        return _redeem(request, user)
    span = next((each for each in SPANS if str(each) == request.GET.get("days")), DAYS)
    before = history.place(request.GET.get("before", ""))
    rows, older = history.page(history.entries(user.pk), before, ROWS)
    values: dict[str, dict[Any, int]] = defaultdict(dict)
    for row in daily.by_model(user.pk, span):
        values[_title(row["model"])][row["day"]] = row["charged"]
    context = {
        # A quota without a model is shown only if the user has credits in it.
        "quotas": [_quota_context(quota) for quota in ledger.overview(user) if quota["models"] or quota["credits"]],
        "signup_open": settings.SIGNUP_MODE != "closed",
        "plot": stacked(daily.last_days(span), values, _("Others")),
        "span": span,
        "spans": SPANS,
        "tokens": token_usage.sums(user.pk, daily.last_days(span)[0]),
        "entries": _entry_contexts(rows),
        "older": older,
        "before": before,
    }
    return render(request, "usage.html", context)


def _redeem(request: HttpRequest, user: User) -> HttpResponse:
    try:
        code = redeem.redeem(request, user, request.POST.get("code", ""))
    except Refusal as refusal:
        messages.error(request, str(refusal.message))
    else:
        counted = ngettext(
            "You received %(count)d credit for “%(quota)s”.",
            "You received %(count)d credits for “%(quota)s”.",
            code.credits,
        )
        messages.success(request, counted % {"count": code.credits, "quota": code.quota.shown_title})
    return redirect("usage")


def _quota_context(quota: ledger.QuotaState) -> dict[str, Any]:
    limit, used = quota["daily_limit"], quota["used_today"]
    return {
        **quota,
        "left_today": None if limit is None else max(0, limit - used),
        "resets": parse_datetime(quota["resets_at"]),
        "models": ", ".join(_title(slug) for slug in quota["models"]),
    }


def _entry_contexts(entries: list[LedgerEntry]) -> list[dict[str, Any]]:
    """Return the ledger entries for the template; spends with their model and conversation. One query."""
    spends = Generation.objects.filter(id__in=[entry.reference for entry in entries if entry.reference])
    generations: dict[str, dict[str, Any]] = {
        row["id"]: dict(row) for row in spends.values("id", "model", "conversation_id")
    }
    return [
        {
            "words": history.words(entry),
            "about": _title(generation["model"]) if generation else entry.quota.shown_title,
            "conversation": generation.get("conversation_id"),
            "amount": f"{entry.amount:+,d}".replace("-", "\u2212"),
            "gain": entry.amount > 0,
            "daily": entry.source == Source.DAILY,
            "at": timezone.localtime(entry.created_at),
        }
        for entry in entries
        for generation in [generations.get(entry.reference, {})]
    ]


def _title(slug: str) -> str:
    """Return a model's title, or its slug if the model was deleted."""
    config = providers_app().configuration.models().get(slug)
    return str(config.title) if config else slug
