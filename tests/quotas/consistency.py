"""Facts that hold for the quota tables at any moment, after any history."""

from django.db.models import Count, Sum

from quotas.models import CreditBalance, DailyUsage, LedgerEntry, Reservation


def check(user_id: int, quota_id: int) -> None:
    """Compare usage and balances with what was reserved, spent and granted."""
    own = {"user_id": user_id, "quota_id": quota_id}
    reservations = Reservation.objects.filter(**own)
    entries = LedgerEntry.objects.filter(**own)
    taken = reservations.exclude(status="released")
    by_day = dict(taken.filter(source="daily").values("day").annotate(count=Count("id")).values_list("day", "count"))
    used = DailyUsage.objects.filter(**own, used__gt=0)
    assert dict(used.values_list("day", "used")) == by_day, "used = daily settled + daily open"
    granted = entries.filter(reference="").aggregate(sum=Sum("amount"))["sum"] or 0
    balance = CreditBalance.objects.filter(**own).aggregate(sum=Sum("credits"))["sum"] or 0
    assert balance == granted - taken.filter(source="credit").count(), "balance = granted - spent - reserved"
    spends = entries.exclude(reference="").values_list("reference", "source", "amount")
    settled = reservations.filter(status="settled").values_list("reference", "source")
    assert sorted(spends) == sorted((*row, -1) for row in settled), "one row for each settled reservation"
