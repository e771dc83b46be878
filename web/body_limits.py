"""Limits of request bodies by their path; the ASGI application enforces them."""

from typing import NamedTuple

from django.conf import settings
from django.utils.translation import gettext as _

MIB = 2**20
# Bytes of a form beside its file at most.
FORM_BYTES = 16 * 1024


class BodyLimit(NamedTuple):
    """The most bytes of a body, and the setting's name; empty when it is fixed."""

    max_bytes: int
    setting: str = ""


def limit_of(path: str) -> BodyLimit:
    if path in settings.IMPORT_PATHS:
        return BodyLimit(settings.MAX_IMPORT_BYTES)
    if path in settings.CHAT_PATHS or path.startswith("/v1/"):
        return BodyLimit(settings.MAX_BODY_MIB * MIB, "MAX_BODY_MIB")
    if path in settings.ATTACHMENT_PATHS:
        # A file comes with its name and the form's borders.
        return BodyLimit(settings.MAX_ATTACHMENT_MIB * MIB + FORM_BYTES, "MAX_ATTACHMENT_MIB")
    return BodyLimit(settings.MAX_BODY_BYTES)


def message_of(path: str) -> str:
    """Return the text for a body that is too large for its path."""
    limit = limit_of(path)
    values = {"mib": limit.max_bytes // MIB, "setting": limit.setting}
    if limit.setting:
        return _("The request is larger than %(mib)d MiB (setting %(setting)s).") % values
    return _("The request is larger than %(mib)d MiB.") % values
