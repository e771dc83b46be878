"""A model field for JSON objects that may hold secrets, and their display.

The object is encrypted as a whole. Staff see the names and `MASK` instead of secret values. A masked value that comes
back keeps the stored one.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from providers.encryption import decrypt, encrypt

log = structlog.get_logger("providers")

# Stands for a stored value that is not shown.
MASK = "********"
# Names of query parameters whose values are secrets.
_SECRET_NAME = re.compile(r"key|token|secret|auth|sig|pass|cred|code$", re.IGNORECASE)


class EncryptedObject(models.TextField):  # type: ignore[type-arg]
    """A JSON object of texts, encrypted in the database; empty while no key opens it."""

    def from_db_value(self, value: str | None, _expression: object, _connection: object) -> dict[str, str]:
        if not value:
            return {}
        text = decrypt(value)
        if text is None:
            log.error("values cannot be decrypted: check KEY_ENCRYPTION_KEYS", field=self.name)
            return {}
        found: dict[str, str] = orjson.loads(text)
        return found

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str:
        return encrypt(orjson.dumps(value).decode()) if value else ""


def unmasked(entered: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Return the entered values, with stored ones where the mask came back.

    Raises ValidationError for a mask of nothing.
    """
    unknown = [name for name, value in entered.items() if value == MASK and name not in stored]
    if unknown:
        raise ValidationError(_("Enter the value of %(name)s again: none is stored."), params={"name": unknown[0]})
    return {name: stored[name] if value == MASK else value for name, value in entered.items()}


def hidden(values: Mapping[str, str]) -> dict[str, str]:
    """Return headers as staff see them: any value may be a secret."""
    return dict.fromkeys(values, MASK)


def shown_query(values: Mapping[str, str]) -> dict[str, str]:
    """Return a query as staff see it, without secrets, which their names tell."""
    return {name: MASK if _SECRET_NAME.search(name) else value for name, value in values.items()}
