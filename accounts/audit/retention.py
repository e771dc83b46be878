"""Deletes entries of the audit that are older than AUDIT_RETENTION_DAYS."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.audit.models import AuditEntry

# Rows that are deleted in one transaction.
SLICE = 1_000


def delete_old() -> None:
    """Delete a slice of what is too old. Repeating is safe, in several processes too."""
    before = timezone.now() - timedelta(days=settings.AUDIT_RETENTION_DAYS)
    old = AuditEntry.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:SLICE]
    AuditEntry.objects.filter(pk__in=list(old)).delete()
