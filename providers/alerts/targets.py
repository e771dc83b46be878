"""Where alerts are sent: the mail addresses and webhooks of the settings."""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.utils import timezone
from django.utils.translation import gettext as _

from providers.alerts import texts
from providers.alerts.models import AlertMessage
from providers.wire import webhooks
from providers.wire.errors import ProviderError


@dataclass(frozen=True, slots=True)
class Notice:
    """A message: its title, the lines below, and the same for programs."""

    title: str
    body: str
    data: Mapping[str, Any]

    @classmethod
    def about(cls, message: AlertMessage) -> "Notice":
        """Put a message into words, in the active language."""
        alert = message.alert
        title, body = texts.title(alert, message.event), texts.body(alert, message.event)
        data = {
            "event": message.event,
            "alert": alert.pk,
            "kind": alert.kind,
            "subject": alert.subject,
            "details": alert.details,
            "opened_at": _iso(alert.opened_at),
            "ended_at": _iso(alert.ended_at) if message.event == AlertMessage.Event.ENDED else None,
        }
        return cls(title, body, data)

    @classmethod
    def test(cls) -> "Notice":
        """Return a message that staff send to see whether it arrives."""
        now = timezone.now()
        title = _("Test message: alerts reach this place")
        body = timezone.localtime(now).strftime("%Y-%m-%d %H:%M:%S %Z")
        return cls(title, body, {"event": "test", "opened_at": _iso(now)})


class Target(ABC):
    """A place to which alerts are sent. `shown` names it without a secret."""

    shown: str

    @abstractmethod
    async def send(self, notice: Notice) -> str:
        """Send a message; return why it failed, empty when it was taken."""


class Mail(Target):
    """All addresses of ALERT_EMAILS, in one mail."""

    shown = "mail"

    async def send(self, notice: Notice) -> str:
        try:
            await asyncio.to_thread(
                send_mail,
                " ".join(f"[{settings.SITE_NAME}] {notice.title}".split()),  # names may have line breaks
                f"{notice.title}\n{notice.body}\n",
                None,
                settings.ALERT_EMAILS,
            )
        except OSError as error:  # includes SMTPException
            return type(error).__name__
        return ""


class Webhook(Target):
    """One address of ALERT_WEBHOOKS."""

    def __init__(self, webhook: webhooks.Webhook) -> None:
        self._webhook = webhook
        self.shown = f"{webhook.kind} {webhook.host}"

    async def send(self, notice: Notice) -> str:
        text = f"[{settings.SITE_NAME}] {notice.title}\n{notice.body}"
        data = {"site": settings.SITE_NAME, "title": notice.title, "text": notice.body, **notice.data}
        try:
            return await webhooks.post(self._webhook, text, data)
        except ProviderError as error:
            return error.vendor_code or error.code


def configured() -> dict[str, Target]:
    """Return the targets of the settings by the names under which messages are stored."""
    found: dict[str, Target] = {"mail": Mail()} if settings.ALERT_EMAILS else {}
    for webhook in settings.ALERT_WEBHOOKS:
        digest = hashlib.sha256(webhook.url.encode()).hexdigest()[:12]
        found[f"{webhook.kind} {digest}"] = Webhook(webhook)
    return found


def _iso(moment: Any) -> str | None:
    return timezone.localtime(moment).isoformat() if moment else None
