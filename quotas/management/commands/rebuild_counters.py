"""`manage.py rebuild_counters`: all counters in Redis anew, from the ledger."""

import asyncio

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from quotas import hints, ledger
from runtime import database
from runtime.apps import runtime

PEOPLE_AT_ONCE = 200


class Command(BaseCommand):
    help = "Throw away all quota counters in Redis and build them from the ledger. Safe to repeat, and while serving."

    def handle(self, *args: object, **options: object) -> None:
        if not settings.REDIS_URL:
            self.stdout.write("There is no REDIS_URL, so there are no counters.")
            return
        cleared, people = asyncio.run(_rebuild())
        self.stdout.write(f"{cleared} counters thrown away, those of {people} people built.")


async def _rebuild() -> tuple[int, int]:
    try:
        cleared = await hints.clear()
        people = await database.run(ledger.counted_today) if cleared is not None else []
        for first in range(0, len(people), PEOPLE_AT_ONCE):
            await database.run(ledger.count_anew, people[first : first + PEOPLE_AT_ONCE])
            await hints.flush()
    finally:
        await runtime().redis.aclose()
        database.close()
    if cleared is None or hints.untold():
        raise CommandError("REDIS_URL: Redis does not answer")
    return cleared, len(people)
