"""The columns for deadlines, which upstreams, models and routes have in common."""

from collections.abc import Mapping

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

# Seconds of the shortest and the longest deadline.
MIN_SECONDS, MAX_SECONDS = 0.1, 86_400.0


def seconds_field(name: StrOrPromise) -> "models.FloatField[float | None, float | None]":
    """Return a column for a deadline; null: the next wider setting holds."""
    return models.FloatField(
        name, null=True, blank=True, validators=[MinValueValidator(MIN_SECONDS), MaxValueValidator(MAX_SECONDS)]
    )


class Deadlines(models.Model):
    """Deadlines in seconds; null: that of the upstream or the environment holds."""

    first_seconds = seconds_field(_("seconds to the first event"))
    idle_seconds = seconds_field(_("seconds between events"))
    total_seconds = seconds_field(_("seconds in all"))

    class Meta:
        abstract = True

    @property
    def deadlines(self) -> Mapping[str, float | None]:
        """The deadlines under their names in the API; a setter clears those not named."""
        names = (field.name for field in self._meta.concrete_fields if field.name.endswith("_seconds"))
        return {name.removesuffix("_seconds"): getattr(self, name) for name in names}

    @deadlines.setter
    def deadlines(self, given: Mapping[str, float | None]) -> None:
        for name in self.deadlines:
            setattr(self, f"{name}_seconds", given.get(name))

    def overrides(self) -> dict[str, float]:
        """Return the deadlines that are set."""
        return {name: seconds for name, seconds in self.deadlines.items() if seconds is not None}
