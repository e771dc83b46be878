"""Headings of the list of conversations, by the day on which each was used last.

The page's script does the same in the reader's time zone (`frontend/src/chat/day-groups.js`); the server's headings
keep the list from jumping when that script starts.
"""

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from chat.models import Conversation


def heading(row: Conversation, now: datetime) -> str:
    """Return the heading under which a conversation is listed, in the server's time zone."""
    if row.pinned:
        return _("Pinned")
    used, today = timezone.localdate(row.updated_at), timezone.localdate(now)
    days = (today - used).days
    if days <= 0:
        return _("Today")
    if days == 1:
        return _("Yesterday")
    if days <= 7:
        return _("Previous 7 days")
    return _("Previous 30 days") if days <= 30 else date_format(used, "YEAR_MONTH_FORMAT")
