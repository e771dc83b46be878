"""Request bodies of REST views: every field is declared, and one that is not is refused by name."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request


class StrictSerializer(serializers.Serializer[Any]):
    """A request body whose unknown fields are refused by name, beside whatever else is wrong."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = [name for name in data if name not in self.fields] if isinstance(data, Mapping) else []
        problems: dict[str, Any] = {str(name): [_("There is no such field.")] for name in unknown}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not unknown:
                raise
            problems |= dict(error.detail)  # type: ignore[arg-type]
        if problems:
            raise serializers.ValidationError(problems)
        return value

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
