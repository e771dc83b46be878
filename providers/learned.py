"""Lessons: parts of our configuration that an upstream refuses for one model.

Because another upstream may take what this one refuses, nothing of it is kept with the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, cast

from django.db import transaction

from providers.models import Route
from providers.wire.base import JSON, TokenCapField


@dataclass(frozen=True, slots=True)
class Learned:
    """The form of requests that an upstream asked for.

    `token_cap_field` and `include_usage` replace those of the model; None: nothing was learned. `refused` holds
    configured parameters with the values that were refused. Another value is tried again. `most_tokens` is the model's
    largest token cap, `refused_thinking` lists types of `thinking` that it does not know.
    """

    token_cap_field: TokenCapField | None = None
    include_usage: bool | None = None
    refused: Mapping[str, JSON] = field(default_factory=dict)
    most_tokens: int | None = None
    refused_thinking: frozenset[str] = frozenset()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `Route.learned` holds."""
        cap = stored.get("token_cap_field")
        return cls(
            cast("TokenCapField | None", cap),
            stored.get("include_usage"),
            stored.get("refused", {}),
            stored.get("most_tokens"),
            frozenset(stored.get("refused_thinking", ())),
        )

    def with_lesson(self, lesson: Mapping[str, JSON]) -> Self:
        """Return this with the `learned` of a `Retry`."""
        return self.of(merged(self.stored(), lesson))

    def stored(self) -> dict[str, Any]:
        """Return what `Route.learned` holds."""
        values = {
            "token_cap_field": self.token_cap_field,
            "include_usage": self.include_usage,
            "refused": dict(self.refused) or None,
            "most_tokens": self.most_tokens,
            "refused_thinking": sorted(self.refused_thinking) or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    def accepted(self, parameters: Mapping[str, JSON]) -> dict[str, JSON]:
        """Return the parameters without those that the upstream refused with this value."""
        missing = object()
        return {name: value for name, value in parameters.items() if self.refused.get(name, missing) != value}


NOTHING_LEARNED = Learned()
# Lessons about the model itself, which no field of a caller can be the reason for.
ABOUT_THE_MODEL = frozenset({"token_cap_field", "most_tokens", "refused_thinking"})


def merged(stored: Mapping[str, Any], lesson: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored lesson with a further one."""
    together = {**stored, **lesson}
    if refused := {**stored.get("refused", {}), **lesson.get("refused", {})}:
        together["refused"] = refused
    if kinds := {*stored.get("refused_thinking", ()), *lesson.get("refused_thinking", ())}:
        together["refused_thinking"] = sorted(kinds)
    return together


def store_lesson(route_id: int, lesson: Mapping[str, JSON]) -> None:
    """Add a lesson to a route's row, in a transaction of its own."""
    with transaction.atomic():
        for row in Route.objects.select_for_update().filter(pk=route_id):
            Route.objects.filter(pk=route_id).update(learned=merged(row.learned, lesson))
