"""Failure messages of the wire adapters in the reader's language.

Adapters report in English, because they know no framework, and the health of keys is stored so. Each operator then
reads it in their own language. An adapter marks its messages with `gettext_noop` of `providers.wire.base`.
"""

from django.utils.translation import gettext as _
from django.utils.translation import gettext as translated

from providers.wire.errors import ProviderError


def failure_text(error: ProviderError) -> str:
    """Return the text of a failure for an operator, with the vendor's code and remedy."""
    text = in_words(error.message) + (f" ({error.vendor_code})" if error.vendor_code else "")
    if error.vendor_code == "address_refused":
        text += " " + _("It is private. To allow it, add it to ALLOWED_PRIVATE_UPSTREAMS.")
    return text


def in_words(reason: str) -> str:
    """Return a stored reason in the active language, or as it is without a translation."""
    return translated(reason) if reason else reason
