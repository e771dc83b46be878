"""What is thrown away in time: finished logs, old idempotency keys, rows of processes long gone. Timers call it."""

from django.utils import timezone

from chat import generation
from chat.models import KEY_LIFETIME, Generation
from chat.screening import record
from runtime import database, process


async def bound_logs() -> None:
    """Drop logs that nobody will replay any more."""
    generation.logs.bound()


async def expire() -> None:
    """Forget idempotency keys that are a day old, old hits of sensitive words, and processes that are long gone."""
    await database.run(_expire)


def _expire() -> None:
    Generation.objects.filter(idempotency_key__isnull=False, created_at__lt=timezone.now() - KEY_LIFETIME).update(
        idempotency_key=None
    )
    record.expire()
    process.forget_dead()
