"""The table of responses that are kept for retries of calls of `/v1`."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone


class KeptResponse(models.Model):
    """The response to a call of `/v1` with an idempotency key, kept for the retry."""

    # Without constraints, because a process of the previous release deletes users without these rows.
    generation = models.OneToOneField(
        "chat.Generation", models.CASCADE, primary_key=True, related_name="+", db_constraint=False
    )
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_constraint=False)
    # The bytes of the body, or of the whole stream; empty where the response is a refusal.
    body = models.BinaryField()
    size = models.PositiveIntegerField()
    # The data of the `error` event of a call that failed.
    failure: "models.JSONField[dict[str, Any] | None, dict[str, Any] | None]" = models.JSONField(null=True)
    kept_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name = "kept response"
        verbose_name_plural = "kept responses"

    def __str__(self) -> str:
        return f"{self.generation_id}: {self.size}"
