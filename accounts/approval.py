"""New accounts wait for the operator's approval (SIGNUP_APPROVAL); until then they ask no model."""

from functools import partial

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import links
from accounts.models import User
from web.refusals import Forbidden


def require(user: User) -> None:
    """Raise Forbidden while the account waits."""
    if user.awaits_approval:
        raise Forbidden(_("Your account waits for the operator's approval."))


def approve(request: HttpRequest, user: User) -> bool:
    """Approve a waiting account and tell its user by mail; return whether it waited."""
    # Guarded, so that of two clicks one sends the mail.
    if not User.objects.filter(pk=user.pk, awaits_approval=True).update(awaits_approval=False):
        return False
    user.awaits_approval = False
    user.save(update_fields=["awaits_approval"])  # so that identities forget the user
    announce(request, user)
    return True


def announce(request: HttpRequest, user: User) -> None:
    """Tell the user by mail, where there is a mail server.

    After the commit, because a mail server may take longer than PostgreSQL lets a transaction wait.
    """
    transaction.on_commit(partial(_send, request, user))


def _send(request: HttpRequest, user: User) -> None:
    address = EmailAddress.objects.filter(user=user, primary=True).first()
    if address and settings.ACCOUNT_EMAIL_NOTIFICATIONS:
        with request_context(request):
            context = {"user": user, "chat_url": links.absolute(request, "/")}
            get_adapter(request).send_mail("account/email/approved", address.email, context)
