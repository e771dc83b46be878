"""The account that everything else is set up with."""

import secrets

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import User

log = structlog.get_logger("accounts")


def ensure_admin() -> str | None:
    """Create the superuser of the environment if there is none; return its password if it had to be generated.

    Safe in several processes at once: one creates the account, the others find it. An account that exists is never
    changed, and none is promoted.
    """
    if User.objects.filter(is_superuser=True).exists():
        return None
    given = settings.ENV.ADMIN_PASSWORD
    password = given.get_secret_value() if given else secrets.token_urlsafe(15)
    try:
        with transaction.atomic():
            _create(password)
    except IntegrityError:
        if not User.objects.filter(is_superuser=True).exists():
            log.warning("no admin created: ADMIN_USERNAME or ADMIN_EMAIL belongs to an ordinary account")
        return None
    return None if given else password


def _create(password: str) -> None:
    email = settings.ENV.ADMIN_EMAIL.lower()
    user = User.objects.create_superuser(settings.ENV.ADMIN_USERNAME, email, password)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
