"""Signs of life of the serving processes."""

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class ProcessQuerySet(models.QuerySet["Process"]):
    def beating(self, lease_seconds: float) -> "ProcessQuerySet":
        """Processes heard of within the lease, by the database's clock: hosts' clocks may differ."""
        return self.filter(beat_at__gt=Now() - timedelta(seconds=lease_seconds))


class Process(models.Model):
    """One serving process. Its row goes when it ends; a row that stays behind grows stale."""

    id = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(max_length=100, help_text="boot id and pid namespace: where `pid` means something")
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["Process"]] = ProcessQuerySet.as_manager()

    def __str__(self) -> str:
        return self.id
