"""`manage.py grant_credits <quota> <amount>`: give credits to users, or take them back."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.db.models import QuerySet

from quotas import ledger
from quotas.models import LedgerEntry, Quota
from web.refusals import InvalidRequest

REASON_CHARS = LedgerEntry._meta.get_field("reason").max_length or 0


class Command(BaseCommand):
    help = "Give credits to users, or take them back with a negative amount: to all of them or, on a mistake, to none."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("quota", help="slug of the quota, such as standard")
        parser.add_argument("amount", type=int, help="credits for each user; negative ones are taken back")
        parser.add_argument("--reason", required=True, help="users can read it")
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--user", action="append", metavar="USERNAME", help="a user; may be repeated")
        chosen.add_argument("--group", help="all active members of a group")
        chosen.add_argument("--all", action="store_true", help="all active users")

    def handle(self, *args: object, quota: str, amount: int, reason: str, **options: Any) -> None:
        row = Quota.objects.filter(slug=quota).first()
        if row is None:
            raise CommandError(f"There is no quota {quota}.")
        if not 0 < len(reason) <= REASON_CHARS:
            raise CommandError(f"The reason has 1 to {REASON_CHARS} characters.")
        ids = list(_chosen(**options).order_by("pk").values_list("pk", "username"))
        if not ids:
            raise CommandError("These are no users.")
        with transaction.atomic():
            for pk, username in ids:
                try:
                    ledger.grant(pk, row.pk, amount, reason)
                except InvalidRequest as error:
                    raise CommandError(
                        f"The balance of {username} does not allow {amount:+d}. No balance was changed."
                    ) from error
        self.stdout.write(f"{amount:+d} credits of {quota} for {len(ids)} users")


def _chosen(*, user: list[str] | None, group: str | None, **_others: object) -> "QuerySet[Any]":
    """Return the users that the options name; raise CommandError for unknown ones."""
    users = get_user_model()._default_manager.all()
    if user:
        found = users.filter(username__in=user)
        if unknown := set(user) - set(found.values_list("username", flat=True)):
            raise CommandError(f"There is no user {', '.join(sorted(unknown))}.")
        return found
    if group is not None:
        if not Group.objects.filter(name=group).exists():
            raise CommandError(f"There is no group {group}.")
        users = users.filter(groups__name=group)
    return users.filter(is_active=True)
