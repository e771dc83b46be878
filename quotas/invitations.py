"""Invitations: credits for both sides.

Invited users get theirs at once, inviters with the invited user's first charged completion. The transaction that makes
the account makes the row. It leaves `pending` once, by a guarded update in the transaction that settles a completion.
The amounts are those of the quotas at the moment the credits are given.
"""

from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from quotas import ledger, statements
from quotas.models import REWARDS_A_DAY, Invitation, Quota
from web.refusals import InvalidRequest

log = structlog.get_logger("quotas")

# Reasons in ledger rows; `history.py` has their words.
INVITED, INVITER = "invited", "inviter"


def join(inviter_id: int, invited_id: int, *, earns: bool) -> None:
    """Record that a user joined with an inviter's code, and give the invited user's credits.

    `earns` is false for a user who had an account before: neither side gets credits. Belongs inside the transaction
    that makes the account.
    """
    status = Invitation.Status.PENDING if earns else Invitation.Status.NOTHING
    Invitation.objects.create(inviter_id=inviter_id, invited_id=invited_id, status=status)
    if earns:
        for quota in Quota.objects.filter(invitee_credits__gt=0).order_by("id"):
            ledger.grant(invited_id, quota.pk, quota.invitee_credits, INVITED)


def reward(invitation_id: int) -> None:
    """Give the inviter of a pending invitation the credits of each quota; repeating is safe.

    Belongs inside the transaction that settles the invited user's completion. The invitation stays pending, for a later
    completion, while the inviter is disabled, and once the inviter's day has `REWARDS_A_DAY`.
    """
    with transaction.atomic():
        invitation = _claimed(invitation_id)
        if invitation is None:
            return
        day = connection.ops.adapt_datefield_value(ledger.day_of(timezone.now()))
        with connection.cursor() as cursor:
            share = {"inviter": invitation.inviter_id, "day": day, "most": REWARDS_A_DAY}
            cursor.execute(statements.TAKE_REWARD, share)
            if cursor.rowcount != 1:
                transaction.set_rollback(True)
                return
        # By id: all code that locks several balances of one user does so in this order.
        promises = Quota.objects.filter(inviter_credits__gt=0).order_by("id")
        earned = sum(_granted(invitation.inviter_id, quota) for quota in promises)
        Invitation.objects.filter(pk=invitation_id).update(reward=min(earned, statements.MOST))


def _claimed(invitation_id: int) -> Invitation | None:
    # `status` is in the outer condition, because PostgreSQL checks that again after waiting for another claim.
    active = get_user_model().objects.filter(pk=OuterRef("inviter_id"), is_active=True)
    rows = Invitation.objects.filter(pk=invitation_id)
    pending = rows.filter(Exists(active), status=Invitation.Status.PENDING)
    claimed = pending.update(status=Invitation.Status.CREDITED, credited_at=timezone.now())
    return rows.get() if claimed else None


def _granted(inviter_id: int, quota: Quota) -> int:
    try:
        ledger.grant(inviter_id, quota.pk, quota.inviter_credits, INVITER)
    except InvalidRequest:  # the balance is full, which must not fail the invited user's completion
        log.warning("inviter's balance is full", user=inviter_id, quota=quota.slug)
        return 0
    return quota.inviter_credits


def of(inviter_id: int) -> QuerySet[Invitation]:
    """Return a user's invitations, newest first, without those whose invited user was deleted."""
    rows = Invitation.objects.filter(inviter_id=inviter_id, invited__isnull=False)
    return rows.select_related("invited").order_by("-id")


def sums(inviter_id: int) -> dict[str, int]:
    """Return `{joined, pending, earned}`: users, and credits of all quotas together."""
    there, waiting = Q(invited__isnull=False), Q(status=Invitation.Status.PENDING)
    counts = Invitation.objects.filter(inviter_id=inviter_id).aggregate(
        joined=Count("id", filter=there), waiting=Count("id", filter=there & waiting), earned=Sum("reward", default=0)
    )
    promised = Quota.objects.aggregate(sum=Sum("inviter_credits", default=0))["sum"]
    return {"joined": counts["joined"], "pending": counts["waiting"] * promised, "earned": counts["earned"]}


def promises() -> list[dict[str, Any]]:
    """Return `{title, inviter, invited}` of each quota that gives credits for an invitation."""
    rows = Quota.objects.filter(Q(inviter_credits__gt=0) | Q(invitee_credits__gt=0)).order_by("id")
    return [{"title": row.shown_title, "inviter": row.inviter_credits, "invited": row.invitee_credits} for row in rows]
