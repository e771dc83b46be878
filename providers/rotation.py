"""Encrypt all stored secrets with the first of KEY_ENCRYPTION_KEYS, row by row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet, TextField
from django.db.models.functions import Cast

from providers.encryption import reencrypted
from providers.fields import Sealed
from providers.models import ApiKey, Upstream

# The first characters of everything that Fernet encrypts.
FERNET_PREFIX = "gAAAAA"


@dataclass
class Rotation:
    """One pass, and its counts of secrets."""

    changed: int = 0
    unchanged: int = 0
    # Rows with a secret that no key opens.
    closed: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Re-encrypt the secrets of upstreams and keys."""
        self.texts(ApiKey.objects.all(), "ciphertext")
        self.texts(Upstream.objects.all(), "proxy_ciphertext")
        # Saved as ciphertext, because the field would encrypt a plain value.
        self.texts(Upstream.objects.all(), "headers", Sealed)
        self.texts(Upstream.objects.all(), "query", Sealed)
        self.objects(Upstream.objects.all(), "environment")

    def texts(self, rows: QuerySet[Any], column: str, stored: Callable[[str], Any] = str) -> None:
        """Re-encrypt a column whose texts are secrets."""
        raw = rows.annotate(raw_secret=Cast(column, TextField()))
        self._each(raw, column, lambda row: row.raw_secret, stored)

    def objects(self, rows: QuerySet[Any], column: str) -> None:
        """Re-encrypt the secrets in a column of JSON."""
        self._each(rows, column, lambda row: getattr(row, column), lambda value: value)

    def _each(self, rows: QuerySet[Any], column: str, read: Callable[[Any], Any], stored: Callable[[Any], Any]) -> None:
        for pk in list(rows.order_by("pk").values_list("pk", flat=True)):
            with transaction.atomic():
                # Locked, so that a secret which is entered at this moment is not overwritten.
                row = rows.select_for_update().filter(pk=pk).first()
                if row is None:
                    continue
                old = read(row)
                new = self._rotated(old, f"{row._meta.verbose_name} {pk}, {column}")
                if new != old:
                    _model(rows)._default_manager.filter(pk=pk).update(**{column: stored(new)})

    def _rotated(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return {name: self._rotated(part, place) for name, part in value.items()}
        if isinstance(value, list):
            return [self._rotated(part, place) for part in value]
        if not isinstance(value, str) or not value.startswith(FERNET_PREFIX):
            return value
        new = reencrypted(value)
        if new is None:
            self.closed.append(place)
            return value
        if new == value:
            self.unchanged += 1
        else:
            self.changed += 1
        return new


def _model(rows: QuerySet[Any]) -> type[Model]:
    model: type[Model] = rows.model
    return model
