"""What a person has used: `GET /api/quotas/usage/`."""

from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from chat import tally
from runtime.refusals import InvalidRequest

DAYS, MOST_DAYS = 30, 366


class Usage(APIView):
    """Charged answers by day and model, of so many days, today the last of them."""

    def get(self, request: Request) -> Response:
        user: User = request.user  # type: ignore[assignment]
        return Response(tally.of_user(user.pk, _days(request.query_params.get("days", ""))))


def _days(text: str) -> int:
    if not text:
        return DAYS
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_DAYS):
        raise InvalidRequest(details={"days": [_("A number from 1 to %(most)d.") % {"most": MOST_DAYS}]})
    return int(text)
