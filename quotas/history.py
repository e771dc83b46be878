"""The ledger as users read it: pages of rows, and reasons in words."""

from typing import TypeVar

from django.db.models import Model, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from quotas.invitations import INVITED, INVITER
from quotas.models import LedgerEntry
from quotas.redeem_codes import REDEEMED
from quotas.schemas import LedgerRow

Row = TypeVar("Row", bound=Model)

PAGE_SIZE = 50

# Reasons of grants that the product itself gives.
OWN_REASONS = frozenset({INVITED, INVITER, REDEEMED})
# Words for the reasons that the product itself gives. An admin's own reasons need none.
_WORDS: dict[str, str | Promise] = {
    "stop": _("Completion"),
    "length": _("Completion, up to the length limit"),
    "cancelled": _("Completion, stopped by you"),
    "content_filter": _("Completion, ended by the content filter"),
    INVITED: _("You were invited"),
    INVITER: _("First completion of a user you invited"),
    REDEEMED: _("Redeem code"),
}


def entries(user_id: int) -> QuerySet[LedgerEntry]:
    """Return a user's rows, newest first, each with its quota."""
    return LedgerEntry.objects.filter(user_id=user_id).select_related("quota").order_by("-id")


def page(rows: QuerySet[Row], before: int | None, size: int = PAGE_SIZE) -> tuple[list[Row], int | None]:
    """Return a page of rows below the id `before`, and the next page's `before`."""
    found = list((rows if before is None else rows.filter(pk__lt=before))[: size + 1])
    return found[:size], found[size - 1].pk if len(found) > size else None


def place(text: str) -> int | None:
    """Return the id given as `before` in a URL; None: begin with the newest."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def shown(entry: LedgerEntry) -> LedgerRow:
    """Return a row as the API's JSON."""
    return {
        "id": entry.pk,
        "quota": entry.quota.slug,
        "amount": entry.amount,
        "source": entry.source,
        "reason": entry.reason,
        "generation": entry.reference or None,
        "created_at": timezone.localtime(entry.created_at).isoformat(),
    }


def words(entry: LedgerEntry) -> str:
    """Return the reason in the active language, or as the admin typed it."""
    known = entry.reference or entry.reason in OWN_REASONS
    return str(_WORDS.get(entry.reason, entry.reason)) if known else entry.reason
