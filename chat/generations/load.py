"""How many generations a user may run, and how many may end without a charge."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat.generations.request import GenerationRequest
from chat.models import Generation
from web.refusals import TooManyRequests

# The time in which uncharged generations count towards MAX_UNCHARGED_PER_HOUR.
UNCHARGED_WINDOW = timedelta(hours=1)
# One statement, so that a generation that ends meanwhile counts once; plain SQL, because the ORM takes longer to build
# this than the ledger takes for all its statements.
_LOAD = """
SELECT COUNT(*), COUNT(CASE WHEN counted = %s THEN 1 END),
  (SELECT COUNT(*) FROM chat_generation WHERE user_id = %s AND uncharged_at > %s)
FROM chat_generation WHERE user_id = %s AND status = 'running'
"""


def check_load(request: GenerationRequest) -> None:
    """Refuse a user who runs too many generations, or had too many uncharged ones."""
    most_alike = settings.MAX_ACTIVE_API_CALLS if request.is_api_call else settings.MAX_ACTIVE_GENERATIONS
    most_uncharged = settings.MAX_UNCHARGED_PER_HOUR
    if not (most_alike or most_uncharged):
        return
    hour_ago, user_id = timezone.now() - UNCHARGED_WINDOW, request.user_id
    values = [not request.is_api_call, user_id, connection.ops.adapt_datetimefield_value(hour_ago), user_id]
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, values)
        running, alike, uncharged = cursor.fetchone()
    if most_alike and alike >= most_alike:
        raise TooManyRequests(_("Please wait until one of your running completions has ended."), retry_after=5)
    if not most_uncharged:
        return
    # From half the limit on, running ones count as if they will end uncharged, so that many at once cannot exceed it.
    if uncharged + (running if 2 * uncharged >= most_uncharged else 0) >= most_uncharged:
        message = _("Too many of your requests in the last hour ended without a completion. Please try again later.")
        raise TooManyRequests(message, retry_after=_seconds_until_room(request.user_id, hour_ago, most_uncharged))


def _seconds_until_room(user_id: int, hour_ago: datetime, most: int) -> float:
    """Return the seconds until fewer than `most` uncharged generations count, at least 5."""
    rows = Generation.objects.owned_by(user_id).filter(uncharged_at__gt=hour_ago).order_by("-uncharged_at")
    last = rows.values_list("uncharged_at", flat=True)[most - 1 : most].first()
    return max(5.0, (last - hour_ago).total_seconds()) if last else 5.0
