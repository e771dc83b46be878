"""Asks staff for a reason before they read a conversation (AUDIT_REASON)."""

import time
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise

from accounts.audit import recording
from accounts.audit.models import REASON_CHARS

# Seconds for which one reason holds, for one conversation in one session.
REASON_SECONDS = 600
# The key of the session's value: reasons and Unix seconds, by the id of the conversation.
_SESSION_KEY = "audit_reasons"


class ReasonForm(forms.Form):
    audit_reason = forms.CharField(
        label=_("reason"),
        max_length=REASON_CHARS,
        help_text=_("It is kept in the audit, with your name and the time."),
        widget=forms.TextInput({"class": "vLargeTextField", "autofocus": True}),
    )


def ask(
    page: ModelAdmin[Any], request: HttpRequest, object_id: str | None, title: StrOrPromise = ""
) -> HttpResponse | None:
    """Return a page that asks for a reason; None where none is needed any more.

    A reason holds for this `object_id`, and `title` is the question.
    """
    if not settings.AUDIT_REASON:
        return None
    if not page.has_view_permission(request):
        raise PermissionDenied
    now, key = time.time(), str(object_id)
    given = {one: value for one, value in request.session.get(_SESSION_KEY, {}).items() if value[1] > now}
    form = ReasonForm(request.POST if "audit_reason" in request.POST else None)
    if form.is_valid():
        request.session[_SESSION_KEY] = {**given, key: (form.cleaned_data["audit_reason"], now + REASON_SECONDS)}
        recording.skip()  # the look itself is recorded
        return redirect(request.get_full_path())
    if key in given:
        recording.give_reason(given[key][0])
        return None
    recording.skip()
    title = title or _("Why do you open this conversation?")
    context = {**page.admin_site.each_context(request), "opts": page.opts, "title": title, "form": form}
    return TemplateResponse(request, "admin/reason.html", context)
