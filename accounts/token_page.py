"""The account page of personal API tokens; programs use api.py."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import links, recent_login
from accounts.models import ApiToken, User
from web.refusals import Conflict


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("What it is for, for example the program that will use it.")
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """Show the tokens, or create one, whose secret is shown only in this response."""
    user: User = request.user  # type: ignore[assignment]
    if request.method == "POST":
        recent_login.require_on_page(request)
    form = TokenForm(request.POST or None)
    context: dict[str, Any] = {"form": form}
    if form.is_valid():
        try:
            context["created"], context["secret"] = ApiToken.issue(user, form.cleaned_data["name"])
            context["form"] = TokenForm()
        except Conflict as refusal:
            form.add_error("name", str(refusal.message))
    context |= {"tokens": user.api_tokens.order_by("-pk"), "base_url": links.absolute(request, "/v1")}
    return render(request, "account/tokens.html", context)


@require_POST
@login_required
def delete_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Delete a token of the user, which is refused from now on. Repeating is safe."""
    user: User = request.user  # type: ignore[assignment]
    user.api_tokens.filter(pk=token_id).delete()
    return redirect("account_tokens")
