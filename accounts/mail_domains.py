"""The mail domains whose addresses may sign up (ALLOWED_MAIL_DOMAINS)."""

from django.conf import settings
from django.utils.translation import gettext_lazy as _
from django_stubs_ext import StrOrPromise


def problem(email: str) -> StrOrPromise | None:
    """Return why this address cannot be used; None when it can.

    A subdomain counts as its domain.
    """
    allowed = settings.ALLOWED_MAIL_DOMAINS
    domain = email.rpartition("@")[2].lower()
    if not allowed or any(domain == one or domain.endswith(f".{one}") for one in allowed):
        return None
    return _("Only addresses of these domains can be used here: %(domains)s") % {"domains": ", ".join(allowed)}
