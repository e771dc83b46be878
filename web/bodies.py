"""Strict JSON bodies of REST views; unknown fields and wrong types are refused by name."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import IO, Any, TypeVar

import orjson
from django.db.models import Model
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

# JSON types that fields accept. DRF itself also accepts "yes" for true and 5 for "5", because forms have only text.
_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], type], ...] = (
    (serializers.CharField, str),
    (serializers.BooleanField, bool),
    (serializers.IntegerField, int),
)

Row = TypeVar("Row", bound=Model)


class JSONParser(BaseParser):
    """Parse with orjson, because Python's parser accepts NaN, lone surrogates and endless nesting."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return orjson.loads(stream.read() or b"{}")
        except orjson.JSONDecodeError as error:
            raise ParseError from error


class NamedRow(serializers.SlugRelatedField[Row]):
    """A reference to a row by its name; a name must be text without NUL."""

    def to_internal_value(self, data: Any) -> Row:
        if not isinstance(data, str) or "\0" in data:
            self.fail("invalid")
        return super().to_internal_value(data)


class DateTimeField(serializers.DateTimeField):
    """A datetime that survives a JSON round trip.

    Years before 2000 are refused, because historical UTC offsets contain seconds.
    """

    def enforce_timezone(self, value: datetime) -> datetime:
        with suppress(OverflowError):
            aware = super().enforce_timezone(value)
            if aware.astimezone(UTC).year >= 2000:
                return aware
        return self.fail("overflow")


class StrictSerializer(serializers.Serializer[Any]):
    """A request body; refuse unknown fields and wrong types together with DRF's own errors."""

    def to_internal_value(self, data: Any) -> Any:
        problems = self._problems(data) if isinstance(data, Mapping) else {}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not problems:
                raise
            problems = dict(error.detail) | problems  # type: ignore[arg-type]
        if problems:
            raise serializers.ValidationError(problems)
        return value

    def _problems(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the errors that DRF would not report."""
        unknown = {str(name): [_("There is no such field.")] for name in data if name not in self.fields}
        wanted = [(name, field) for name, field in self.fields.items() if name in data and not field.read_only]
        return unknown | {
            name: [field.error_messages["invalid"]] for name, field in wanted if _has_wrong_type(field, data[name])
        }

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """Return the valid body; raise ValidationError that names each wrong field."""
        try:
            serializer = cls(data=request.data)
        except RecursionError as error:  # nested too deeply for Python's parser
            raise ParseError from error
        serializer.is_valid(raise_exception=True)
        body: dict[str, Any] = serializer.validated_data
        return body


def _has_wrong_type(field: serializers.Field[Any, Any, Any, Any], value: Any) -> bool:
    # `type(...) is`, because a boolean is an int in Python but not in JSON. The field itself decides about null.
    wanted = next((kind for family, kind in _TYPES if isinstance(field, family)), None)
    return wanted is not None and value is not None and type(value) is not wanted
