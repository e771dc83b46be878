"""Refusals of this app, and the texts of failures that are sent inside a stream."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils.functional import Promise, lazy
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from providers.errors import TEXTS
from runtime.http import ANOTHER_PROCESS
from web.refusals import Refusal, ServiceUnavailable


def refusal_text(texts: Sequence[str] | None, otherwise: str | Promise = "") -> str:
    """Return the one of two texts, Chinese and English, that the active language needs."""
    chinese, english = texts or ("", "")
    return (chinese if (get_language() or "").startswith("zh") else english) or str(otherwise)


_in_language = lazy(refusal_text, str)


class Draining(ServiceUnavailable):
    """This process ends, and another one may take the prompt."""

    def headers(self) -> dict[str, str]:
        """Return the headers, with the location that deploy/nginx/rivulet.conf has for this."""
        return {**super().headers(), ANOTHER_PROCESS: "@another"}


class PromptTooLong(Refusal):
    code, status, text = "prompt_too_long", 413, _("The prompt is too long.")


class StorageFull(Refusal):
    """The user keeps as many texts as STORAGE_MIB_PER_USER allows."""

    code, status = "storage_full", 413
    text = _("Your storage is full. Nothing was stored or charged. Delete conversations to make room.")

    def __init__(self) -> None:
        super().__init__(details={"max_mib": settings.STORAGE_MIB_PER_USER})


class ConversationBlocked(Refusal):
    """The vendor refuses further prompts of this conversation."""

    code, status = "content_blocked", 422
    text = _("The model's service has closed this conversation. Please begin a new one.")


class ContentBlocked(Refusal):
    """A word or pattern blocks; its category may have a text in Chinese and English."""

    code, status = "content_blocked", 422
    text = _("This contains words that are not allowed here. Nothing was sent or charged.")

    def __init__(self, texts: tuple[str, str] | None = None) -> None:
        super().__init__(_in_language(texts, self.text) if texts else None)


class NotModerated(ServiceUnavailable):
    """The moderation service is away, and the operator wants no prompt to pass without it."""

    text = _("Prompts cannot be checked at the moment. Please try again shortly; nothing was sent or charged.")


class Conflict(Refusal):
    code, status = "conflict", 409
    text = _("This Idempotency-Key was used for another request.")


class ChannelEnded(Conflict):
    text = _("This channel has ended.")


_TEXTS = TEXTS | {
    "interrupted": _("The completion was interrupted. The text so far is kept."),
    "internal_error": _("Something went wrong on our side. Nothing was charged."),
}


def with_text(error: dict[str, Any]) -> dict[str, Any]:
    """Return a stored failure `{code, details?, retry_after?}` with its message in the active language."""
    return {"code": error["code"], "message": str(_TEXTS.get(error["code"], _TEXTS["upstream_error"])), **error}
