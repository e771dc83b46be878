"""REST for presets, and for the instructions that a user gives for all conversations."""

from typing import Annotated, Any, cast

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_lazy as _
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from typing_extensions import TypedDict

from accounts.models import INSTRUCTIONS_CHARS, User, queue_writes
from chat import storage
from chat.bodies import Parameters, Slug, Text, checked, wrong
from chat.conversations.api import screened
from chat.errors import Conflict, PromptTooLong, StorageFull
from chat.models import Preset
from chat.presets.models import MOST_PRESETS, TITLE_CHARS
from providers import access
from providers.apps import providers_app
from web.openapi import Operation
from web.refusals import Forbidden, NotFound

# Staff with it may share their presets, and change or delete those that others share.
MAY_SHARE = "chat.change_preset"


class PresetShape(TypedDict):
    id: int
    title: str
    model: str | None
    system_prompt: str
    parameters: dict[str, Any]
    shared: bool


class InstructionsShape(TypedDict):
    instructions: str


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("blank")
    return value.strip()


class PresetChange(BaseModel):
    """The fields of a preset, all of them optional."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    title: Annotated[Text, Field(min_length=1, max_length=TITLE_CHARS), AfterValidator(_not_blank)] = ""
    model: Slug | None = None
    system_prompt: Text = ""
    parameters: Parameters = Parameters()
    shared: StrictBool = False

    def values(self) -> dict[str, Any]:
        """Return the fields that were given, as the table has them."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        if "parameters" in values:
            values["parameters"] = self.parameters.given()
        if "model" in values:
            values["model"] = self.model or ""
        return values


class NewPreset(PresetChange):
    """A preset to be made."""

    title: Annotated[Text, Field(min_length=1, max_length=TITLE_CHARS), AfterValidator(_not_blank)]


class InstructionsBody(BaseModel):
    """The instructions for all conversations of a user."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    instructions: Annotated[Text, Field(max_length=INSTRUCTIONS_CHARS)]


_EXAMPLE = {"title": "Translator", "model": "demo", "system_prompt": "Translate into English.", "parameters": {}}


def _user(request: Request) -> User:
    return cast("User", request.user)


class Presets(APIView):
    @Operation("Presets", "The presets that the caller may use", returns=list[PresetShape])
    def get(self, request: Request) -> Response:
        rows = Preset.objects.usable_by(_user(request).pk).order_by("title", "id")
        return Response([_shape(row) for row in rows])

    @Operation(
        "Presets",
        "Make a preset",
        body=NewPreset,
        example=_EXAMPLE,
        returns={201: PresetShape},
        refuses=(409, 413, 422),
    )
    def post(self, request: Request) -> Response:
        user = _user(request)
        values = _checked(user, checked(NewPreset, _json(request)))
        with transaction.atomic():
            queue_writes(user.pk)
            if Preset.objects.owned_by(user.pk).count() >= MOST_PRESETS:
                raise Conflict(_("You have 100 presets, and more are not possible. Please delete one first."))
            row = Preset(user=user, **values)
            if not storage.has_room(user.pk, row.size):
                raise StorageFull
            row.save()
        return Response(_shape(row), status=201)


class OnePreset(APIView):
    @Operation(
        "Presets",
        "Change a preset",
        body=PresetChange,
        example={"title": "Translator"},
        returns=PresetShape,
        refuses=(413, 422),
    )
    def patch(self, request: Request, preset_id: int) -> Response:
        user = _user(request)
        body = checked(PresetChange, _json(request))
        owner_id = _changeable(user, preset_id).user_id
        values = _checked(user, body)
        with transaction.atomic():
            storage.lock(owner_id)  # before the row is read, so that no other change is undone
            row = _changeable(user, preset_id)
            if row.shared and values.get("audience") != Preset.Audience.OWNER and not may_share(user):
                raise Forbidden(_("Only staff may share presets."))
            before = row.size
            if row.shared and values.get("audience") == Preset.Audience.EVERYBODY:
                del values["audience"]  # one that is shared with groups stays so
            for name, value in values.items():
                setattr(row, name, value)
            if row.size > before and not storage.has_room(row.user_id, row.size - before):
                raise StorageFull
            row.save(update_fields=list(values))
        return Response(_shape(row))

    @Operation("Presets", "Delete a preset", returns={204: None})
    def delete(self, request: Request, preset_id: int) -> Response:
        _changeable(_user(request), preset_id).delete()
        return Response(status=204)


class Instructions(APIView):
    @Operation("Presets", "The instructions for all conversations of the caller", returns=InstructionsShape)
    def get(self, request: Request) -> Response:
        return Response(InstructionsShape(instructions=_user(request).instructions))

    @Operation(
        "Presets",
        "Change the instructions for all conversations",
        body=InstructionsBody,
        example={"instructions": "Write short sentences."},
        returns=InstructionsShape,
        refuses=(422,),
    )
    def patch(self, request: Request) -> Response:
        user = _user(request)
        given = checked(InstructionsBody, _json(request)).instructions.strip()
        # Masking never makes a text longer.
        user.instructions = screened(user.pk, {"instructions": given})["instructions"]
        user.save(update_fields=["instructions"])
        return Response(InstructionsShape(instructions=user.instructions))


def _json(request: Request) -> dict[str, Any]:
    if not isinstance(request.data, dict):
        raise wrong("body")
    return request.data


def _shape(row: Preset) -> PresetShape:
    return {
        "id": row.pk,
        "title": row.title,
        "model": row.model or None,
        "system_prompt": row.system_prompt,
        "parameters": row.parameters,
        "shared": row.shared,
    }


def may_share(user: User) -> bool:
    """Return whether a user may share presets with others."""
    return user.is_staff and user.has_perm(MAY_SHARE)


def _changeable(user: User, preset_id: int) -> Preset:
    """Return a preset that the user may change.

    Staff may change shared ones too.
    """
    rows = Preset.objects.owned_by(user.pk)
    if may_share(user):
        rows |= Preset.objects.exclude(audience=Preset.Audience.OWNER)
    row = rows.filter(pk=preset_id).first()
    if row is None:
        raise NotFound
    return row


def _checked(user: User, body: PresetChange) -> dict[str, Any]:
    """Return the table's values for a body, with screened texts.

    Refuses what the user may not set.
    """
    values = body.values()
    if len(values.get("system_prompt", "")) > settings.MAX_PROMPT_CHARS:
        raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
    if slug := values.get("model"):
        config = providers_app().configuration.models().get(slug)
        if config is None or not access.may_use(user.pk, config):
            raise wrong("model", _("There is no such model."))
    if values.pop("shared", None) is not None:
        values.update(_audience(user, shared=body.shared))
    return values | screened(user.pk, {name: values[name] for name in ("title", "system_prompt") if name in values})


def _audience(user: User, *, shared: bool) -> dict[str, Any]:
    if shared and not may_share(user):
        raise Forbidden(_("Only staff may share presets."))
    return {"audience": Preset.Audience.EVERYBODY if shared else Preset.Audience.OWNER}
