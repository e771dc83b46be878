"""How conversations, messages and generations look in JSON. Texts of failures are in the language that is active.

Except in events: those are the same bytes for every reader, and speak the language of who asked.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, cast

from django.utils import timezone, translation

from chat import schemas
from chat.errors import with_text
from chat.events.schemas import ChatDoneEvent, ChatErrorEvent, FinishReason, TokensUsed
from chat.models import Conversation, Generation, Message
from providers.snapshot import ModelConfig
from quotas.schemas import Charge, Quota
from web.schemas import Problem

Shape = TypeVar("Shape")


def generation(row: Generation) -> schemas.Generation:
    """Return the contract's `Generation`; the row's message must be at hand."""
    content, reasoning = row.texts()
    error = with_text(row.error) if row.error else None
    return {
        "id": row.id,
        "status": row.status,
        "model": row.model,
        "conversation": row.conversation_id,
        "message": row.message_id,
        "finish_reason": row.finish_reason,
        "content": content,
        "reasoning": reasoning,
        "usage": _usage(row),
        "charge": _in_order(row.charge, Charge) if row.charge else None,
        "error": _in_order(error, Problem) if error else None,
        "created_at": _time(row.created_at),
        "finished_at": _time(row.finished_at) if row.finished_at else None,
    }


def ending(row: Generation) -> tuple[str, ChatDoneEvent | ChatErrorEvent] | None:
    """Return the event that ended a generation, None while it runs."""
    if row.status == Generation.Status.RUNNING:
        return None
    if row.error:
        with translation.override(row.language):
            error = with_text(row.error)
        return "error", _in_order({**error, "charge": _in_order(row.charge, Charge)}, ChatErrorEvent)
    return "done", {
        "finish_reason": cast("FinishReason", row.finish_reason),
        "message": row.message_id,
        "usage": cast("TokensUsed", _usage(row)),
        "charge": _in_order(row.charge, Charge),
        "quota": _in_order(row.quota_after, Quota),
    }


def _in_order(value: Mapping[str, Any] | None, shape: type[Shape]) -> Shape:
    """Return a stored object with its names as they were written: PostgreSQL forgets their order.

    An event is the same bytes for those who read it as it was made and for those who read it from the database.
    """
    return cast("Shape", {name: value[name] for name in shape.__annotations__ if name in value} if value else {})


def conversation(row: Conversation) -> schemas.Conversation:
    return {
        "id": row.pk,
        "title": row.title,
        "pinned": row.pinned,
        "archived": row.archived,
        "system_prompt": row.system_prompt,
        "created_at": _time(row.created_at),
        "updated_at": _time(row.updated_at),
    }


def message(row: Message) -> schemas.Message:
    """Return one message; the draft of an answer that is still running counts as its content."""
    made_by: Generation | None = getattr(row, "generation", None)
    running = made_by is not None and made_by.status == Generation.Status.RUNNING
    return {
        "id": row.pk,
        "parent": row.parent_id,
        "role": row.role,
        "content": made_by.content if made_by and running else row.content,
        "reasoning": made_by.reasoning if made_by and running else row.reasoning,
        "model": row.model or None,
        "generation": made_by.id if made_by else None,
        "created_at": _time(row.created_at),
    }


def model(config: ModelConfig, quota: str) -> schemas.Model:
    return {
        "slug": config.slug,
        "title": str(config.title),
        "description": str(config.description),
        "quota": quota,
        "available": config.available(),
    }


def _usage(row: Generation) -> TokensUsed | None:
    if row.input_tokens is None or row.output_tokens is None:
        return None
    return {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "estimated": row.usage_estimated,
    }


def _time(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat()
