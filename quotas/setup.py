"""The quotas of a first run, and a quota for models that have none."""

from django.conf import settings
from django.db import transaction
from django.utils import translation

from providers.models import ChatModel
from quotas.models import FIRST_RUN_TITLES, Quota, QuotaModel


def ensure_defaults() -> None:
    """Make the default quotas on the first run, and assign models without a quota.

    A first run finds no quota at all, so a default quota that an admin deleted or renamed stays so. Its models go to
    the other default; without either, they wait for an admin. To take a model out of use, disable it: without a quota
    it gets one again here. Safe to repeat, also by several processes at once.
    """
    with transaction.atomic():
        if not Quota.objects.exists():
            first_run = settings.ENV
            with translation.override(settings.LANGUAGE_CODE):
                titles = {slug: str(title) for slug, title in FIRST_RUN_TITLES.items()}
            standard = Quota(
                slug="standard",
                title=titles["standard"],
                daily_limit=first_run.DAILY_LIMIT_STANDARD,
                inviter_credits=first_run.INVITER_CREDITS,
                invitee_credits=first_run.INVITEE_CREDITS,
            )
            premium = Quota(slug="premium", title=titles["premium"], daily_limit=first_run.DAILY_LIMIT_PREMIUM)
            # A process that starts at the same moment makes the same rows, which are then ignored.
            Quota.objects.bulk_create([standard, premium], ignore_conflicts=True)
        assign_models()


def assign_models() -> None:
    """Give each model without a quota a default one: `premium` for gpt-4, else `standard`."""
    defaults = {quota.slug: quota for quota in Quota.objects.filter(slug__in=["standard", "premium"])}
    standard = defaults.get("standard") or defaults.get("premium")
    if standard is None:
        return
    premium = defaults.get("premium") or standard
    links = [
        QuotaModel(model=model, quota=premium if model.slug.startswith("gpt-4") else standard)
        for model in ChatModel.objects.filter(quota_link=None).order_by("id")
    ]
    QuotaModel.objects.bulk_create(links, ignore_conflicts=True)
