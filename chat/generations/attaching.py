"""Add attachments, new and of earlier turns, to what a generation starts with."""

from dataclasses import replace

from django.utils.translation import gettext_lazy as _

from chat.attachments import prompts
from chat.attachments.prompts import Attached
from providers.errors import Unsupported
from providers.requests import able
from providers.snapshot import ModelConfig
from providers.wire.base import IMAGES
from web.refusals import InvalidRequest


def fitted(config: ModelConfig, attached: Attached, question_id: int | None) -> ModelConfig:
    """Return the model with only the routes that take the images.

    Images of the prompt itself must be taken; those of earlier turns are named where no route takes them, so that a
    conversation can go on with any model.
    """
    if not attached.has_images:
        return config
    try:
        return able(config, [IMAGES])
    except Unsupported as error:
        if prompts.has_images(attached.new) or prompts.has_images(attached.of(question_id)):
            details = {prompts.FIELD: [_("This model does not take images.")]}
            raise InvalidRequest(details=details) from error
        return config


def takes_images(config: ModelConfig) -> bool:
    """Return whether all routes of a model that was `fitted` take images."""
    return all(IMAGES in config.taken_by(route) for route in config.routes)


def including(attached: Attached, question_id: int) -> Attached:
    """Return the attachments after the new prompt's message was stored."""
    if not attached.new:
        return attached
    prompts.link(question_id, attached.new)
    return replace(attached, earlier={**attached.earlier, question_id: attached.new})
