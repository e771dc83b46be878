"""The first superuser, from the environment variables `ADMIN_*`."""

import secrets

import structlog
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.audit import commands
from accounts.models import User

log = structlog.get_logger("accounts")


def ensure_admin() -> str | None:
    """Create a superuser if there is none; return its password if it was generated.

    Several processes may call this at once: one creates the account, the others find it. An existing account is never
    changed or promoted.
    """
    if User.objects.filter(is_superuser=True).exists():
        return None
    configured = settings.ENV.ADMIN_PASSWORD
    password = configured.get_secret_value() if configured else secrets.token_urlsafe(15)
    _warn_if_weak(password)
    try:
        with transaction.atomic():
            email = settings.ENV.ADMIN_EMAIL.lower()
            user = User.objects.create_superuser(settings.ENV.ADMIN_USERNAME, email, password)
            EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
            commands.record("setup", user_id=user.pk)
    except IntegrityError:
        if not User.objects.filter(is_superuser=True).exists():
            log.warning("no admin created: choose another ADMIN_USERNAME or ADMIN_EMAIL, an ordinary account has it")
        return None
    return None if configured else password


def _warn_if_weak(password: str) -> None:
    """Log a warning, because refusing the operator's choice would stop the start."""
    try:
        validate_password(password, User(username=settings.ENV.ADMIN_USERNAME, email=settings.ENV.ADMIN_EMAIL))
    except ValidationError as error:
        problems = [problem.code for problem in error.error_list]
        log.warning("ADMIN_PASSWORD is weak, change it after the first login", problems=problems)
