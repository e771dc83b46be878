"""The terms of use in versions: who has accepted the current one, and how.

Without TERMS_VERSION there are none. Before the acceptance a user may do everything but ask a model.
"""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.errors import TermsRequired
from accounts.models import User
from web.refusals import InvalidRequest


def are_accepted(user: User) -> bool:
    return not settings.TERMS_VERSION or user.accepted_terms == settings.TERMS_VERSION


def require_accepted(user: User) -> None:
    """Raise TermsRequired, with version and address, unless the user accepted this version."""
    if not are_accepted(user):
        raise TermsRequired(details={"version": settings.TERMS_VERSION, "url": settings.TERMS_URL})


def accept(user: User, version: str) -> None:
    """Store that the user accepts this version; raise InvalidRequest unless it is current."""
    if version != settings.TERMS_VERSION:
        raise InvalidRequest(details={"version": [_("This is not the current version of the terms.")]})
    note_acceptance(user)
    user.save(update_fields=["accepted_terms", "terms_accepted_at"])


def note_acceptance(user: User) -> None:
    """Note the current version on a user who is saved afterwards."""
    user.accepted_terms, user.terms_accepted_at = settings.TERMS_VERSION, timezone.now()


def add_field(form: forms.Form) -> None:
    """Add the checkbox to a sign-up form, where there are terms."""
    if not settings.TERMS_VERSION:
        return
    text: Any = _("I accept the terms of use.")
    if settings.TERMS_URL:
        link = _("Read the terms")
        text = format_html('{} <a href="{}" target="_blank" rel="noopener">{}</a>', text, settings.TERMS_URL, link)
    form.fields["terms"] = forms.BooleanField(label=text)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """Show the terms of use; the button accepts the version that was shown."""
    user: User = request.user  # type: ignore[assignment]
    after = request.POST.get("next") or request.GET.get("next") or "/"
    if not url_has_allowed_host_and_scheme(after, None):
        after = "/"
    changed = False
    if request.method == "POST" and settings.TERMS_VERSION:
        try:
            accept(User.objects.get(pk=user.pk), request.POST.get("version", ""))
            return redirect(after)
        except InvalidRequest:  # the operator changed the terms while the page was open
            changed = True
    elif are_accepted(user):
        return redirect(after)
    context = {"version": settings.TERMS_VERSION, "url": settings.TERMS_URL, "next": after, "changed": changed}
    return render(request, "account/terms.html", context)
