"""Conversations, messages, generations and models as JSON. Texts of failures are in the active language.

Events are an exception: they are the same bytes for every reader, in the language of the user who sent the prompt.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from django.utils import timezone, translation

from accounts.token_limits import TokenLimits
from chat import schemas, sources
from chat.attachments import store
from chat.errors import refusal_text, with_text
from chat.events.schemas import ChatDoneEvent, ChatErrorEvent, FinishReason, TokensUsed
from chat.models import Conversation, Generation, Message
from providers import access
from providers.snapshot import Configuration, ModelConfig
from quotas import ledger
from quotas.ledger import ReservedUnit
from quotas.schemas import Charge, Quota
from web.schemas import Problem

Shape = TypeVar("Shape")


def generation(row: Generation) -> schemas.Generation:
    """Return the contract's `Generation`; the row's message must be at hand."""
    content, reasoning = row.texts()
    error = with_text(row.error) if row.error else None
    shape: schemas.Generation = {
        "id": row.id,
        "status": row.status,
        "model": row.model,
        "conversation": row.conversation_id,
        "message": row.text_message_id,
        "finish_reason": row.finish_reason,
        "content": content,
        "reasoning": reasoning,
        "usage": usage(row),
        "charge": _in_order(row.charge, Charge) if row.charge else None,
        "error": _in_order(error, Problem) if error else None,
        "created_at": _time(row.created_at),
        "finished_at": _time(row.finished_at) if row.finished_at else None,
    }
    if finish_text := refusal_text(row.filter_texts):
        shape["finish_text"] = finish_text
    if stored := row.stored_sources():
        shape["sources"] = sources.decode(stored)
    if (kept := row.text_message()) and kept.attached:
        shape["attachments"] = [store.representation(each) for each in kept.attached]
    return shape


def start_event(row: Generation) -> dict[str, Any]:
    """Return the data of a generation's first event."""
    title = row.conversation.title if row.conversation else None
    start = {"generation": row.id, "conversation": row.conversation_id, "model": row.model, "title": title}
    if not row.is_continuation:
        return start
    place = {"content_from": row.content_from, "reasoning_from": row.reasoning_from}
    return {**start, "continues": {"message": row.message_id, **place}}


def end_event(row: Generation) -> tuple[str, ChatDoneEvent | ChatErrorEvent] | None:
    """Return name and data of the event that ended a generation, None while it runs."""
    if row.status == Generation.Status.RUNNING:
        return None
    if row.error:
        with translation.override(row.language):
            error = with_text(row.error)
        return "error", _in_order({**error, "charge": _in_order(row.charge, Charge)}, ChatErrorEvent)
    done: ChatDoneEvent = {
        "finish_reason": cast("FinishReason", row.finish_reason),
        "message": row.text_message_id,
        "usage": cast("TokensUsed", usage(row)),
        "charge": _in_order(row.charge, Charge),
        "quota": _in_order(row.quota_after, Quota),
    }
    if row.filter_texts:
        with translation.override(row.language):
            if finish_text := refusal_text(row.filter_texts):
                done["finish_text"] = finish_text
    return "done", done


def _in_order(value: Mapping[str, Any] | None, shape: type[Shape]) -> Shape:
    """Restore the order of names, which PostgreSQL loses: replays have the same bytes."""
    return cast("Shape", {name: value[name] for name in shape.__annotations__ if name in value} if value else {})


def conversation(row: Conversation) -> schemas.Conversation:
    shape: schemas.Conversation = {
        "id": row.pk,
        "title": row.title,
        "pinned": row.pinned,
        "archived": row.archived,
        "system_prompt": row.system_prompt,
        "created_at": _time(row.created_at),
        "updated_at": _time(row.updated_at),
    }
    if row.temporary:
        shape["temporary"] = True
    return shape


def message(row: Message) -> schemas.Message:
    """Return one message; while its generation runs, the draft is its content."""
    made_by: Generation | None = getattr(row, "generation", None)
    content, reasoning = row.content, row.reasoning
    if made_by and made_by.status == Generation.Status.RUNNING:
        content, reasoning = made_by.whole(row, made_by.content, made_by.reasoning)
    shape: schemas.Message = {
        "id": row.pk,
        "parent": row.parent_id,
        "role": row.role,
        "content": content,
        "reasoning": reasoning,
        "model": row.model or None,
        "generation": made_by.id if made_by else None,
        "created_at": _time(row.created_at),
    }
    if row.sources:
        shape["sources"] = sources.decode(row.sources)
    if row.attached:
        shape["attachments"] = [store.representation(each) for each in row.attached]
    if row.reasoning_seconds is not None:
        shape["reasoning_seconds"] = row.reasoning_seconds
    return shape


def models_with_quota(
    configuration: Configuration, user_id: int, token: TokenLimits | None = None
) -> list[tuple[ModelConfig, str]]:
    """Return the models that a user may use, each with its quota's slug.

    They are in the order of lists, and only those that the token allows.
    """
    slugs = ledger.quota_slugs()
    usable = access.usable(configuration, user_id)
    allowed = [config for config in usable if token is None or token.allows(config.slug)]
    return [(config, slugs[config.id]) for config in allowed if config.id in slugs]


def offered_models(configuration: Configuration, user_id: int, token: TokenLimits | None = None) -> list[schemas.Model]:
    """Return the models with a quota that a user may use with a token."""
    return [
        {
            "slug": config.slug,
            "title": str(config.title),
            "description": str(config.description),
            "quota": quota,
            "available": config.available(),
            "takes": config.takes_of_routes(),
            "context_tokens": config.context_tokens,
        }
        for config, quota in models_with_quota(configuration, user_id, token)
    ]


def usage(row: Generation) -> TokensUsed | None:
    """Return the tokens of a generation, None while it runs."""
    if row.input_tokens is None or row.output_tokens is None:
        return None
    used: TokensUsed = {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "estimated": row.usage_estimated,
    }
    if row.cached_tokens is not None:
        used["cached_tokens"] = row.cached_tokens
    if row.reasoning_tokens is not None:
        used["reasoning_tokens"] = row.reasoning_tokens
    if row.reasoning_seconds is not None:
        used["reasoning_seconds"] = row.reasoning_seconds
    return used


def quota_headers(reservation: ReservedUnit | None) -> dict[str, str]:
    """Return the headers of a response for which a unit was reserved."""
    if reservation is None:
        return {}
    headers = {"X-Quota-Reset": str(int(reservation.resets_at.timestamp()))}
    if reservation.remaining is not None:
        headers["X-Quota-Remaining"] = str(reservation.remaining)
    return headers


def _time(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat()
