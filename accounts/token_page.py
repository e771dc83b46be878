"""The account page of personal API tokens; programs use api.py."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import links, recent_login, security_log
from accounts.models import ApiToken, User
from accounts.security_events import SecurityEvent
from accounts.token_limits import usable_models, with_use
from accounts.token_usage import with_usage
from web.refusals import Conflict

_MOST = 2**31 - 1
# Days after which a new token may expire.
_LIFETIMES = (
    ("", _("Never")),
    ("7", _("In 7 days")),
    ("30", _("In 30 days")),
    ("90", _("In 90 days")),
    ("365", _("In a year")),
)


class TokenForm(forms.Form):
    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("What it is for, for example the program that will use it.")
    )


class LimitsForm(forms.Form):
    """The limits of a new token, all of them optional."""

    expires = forms.ChoiceField(label=_("Expires"), choices=_LIFETIMES, required=False)
    daily_limit = forms.IntegerField(
        label=_("Answers a day"),
        min_value=1,
        max_value=_MOST,
        required=False,
        help_text=_("Empty: as many as your quotas allow."),
    )
    requests_per_minute = forms.IntegerField(
        label=_("Requests a minute"), min_value=1, max_value=100_000, required=False
    )
    models = forms.MultipleChoiceField(
        label=_("Models"), required=False, help_text=_("None chosen: all models that you may use.")
    )

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data)
        field: Any = self.fields["models"]
        field.choices = [(slug, slug) for slug in usable_models(user)]

    def limits(self) -> dict[str, Any]:
        """Return the limits as a token's row has them."""
        given = self.cleaned_data
        days = given["expires"]
        return {
            "expires_at": timezone.now() + timedelta(days=int(days)) if days else None,
            "daily_limit": given["daily_limit"],
            "requests_per_minute": given["requests_per_minute"],
            "allowed_models": given["models"] or None,
        }


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """Show the tokens, or create one, whose secret is shown only in this response."""
    user: User = request.user  # type: ignore[assignment]
    if request.method == "POST":
        recent_login.require_on_page(request)
    form, limits = TokenForm(request.POST or None), LimitsForm(user, request.POST or None)
    context: dict[str, Any] = {"form": form, "limits": limits}
    if form.is_valid() and limits.is_valid():
        try:
            name = form.cleaned_data["name"]
            context["created"], context["secret"] = ApiToken.issue(user, name, **limits.limits())
            security_log.note(request, user, SecurityEvent.Kind.TOKEN_CREATED, name)
            context |= {"form": TokenForm(), "limits": LimitsForm(user)}
        except Conflict as refusal:
            form.add_error("name", str(refusal.message))
    own = with_usage(with_use(user.api_tokens.order_by("-pk")))
    context |= {"tokens": own, "base_url": links.absolute(request, "/v1"), "now": timezone.now()}
    return render(request, "account/tokens.html", context)


@require_POST
@login_required
def delete_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """Delete a token of the user, which is refused from now on. Repeating is safe."""
    user: User = request.user  # type: ignore[assignment]
    if token := user.api_tokens.filter(pk=token_id).first():
        token.delete()
        security_log.note(request, user, SecurityEvent.Kind.TOKEN_DELETED, token.name)
    return redirect("account_tokens")
