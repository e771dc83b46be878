"""Texts that a first run stores in the language of the installation: titles of quotas, the demo model.

They are in rows that admins edit. What an admin has written is shown as written, what is still ours in the reader's
language.
"""

from django.conf import settings
from django.utils import translation
from django_stubs_ext import StrOrPromise, StrPromise


def shown(stored: str, ours: StrPromise | None) -> StrOrPromise:
    """Return `ours`, in the language of whoever it is shown to, if `stored` is what a first run makes of it."""
    if ours is not None:
        with translation.override(settings.LANGUAGE_CODE):
            if stored == str(ours):
                return ours
    return stored
