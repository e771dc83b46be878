"""Signs of life of the serving processes."""

from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now


class ProcessQuerySet(models.QuerySet["Process"]):
    def with_beats(self, lease_seconds: float) -> "models.QuerySet[Any]":
        """Add `beats`, heard of within the lease, and `steady`, within half of it: by the database's clock, for hosts'
        clocks may differ.
        """
        return self.annotate(beats=_heard_within(lease_seconds), steady=_heard_within(lease_seconds / 2))


def _heard_within(seconds: float) -> "models.ExpressionWrapper[models.Q]":
    return models.ExpressionWrapper(
        models.Q(beat_at__gt=Now() - timedelta(seconds=seconds)), output_field=models.BooleanField()
    )


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
