"""Counts of prompts by guests: one row for each guest and each address."""

from datetime import date
from typing import ClassVar

from django.db import connection, models
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _


class GuestUseManager(models.Manager["GuestUse"]):
    def take(self, kind: str, name: str, day: date, most: int) -> bool:
        """Count one use; return False, without counting, when there are `most` already.

        One statement decides, so concurrent uses never go beyond the limit.
        """
        key = _key(kind, name)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO accounts_guestuse (key, day, used) VALUES (%s, %s, 1) ON CONFLICT (key, day)"
                " DO UPDATE SET used = accounts_guestuse.used + 1 WHERE accounts_guestuse.used < %s",
                [key, day, most],
            )
            return bool(cursor.rowcount > 0)

    def most_used(self, places: list[tuple[str, str]], day: date) -> int:
        """Return the most uses of any of these places."""
        keys = [_key(kind, name) for kind, name in places]
        return self.filter(key__in=keys, day=day).aggregate(most=models.Max("used"))["most"] or 0


def _key(kind: str, name: str) -> str:
    return salted_hmac(f"guest {kind}", name, algorithm="sha256").hexdigest()


class GuestUse(models.Model):
    """Prompts of one guest or one address on one day."""

    # A keyed digest, so that no row names a user or an address.
    key = models.CharField(max_length=64)
    day = models.DateField(db_index=True)
    used = models.PositiveIntegerField()

    objects: ClassVar[GuestUseManager] = GuestUseManager()

    class Meta:
        verbose_name = _("use by a guest")
        verbose_name_plural = _("uses by guests")
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["key", "day"], name="guest_use_once_per_day")
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.used}"
