"""`GET /api/quotas/usage/`: charged completions by day, model and token, as JSON or CSV."""

import csv
from collections import defaultdict
from typing import Annotated, Literal

from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import token_usage
from accounts.models import User
from chat.stats import daily
from chat.stats.schemas import UsageOfDay
from web import spreadsheets
from web.openapi import Content, Operation
from web.refusals import InvalidRequest

# Days that it returns by default, and at most.
DAYS, MOST_DAYS = 30, 366
# Rows of tokens in one response. More are refused, because a response is built in memory.
MOST_ROWS = 20_000
_COLUMNS = ("date", "model", "answers", "input_tokens", "output_tokens")
_TOKEN_COLUMNS = ("date", "model", "token", "token_name", "answers", "input_tokens", "output_tokens")


class Usage(APIView):
    @Operation(
        "Models and quotas",
        "Charged completions by day and model",
        "With `by=token` by API token too; `token` is null for pages and logins without one.",
        returns=(list[UsageOfDay], Content(str, ("text/csv",))),
        query={
            "days": Annotated[int, Field(ge=1, le=MOST_DAYS)],
            "by": Literal["model", "token"],
            "as": Literal["json", "csv"],
        },
    )
    def get(self, request: Request) -> HttpResponse:
        user: User = request.user  # type: ignore[assignment]
        days = _days(request.query_params.get("days", ""))
        is_by_token = _choice(request, "by", ("model", "token")) == "token"
        form = _choice(request, "as", ("json", "csv"))
        rows = by_token(user.pk, days) if is_by_token else _by_model(user.pk, days)
        return _as_csv(rows, _TOKEN_COLUMNS if is_by_token else _COLUMNS) if form == "csv" else Response(rows)


def by_token(user_id: int, days: int) -> list[UsageOfDay]:
    """Return the usage by day, model and token, oldest first; two queries.

    Of each day and model, what no token used comes first. Raises InvalidRequest for too many rows.
    """
    tokens = list(token_usage.of_user(user_id, daily.last_days(days)[0])[: MOST_ROWS + 1])
    if len(tokens) > MOST_ROWS:
        message = _("More than %(most)d rows: ask for fewer days.") % {"most": MOST_ROWS}
        raise InvalidRequest(details={"days": [message]})
    rows: dict[tuple[str, str], list[UsageOfDay]] = defaultdict(list)
    for row in tokens:
        rows[row.day.isoformat(), row.model].append(
            UsageOfDay(
                date=row.day.isoformat(),
                model=row.model,
                token=row.token_id,
                token_name=row.name,
                answers=row.answers,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
            )
        )
    usage: list[UsageOfDay] = []
    for total in _by_model(user_id, days):
        of_tokens = rows[total["date"], total["model"]]
        rest = _rest(total, of_tokens)
        usage += [rest, *of_tokens] if rest["answers"] else of_tokens
    return usage


def _by_model(user_id: int, days: int) -> list[UsageOfDay]:
    return [
        UsageOfDay(
            date=row["day"].isoformat(),
            model=row["model"],
            answers=row["charged"],
            input_tokens=row["read"],
            output_tokens=row["written"],
        )
        for row in daily.by_model(user_id, days)
    ]


def _rest(total: UsageOfDay, tokens: list[UsageOfDay]) -> UsageOfDay:
    """Return what of a day's usage of a model came from no token."""
    return UsageOfDay(
        date=total["date"],
        model=total["model"],
        token=None,
        token_name=None,
        answers=max(0, total["answers"] - sum(row["answers"] for row in tokens)),
        input_tokens=max(0, total["input_tokens"] - sum(row["input_tokens"] for row in tokens)),
        output_tokens=max(0, total["output_tokens"] - sum(row["output_tokens"] for row in tokens)),
    )


def _as_csv(rows: list[UsageOfDay], columns: tuple[str, ...]) -> HttpResponse:
    name = f"usage-{timezone.localdate().isoformat()}.csv"
    response = HttpResponse(
        "\ufeff",  # without it, spreadsheets misread names that are not ASCII
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    table = csv.writer(response)
    table.writerow(columns)
    table.writerows([spreadsheets.cell(row.get(column)) for column in columns] for row in rows)
    return response


def _days(text: str) -> int:
    if not text:
        return DAYS
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_DAYS):
        raise InvalidRequest(details={"days": [_("A number from 1 to %(most)d.") % {"most": MOST_DAYS}]})
    return int(text)


def _choice(request: Request, name: str, choices: tuple[str, str]) -> str:
    """Return a parameter of the query, one of two; the first is the default."""
    given = request.query_params.get(name) or choices[0]
    if given not in choices:
        message = _("Expected %(first)s or %(second)s.") % {"first": choices[0], "second": choices[1]}
        raise InvalidRequest(details={name: [message]})
    return given
