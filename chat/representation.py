"""How conversations, messages and generations look in JSON. Texts of failures are in the language that is active.

Except in events: those are the same bytes for every reader, and speak the language of who asked.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils import timezone, translation

from chat.errors import with_text
from chat.models import Conversation, Generation, Message
from providers.snapshot import ModelConfig

_ERROR = ("code", "message", "details", "retry_after")
_CHARGE = ("amount", "source", "reason")
_QUOTA = ("slug", "title", "models", "daily_limit", "used_today", "credits", "remaining", "resets_at")


def generation(row: Generation) -> dict[str, Any]:
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
        "usage": row.usage(),
        "charge": row.charge and _in_order(row.charge, _CHARGE),
        "error": error and {name: error[name] for name in ("code", "message", "details") if name in error},
        "created_at": _time(row.created_at),
        "finished_at": _time(row.finished_at),
    }


def ending(row: Generation) -> tuple[str, dict[str, Any]] | None:
    """Return the event that ended a generation, None while it runs."""
    if row.status == Generation.Status.RUNNING:
        return None
    if row.error:
        with translation.override(row.language):
            error = with_text(row.error)
        return "error", _in_order(error, _ERROR) | {"charge": _in_order(row.charge, _CHARGE)}
    return "done", {
        "finish_reason": row.finish_reason,
        "message": row.message_id,
        "usage": row.usage(),
        "charge": _in_order(row.charge, _CHARGE),
        "quota": _in_order(row.quota_after, _QUOTA),
    }


def _in_order(value: Mapping[str, Any] | None, names: Iterable[str]) -> dict[str, Any]:
    """Return a stored object with its names as they were written: PostgreSQL forgets their order.

    An event is the same bytes for those who read it as it was made and for those who read it from the database.
    """
    return {name: value[name] for name in names if name in value} if value else {}


def conversation(row: Conversation) -> dict[str, Any]:
    return {
        "id": row.pk,
        "title": row.title,
        "pinned": row.pinned,
        "archived": row.archived,
        "system_prompt": row.system_prompt,
        "created_at": _time(row.created_at),
        "updated_at": _time(row.updated_at),
    }


def message(row: Message) -> dict[str, Any]:
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


def model(config: ModelConfig, quota: str) -> dict[str, Any]:
    return {
        "slug": config.slug,
        "title": str(config.title),
        "description": str(config.description),
        "quota": quota,
        "available": config.available(),
    }


def _time(moment: Any) -> str | None:
    return moment and timezone.localtime(moment).isoformat()
