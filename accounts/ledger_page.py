"""A user's ledger in the admin: quotas, latest entries, invitations, and a form for credits."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.models import User
from quotas import history, invitations, ledger
from quotas.models import Quota
from quotas.staff import may_credit
from quotas.statements import MOST
from web.refusals import InvalidRequest

# Ledger entries and invitations shown on the page of a user.
MAX_ROWS = 50


class GrantForm(forms.Form):
    """Grant credits to a user; a negative amount takes them back."""

    quota = forms.ModelChoiceField(Quota.objects.order_by("id"), label=gettext_lazy("quota"), empty_label=None)
    amount = forms.IntegerField(
        label=gettext_lazy("amount"),
        min_value=-MOST,
        max_value=MOST,
        help_text=gettext_lazy("A negative amount takes credits back, but never more than are left."),
    )
    reason = forms.CharField(
        label=gettext_lazy("reason"),
        max_length=200,
        help_text=gettext_lazy("The user sees this text in the ledger."),
        widget=forms.TextInput({"class": "vLargeTextField"}),
    )

    def grant(self, user: User) -> bool:
        """Change the balance; return False with form errors when the balance is too low."""
        try:
            values = self.cleaned_data
            ledger.grant(user.pk, values["quota"].pk, values["amount"], values["reason"])
        except InvalidRequest as refusal:
            for problem in (refusal.details or {}).get("amount", [refusal.message]):
                self.add_error("amount", str(problem))
            return False
        return True


class LedgerPage(UserAdmin[User]):
    """Add the ledger to a user's page, and the page `<id>/credits/` that grants credits."""

    change_form_template = "admin/accounts/user/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.credits_page)
        return [path("<int:pk>/credits/", view, name="accounts_user_credits"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        user: User | None = kwargs.get("obj")
        if user and user.pk and request.user.has_perm("quotas.view_ledgerentry"):
            context["ledger"] = {
                "quotas": ledger.overview(user),
                "entries": [{"row": row, "words": history.words(row)} for row in history.entries(user.pk)[:MAX_ROWS]],
                "invited": invitations.of(user.pk)[:MAX_ROWS],
                "sums": invitations.sums(user.pk),
                "rows": MAX_ROWS,
            }
        context["may_grant"] = user is not None and _may_grant(request, user)
        return super().render_change_form(request, context, *args, **kwargs)

    def credits_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        user = get_object_or_404(User, pk=pk)
        if not (_may_grant(request, user) and self.has_view_permission(request, user)):
            raise PermissionDenied
        form = GrantForm(request.POST or None)
        if form.is_valid() and form.grant(user):
            self._record(request, user, form.cleaned_data)
            return redirect("admin:accounts_user_change", user.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Credits of %(name)s") % {"name": user},
            "opts": self.opts,
            "original": user,
            "form": form,
            "quotas": ledger.overview(user),
        }
        return TemplateResponse(request, "admin/accounts/user/credits.html", context)

    def _record(self, request: HttpRequest, user: User, grant: dict[str, Any]) -> None:
        text = ngettext("%(amount)s credit: %(quota)s", "%(amount)s credits: %(quota)s", abs(grant["amount"]))
        summary = text % {"amount": f"{grant['amount']:+d}", "quota": grant["quota"].shown_title}
        actor: User = request.user  # type: ignore[assignment]
        LogEntry.objects.log_actions(actor.pk, [user], CHANGE, f"{summary} ({grant['reason']})", single_object=True)
        self.message_user(request, summary, messages.SUCCESS)


def _may_grant(request: HttpRequest, user: User) -> bool:
    actor: User = request.user  # type: ignore[assignment]
    return actor.has_perm("quotas.add_ledgerentry") and may_credit(actor, user)
