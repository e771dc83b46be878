"""Request bodies of REST views: every field is declared and of its JSON type; one that is not is refused by name."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db.models import Model
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request

# DRF reads forms too, where all is text, and so takes "yes" for true and 5 for "5". In JSON that is a mistake.
_TYPES: tuple[tuple[type[serializers.Field[Any, Any, Any, Any]], type], ...] = (
    (serializers.CharField, str),
    (serializers.BooleanField, bool),
    (serializers.IntegerField, int),
)


Row = TypeVar("Row", bound=Model)


class NamedRow(serializers.SlugRelatedField[Row]):
    """A row by its name. A name is text: whatever else JSON has is refused, and so is what no database looks for."""

    def to_internal_value(self, data: Any) -> Row:
        if not isinstance(data, str) or "\0" in data:
            self.fail("invalid")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """A time that can be kept and said again: of this century, as clocks went by seconds in zones of long ago."""

    def enforce_timezone(self, value: datetime) -> datetime:
        try:
            moment = super().enforce_timezone(value)
            early = moment.astimezone(UTC).year < 2000
        except OverflowError:
            early = True
        if early:
            self.fail("overflow")
        return moment


class StrictSerializer(serializers.Serializer[Any]):
    """A request body whose unknown fields, and fields of another type, are refused beside whatever else is wrong."""

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
        """Return what DRF would let pass."""
        unknown = {str(name): [_("There is no such field.")] for name in data if name not in self.fields}
        wanted = [(name, field) for name, field in self.fields.items() if name in data and not field.read_only]
        return unknown | {
            name: [field.error_messages["invalid"]] for name, field in wanted if _mistyped(field, data[name])
        }

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """Return the checked body; raise ValidationError naming each field that is wrong."""
        try:
            serializer = cls(data=request.data)
        except RecursionError as error:  # nested so deeply that Python's parser gives up
            raise ParseError from error
        serializer.is_valid(raise_exception=True)
        body: dict[str, Any] = serializer.validated_data
        return body


def _mistyped(field: serializers.Field[Any, Any, Any, Any], given: Any) -> bool:
    # A boolean is an int in Python, not in JSON; null is the field's own matter.
    wanted = next((kind for family, kind in _TYPES if isinstance(field, family)), None)
    return wanted is not None and given is not None and type(given) is not wanted
