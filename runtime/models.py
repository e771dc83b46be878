"""Heartbeats of the serving processes."""

from django.db import models
from django.db.models.functions import Now


class Process(models.Model):
    """One serving process. It deletes its row when it ends; a killed process cannot."""

    id = models.CharField(max_length=32, primary_key=True)
    host = models.CharField(max_length=100, help_text="boot id and pid namespace: where `pid` means something")
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    beat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.id
