"""A model field for JSON objects that may hold secrets, and their display.

The object is encrypted as a whole. Staff see the names and `MASK` instead of secret values. A masked value that comes
back keeps the stored one.
"""

import re
from collections.abc import Mapping
from typing import Any, Self

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


class Sealed(dict[str, str]):
    """An empty object in place of values that no key opens.

    It saves what it was read from. It equals no object but itself, so that nothing takes the values for removed ones.
    """

    def __init__(self, ciphertext: str) -> None:
        super().__init__()
        self.ciphertext = ciphertext

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and other.ciphertext == self.ciphertext

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.ciphertext,)

    __hash__ = None


class EncryptedObject(models.TextField):  # type: ignore[type-arg]
    """A JSON object of texts, encrypted in the database.

    It reads as `Sealed` while no key opens it.
    """

    def from_db_value(self, value: str | None, _expression: object, _connection: object) -> dict[str, str]:
        if not value:
            return {}
        text = decrypt(value)
        if text is None:
            log.error("values cannot be decrypted: check KEY_ENCRYPTION_KEYS", field=self.name)
            return Sealed(value)
        found: dict[str, str] = orjson.loads(text)
        return found

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str:
        if isinstance(value, Sealed):
            return value.ciphertext
        return encrypt(orjson.dumps(value).decode()) if value else ""


def unmasked(entered: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Return the entered values, with stored ones where the mask came back.

    Raises ValidationError for a mask of nothing, and for no value. An empty object keeps values that no key opens,
    because staff see these as empty.
    """
    if not entered and isinstance(stored, Sealed):
        return stored
    if blank := [name for name, value in entered.items() if value == ""]:
        raise ValidationError(_("Enter the value of %(name)s."), params={"name": blank[0]})
    unknown = [name for name, value in entered.items() if value == MASK and name not in stored]
    if unknown:
        raise ValidationError(_("Enter the value of %(name)s again: none is stored."), params={"name": unknown[0]})
    return {name: stored[name] if value == MASK else value for name, value in entered.items()}


def hidden(values: Mapping[str, str]) -> dict[str, str]:
    """Return headers as staff see them: any value may be a secret."""
    return {name: value and MASK for name, value in values.items()}


def shown_query(values: Mapping[str, str]) -> dict[str, str]:
    """Return a query as staff see it, without secrets, which their names tell."""
    return {name: MASK if value and _SECRET_NAME.search(name) else value for name, value in values.items()}
