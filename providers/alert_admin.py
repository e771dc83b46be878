"""Alerts in the admin: what is open, what was sent, and a test message."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from providers.admin_base import badge
from providers.alerts import targets, texts
from providers.alerts.models import Alert, AlertMessage
from providers.alerts.rounds import PAUSES
from web.readonly_admin import RecordAdmin


class IsOpen(admin.EmptyFieldListFilter):
    """Choose open or ended alerts."""

    def choices(self, changelist: Any) -> Any:
        names = (_("All"), _("Open"), _("Ended"))
        return [{**choice, "display": name} for choice, name in zip(super().choices(changelist), names, strict=True)]


@admin.register(Alert)
class AlertAdmin(RecordAdmin[Alert]):
    list_display = ("state", "headline", "kind", "opened_at", "ended_at", "sent")
    list_display_links = ("headline",)
    list_filter = (("ended_at", IsOpen), "kind")
    search_fields = ("subject",)
    fields = ("state", "headline", "kind", "subject", "opened_at", "seen_at", "ended_at", "sent")
    change_list_template = "admin/providers/alert/change_list.html"

    class Media:
        css = {"all": ("providers/admin.css",)}

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.send_test))
        return [path("test/", test, name="providers_alert_test"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).prefetch_related("messages")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = [target.shown for target in targets.configured().values()]
        context = {**(extra_context or {}), "targets": shown, "may_test": self._may_test(request)}
        return super().changelist_view(request, context)

    def send_test(self, request: HttpRequest) -> HttpResponse:
        """Send a message to all targets now, and show which took it."""
        if not self._may_test(request):
            raise PermissionDenied
        notice = targets.Notice.test()
        for target in targets.configured().values():
            if error := async_to_sync(target.send)(notice):
                text = _("%(target)s did not take the message: %(error)s")
                self.message_user(request, text % {"target": target.shown, "error": error}, messages.ERROR)
            else:
                text = _("%(target)s took the message.") % {"target": target.shown}
                self.message_user(request, text, messages.SUCCESS)
        return redirect("admin:providers_alert_changelist")

    def _may_test(self, request: HttpRequest) -> bool:
        return request.user.has_perm("providers.change_alert")

    @admin.display(description=gettext_lazy("state"))
    def state(self, alert: Alert) -> SafeString:
        return badge("ok", _("Ended")) if alert.ended_at else badge("down", _("Open"))

    @admin.display(description=gettext_lazy("alert"))
    def headline(self, alert: Alert) -> str:
        return texts.headline(alert)

    @admin.display(description=gettext_lazy("messages sent"))
    def sent(self, alert: Alert) -> str:
        rows = sorted(alert.messages.all(), key=lambda row: row.pk)
        return "; ".join(map(_in_words, rows)) or "–"


def _in_words(message: AlertMessage) -> str:
    name = f"{message.target.partition(' ')[0]} ({message.get_event_display()})"
    if message.sent_at:
        return f"{name}: {_('sent')}"
    state = _("given up") if message.attempts >= len(PAUSES) else _("not sent yet")
    return f"{name}: {state}" + (f" [{message.error}]" if message.error else "")
