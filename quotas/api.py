"""REST of quotas: the caller's figures, and every grant and spend."""

from typing import cast

from django.contrib.auth.models import AbstractBaseUser
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from quotas import history, ledger, schemas
from web.openapi import Operation
from web.refusals import InvalidRequest

# The highest id: eight bytes in every database.
_HIGHEST_ID = 2**63 - 1


class Quotas(APIView):
    """`GET /api/quotas/`."""

    @Operation("Models and quotas", "The caller's quotas", returns=list[schemas.Quota])
    def get(self, request: Request) -> Response:
        return Response(ledger.overview(cast("AbstractBaseUser", request.user)))


class Ledger(APIView):
    """`GET /api/quotas/ledger/`: newest first.

    Because the cursor is the last id of the page before, no row is skipped or shown twice.
    """

    @Operation(
        "Models and quotas", "Every grant and spend, newest first", returns=schemas.LedgerPage, query={"cursor": str}
    )
    def get(self, request: Request) -> Response:
        before = _cursor(request.query_params.get("cursor", ""))
        rows, following = history.page(history.entries(cast("int", request.user.pk)), before)
        url = request.build_absolute_uri(f"{request.path}?cursor={following}") if following else None
        return Response(schemas.LedgerPage(results=[history.shown(row) for row in rows], next=url))


def _cursor(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _HIGHEST_ID):
        raise InvalidRequest(details={"cursor": [_("This cursor is not valid.")]})
    return int(text)
