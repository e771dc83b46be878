"""Find out what a user chose for a generation.

Parameters come from the request, from a preset, or from an earlier generation of the same prompt.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from chat.bodies import REQUIRED, ChatBody, wrong
from chat.generations.request import GenerationRequest
from chat.models import Generation, Preset
from providers.snapshot import Configuration
from web.refusals import InvalidRequest, NotFound


def with_preset(user_id: int, body: ChatBody, key: str | None, configuration: Configuration) -> ChatBody:
    """Return a request's body with what its preset gives; the body's own fields win.

    A known key stands for its generation even when the preset, or the model of the preset, is gone.
    """
    row = Preset.objects.usable_by(user_id).filter(pk=body.preset or 0).first()
    model = body.model or row.model if row else ""
    if row is None or not model:
        known = Generation.objects.by_key(user_id, key) if key else None
        if known is not None:
            return body.model_copy(update={"model": known.model})
        raise wrong("model", REQUIRED) if row else NotFound
    begins = body.conversation is None and body.text_tool is None
    # An empty one of the request clears that of its conversation.
    system_prompt = (row.system_prompt or None) if begins and body.system_prompt is None else body.system_prompt
    given = body.parameters() | body.extras()
    parameters = {**_fitting(configuration, model, row.parameters), **given}
    return body.model_copy(update={"model": model, "system_prompt": system_prompt, **parameters})


def digest_source(body: ChatBody) -> bytes:
    """Return what equal requests with a preset have in common.

    The preset itself may change between them.
    """
    return b"preset " + orjson.dumps(body.model_dump(exclude_none=True), option=orjson.OPT_SORT_KEYS)


def repeated(request: GenerationRequest, configuration: Configuration) -> GenerationRequest:
    """Return a request for more of a prompt's completion with the parameters chosen before."""
    message_id = request.regenerate or request.continues or 0
    # By the message's row: unlike a foreign key, a primary key may be compared with a number that no column holds.
    own = Generation.objects.owned_by(request.user_id).filter(message__id=message_id)
    row = own.only("model", "parameters").first()
    if row is None or not row.parameters:
        return request
    chosen = _fitting(configuration, request.model or row.model, row.parameters)
    effort = {name: chosen.pop(name) for name in ("reasoning_effort",) if name in chosen}
    return replace(request, parameters=chosen, extras=effort)


def _fitting(configuration: Configuration, model: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters without those that the model does not take.

    They were chosen for another model, or before its row was changed.
    """
    fitting, config = dict(parameters), configuration.models().get(model)
    if config is None:
        return fitting
    if "reasoning_effort" not in config.takes_of_routes():
        fitting.pop("reasoning_effort", None)
    try:
        config.check_parameters(fitting)
    except InvalidRequest:
        del fitting["temperature"]
    return fitting
