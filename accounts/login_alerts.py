"""Mails about logins from a new device or network (LOGIN_ALERTS).

They go to the confirmed address of the account only, because another one may be a stranger's mailbox. The first login
that the security log knows needs no mail.
"""

import ipaddress
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts import limits, links
from accounts.models import User
from accounts.security_events import SecurityEvent, client_of

# Bits of an address that name its network. A home or a phone gets other addresses of the same network each day.
_NETWORK_BITS = {4: 24, 6: 48}


def warn(request: HttpRequest, user: User) -> None:
    """Send a mail when the login is unlike earlier ones.

    Belongs before the login enters the security log.
    """
    if not (settings.LOGIN_ALERTS and settings.ACCOUNT_EMAIL_NOTIFICATIONS):
        return
    logins = SecurityEvent.objects.filter(user=user, kind=SecurityEvent.Kind.LOGIN)
    earlier = list(logins.values_list("address", "device"))
    client = client_of(request)
    networks, devices = {_network(address) for address, _device in earlier}, {name for _address, name in earlier}
    if not earlier or (_network(client["address"]) in networks and client["device"] in devices):
        return
    address = EmailAddress.objects.filter(user=user, primary=True, verified=True).first()
    if address is None or not limits.allows(request, "login_alert", str(user.pk)):
        return
    context: dict[str, Any] = {
        "user": user,
        **client,
        "at": timezone.localtime(),
        "sessions_url": links.absolute(request, reverse("account_sessions")),
    }
    with request_context(request):
        get_adapter(request).send_mail("account/email/new_login", address.email, context)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((address, _NETWORK_BITS[parsed.version]), strict=False))
