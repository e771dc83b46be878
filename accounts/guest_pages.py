"""The pages of guests: begin a trial, and turn it into an account."""

from allauth.account import app_settings as allauth_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import SignupForm
from allauth.account.models import EmailAddress
from allauth.account.utils import setup_user_email
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts import guests, invites, limits
from accounts.models import User


@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Begin a trial, and lead to the chat."""
    if not settings.GUEST_DAILY_LIMIT:
        raise Http404
    if request.user.is_authenticated:
        return redirect("/")
    if settings.SIGNUP_MIN_AGE and not request.POST.get("old_enough"):
        messages.error(request, _("Please confirm your age first."))
        return redirect("account_login")
    limits.check(request, "guest")
    guests.begin(request)
    return redirect("/")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def keep(request: HttpRequest) -> HttpResponse:
    """Turn the guest into an account that keeps the conversations."""
    guest = User.objects.get(pk=request.user.pk or 0)
    if not guest.is_guest:
        return redirect("/")
    is_open = settings.SIGNUP_MODE != "closed"
    form = SignupForm(request.POST or None)
    if is_open and request.method == "POST":
        limits.check(request, "signup")
        if form.is_valid():
            _become_account(request, guest, form)
            return redirect("/")
    response = render(request, "account/keep.html", {"form": form, "is_open": is_open})
    invites.store_code(request, response)
    return response


def _become_account(request: HttpRequest, guest: User, form: SignupForm) -> None:
    guest.is_guest = False
    get_adapter(request).save_user(request, guest, form)
    if not EmailAddress.objects.filter(user=guest).exists():
        setup_user_email(request, guest, [EmailAddress(email=form.cleaned_data["email"])])
    update_session_auth_hash(request, guest)  # because the guest has a password now
    may_mail = allauth_settings.EMAIL_VERIFICATION != allauth_settings.EmailVerificationMethod.NONE
    address = EmailAddress.objects.get_primary(guest)
    if may_mail and address and limits.allows(request, "signup_mail", address.email):
        address.send_confirmation(request, signup=True)
