"""Heartbeats of the serving processes."""

from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now


class ProcessQuerySet(models.QuerySet["Process"]):
    def with_liveness(self, lease_seconds: float) -> "models.QuerySet[Any]":
        """Add `alive` (heartbeat within the lease) and `recent` (within half of it).

        The database's clock decides, because the clocks of hosts may differ.
        """
        return self.annotate(alive=_beat_within(lease_seconds), recent=_beat_within(lease_seconds / 2))


def _beat_within(seconds: float) -> "models.ExpressionWrapper[models.Q]":
    return models.ExpressionWrapper(
        models.Q(beat_at__gt=Now() - timedelta(seconds=seconds)), output_field=models.BooleanField()
    )


class Process(models.Model):
    """One serving process.

    It deletes its row when it ends; the row of a killed process grows old.
    """

    id = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(max_length=100, help_text="boot id and pid namespace: where `pid` means something")
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    objects: ClassVar[models.Manager["Process"]] = ProcessQuerySet.as_manager()

    def __str__(self) -> str:
        return self.id
