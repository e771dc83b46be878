"""Default texts that the first `setup` stores in the installation's language: titles and descriptions.

They stand in rows that admins may edit. A text that an admin has changed is shown as it is; an unchanged one is shown
in the reader's language.
"""

from django.conf import settings
from django.utils import translation
from django_stubs_ext import StrOrPromise, StrPromise


def localized(stored: str, default: StrPromise | None) -> StrOrPromise:
    """Return `default` in the reader's language if `stored` is its unchanged text, else `stored`."""
    if default is not None:
        with translation.override(settings.LANGUAGE_CODE):
            if stored == str(default):
                return default
    return stored
