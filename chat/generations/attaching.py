"""Add attachments, new and of earlier turns, to what a generation starts with."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext_lazy as _

from chat.attachments import prompts
from chat.attachments.models import Attachment
from chat.attachments.prompts import Attached
from chat.errors import PromptTooLong
from chat.generations import prompt
from providers.errors import Unsupported
from providers.requests import able
from providers.snapshot import ModelConfig
from providers.wire.base import IMAGES, estimate_tokens
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


def check_context(
    config: ModelConfig, parameters: Mapping[str, Any], attached: Attached, question: tuple[int | None, str]
) -> None:
    """Raise PromptTooLong when a prompt's texts exceed the model's context; it reads no content.

    `question` is the id, if it is stored, and the text. Images do not count here, because their estimate is too rough
    to refuse them.
    """
    question_id, text = question
    rows = [row for row in (*attached.new, *attached.of(question_id)) if row.kind == Attachment.Kind.TEXT]
    left = config.context_tokens - prompt.room(config.context_tokens, {**config.parameters, **parameters})
    if rows and sum(row.tokens for row in rows) + estimate_tokens(text) > left:
        too_long = _("The prompt is too long for this model.")
        raise PromptTooLong(too_long, details={prompts.FIELD: [too_long]})


def takes_images(config: ModelConfig) -> bool:
    """Return whether all routes of a model that was `fitted` take images."""
    return all(IMAGES in config.taken_by(route) for route in config.routes)


def including(attached: Attached, question_id: int) -> Attached:
    """Return the attachments after the new prompt's message was stored."""
    if not attached.new:
        return attached
    prompts.link(question_id, attached.new)
    return replace(attached, earlier={**attached.earlier, question_id: attached.new})
