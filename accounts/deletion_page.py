"""The page on which users delete their own account; programs use `DELETE /api/me/`."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import deletion, recent_login
from accounts.models import User
from web.refusals import Refusal


class DeletionForm(forms.Form):
    """Asks for the password, where the account has one."""

    password = forms.CharField(
        label=_("Password"), widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}), strip=False
    )

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data)
        if not user.has_usable_password():
            del self.fields["password"]


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def delete_account(request: HttpRequest) -> HttpResponse:
    """Show what is deleted, or delete the account and log out."""
    user: User = request.user  # type: ignore[assignment]
    form = DeletionForm(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            recent = recent_login.session_is_recent(request)
            recent_login.confirm(request, user, form.cleaned_data.get("password", ""), is_recent=recent)
            deletion.request(User.objects.get(pk=user.pk))
        except Refusal as refusal:
            form.add_error("password" if "password" in form.fields else None, str(refusal.message))
        else:
            logout(request)
            messages.success(request, _("Your account is being deleted with everything in it."))
            return redirect("account_login")
    return render(request, "account/delete.html", {"form": form})
