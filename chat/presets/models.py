"""The table of presets: a model, a system prompt and parameters under one title."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import storage
from chat.bodies import Parameters, checked
from chat.storage import ROW_BYTES, Bytes, CountedRows
from web.refusals import InvalidRequest

# Characters of a title at most.
TITLE_CHARS = 100
# Presets of one user at most.
MOST_PRESETS = 100


class PresetQuerySet(CountedRows["Preset"]):
    def usable_by(self, user_id: int) -> "PresetQuerySet":
        """Return a user's own presets, and those shared with the user; all use starts here."""
        member = Group.objects.filter(user=user_id, presets=OuterRef("pk"))
        audiences = Preset.Audience
        shared = Q(audience=audiences.EVERYBODY) | (Q(audience=audiences.GROUPS) & Exists(member))
        return self.filter(Q(user_id=user_id) | shared)

    def stored_bytes(self) -> int:
        """Return what these presets count in `StorageUse`."""
        return self.aggregate(bytes=Sum(Bytes("title") + Bytes("system_prompt") + ROW_BYTES))["bytes"] or 0


class Preset(models.Model):
    """A model, a system prompt and parameters that a conversation can begin with.

    A preset for groups without a group is for its owner alone, so that the deletion of a group opens nothing.
    """

    class Audience(models.TextChoices):
        OWNER = "owner", _("the owner")
        GROUPS = "groups", _("the groups below")
        EVERYBODY = "everybody", _("all users")

    # Without constraints, because a process of the previous release deletes users and groups without these rows.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="presets", db_constraint=False, verbose_name=_("user")
    )
    title = models.CharField(_("title"), max_length=TITLE_CHARS)
    # A slug and no reference: a model that is gone for a while leaves the preset as it is.
    model = models.CharField(_("model"), max_length=100, blank=True)
    system_prompt = models.TextField(_("system prompt"), blank=True)
    parameters: "models.JSONField[dict[str, Any], dict[str, Any]]" = models.JSONField(
        _("parameters"), default=dict, blank=True, help_text='{"temperature": 0.5, "max_tokens": 1000, …}'
    )
    audience = models.CharField(_("who may use it"), max_length=10, choices=Audience.choices, default=Audience.OWNER)
    groups: "models.ManyToManyField[Group, Any]" = models.ManyToManyField(
        Group, blank=True, related_name="presets", db_constraint=False, verbose_name=_("groups")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    objects: ClassVar[PresetQuerySet] = PresetQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("preset")
        verbose_name_plural = _("presets")

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the preset, and count its bytes for its user."""
        with transaction.atomic():
            storage.lock(self.user_id)
            before = Preset.objects.filter(pk=self.pk).stored_bytes() if self.pk else 0
            super().save(*args, **kwargs)
            storage.add(self.user_id, "conversations", self.size - before)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the preset, and give its bytes back to its user."""
        with transaction.atomic():
            Preset.objects.filter(pk=self.pk).prepare_deletion()
            return super().delete(*args, **kwargs)

    @property
    def shared(self) -> bool:
        return self.audience != self.Audience.OWNER

    @property
    def size(self) -> int:
        """The bytes that it counts in `StorageUse`."""
        return storage.size_of(self.title, self.system_prompt) + ROW_BYTES

    def clean(self) -> None:
        """Refuse parameters that a prompt could not have."""
        try:
            self.parameters = checked(Parameters, self.parameters or {}).given()
        except InvalidRequest as error:
            raise ValidationError({"parameters": f"{', '.join(error.details or ())}: {error}"}) from error
