"""Groups that have used most of a quota today: a source of alerts."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Sum
from django.db.models.functions import Least
from django.utils import timezone

from providers.alerts.conditions import Condition, Kind, Source
from quotas import days
from quotas.models import DailyUsage, QuotaGroupLimit


def nearly_used() -> list[Condition]:
    """Return the groups that have used `ALERT_QUOTA_PERCENT` or more of today's allowance.

    It is the limit of the group times its members. Use beyond the limit, as in another group, does not count.
    """
    limits = QuotaGroupLimit.objects.filter(daily_limit__gt=0).select_related("quota", "group").order_by("id")
    return [found for limit in limits if (found := _use(limit))]


def _use(limit: QuotaGroupLimit) -> Condition | None:
    rows = DailyUsage.objects.filter(
        quota=limit.quota_id, day=days.day_of(timezone.now()), user__groups=limit.group_id, user__is_active=True
    )
    used = rows.aggregate(used=Sum(Least("used", limit.daily_limit)))["used"] or 0
    if not used:
        return None
    members = get_user_model()._default_manager.filter(groups=limit.group_id, is_active=True).count()
    percent = 100 * used // ((limit.daily_limit or 0) * members or 1)
    if percent < settings.ALERT_QUOTA_PERCENT:
        return None
    details = {"quota": limit.quota.slug, "group": limit.group.name, "percent": percent, "used": used}
    return Condition(Kind.QUOTA_NEARLY_USED, f"quota {limit.quota_id} group {limit.group_id}", details)


SOURCE = Source((Kind.QUOTA_NEARLY_USED,), nearly_used, 60.0)
