"""Fields of staff routes that upstreams, models and routes have in common."""

from typing import Any

from rest_framework import serializers

from providers import fields
from providers.deadlines import MAX_SECONDS, MIN_SECONDS
from web.bodies import StrictSerializer


class Seconds(serializers.FloatField):
    """A deadline in seconds; null leaves it to the next wider setting."""

    def __init__(self) -> None:
        super().__init__(min_value=MIN_SECONDS, max_value=MAX_SECONDS, allow_null=True, required=False)

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class DeadlinesRow(StrictSerializer):
    """The deadlines of a model or a route; an object replaces all stored ones."""

    first, idle, total = Seconds(), Seconds(), Seconds()


class UpstreamDeadlinesRow(DeadlinesRow):
    """The deadlines of an upstream; `connect` is there only when it is set."""

    connect = Seconds()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        return {name: value for name, value in shown.items() if name != "connect" or value is not None}


class Headers(serializers.DictField):
    """Headers, whose values are not shown."""

    child = serializers.CharField(trim_whitespace=False, allow_blank=True)

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        return fields.hidden(value)


class Query(Headers):
    """Query parameters, of which secrets are not shown."""

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        return fields.shown_query(value)


class Names(serializers.ListField):
    """A list of names."""

    child = serializers.CharField(max_length=64)
