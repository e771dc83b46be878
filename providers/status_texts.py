"""Failure messages of the wire adapters in the reader's language.

Adapters report in English, because they know no framework, and the health of keys is stored so. Each operator then
reads it in their own language. A new adapter marks its messages with `gettext_noop` of `providers.wire.base`.
"""

from django.utils.translation import gettext as translated
from django.utils.translation import gettext_noop

from providers.wire.errors import ProviderError

# Messages of the adapters, collected for the catalogue of translations.
REASONS = frozenset(
    {
        gettext_noop("Our clock is wrong: the upstream refused the date."),
        gettext_noop("The key has no licence or no volume left for this model."),
        gettext_noop("The key has no volume left today."),
        gettext_noop("The model's domain and the upstream's path do not fit together."),
        gettext_noop("The prompt is too long for this model."),
        gettext_noop("The proxy refused our credentials."),
        gettext_noop("The upstream account is exhausted."),
        gettext_noop("The upstream account is locked, inactive or unknown."),
        gettext_noop("The upstream could not be reached."),
        gettext_noop("The upstream did not accept a connection in time."),
        gettext_noop("The upstream does not know this model."),
        gettext_noop("The upstream does not offer this interface."),
        gettext_noop("The upstream does not serve our network address."),
        gettext_noop("The upstream failed."),
        gettext_noop("The upstream got no key."),
        gettext_noop("The upstream has no list of models at its address."),
        gettext_noop("The upstream has no capacity left."),
        gettext_noop("The upstream has no key that can be used now."),
        gettext_noop("The upstream is busy."),
        gettext_noop("The upstream plan has expired."),
        gettext_noop("The upstream plan is used up."),
        gettext_noop("The upstream refused the key."),
        gettext_noop("The upstream refused the request."),
        gettext_noop("The upstream saw no signature."),
        gettext_noop("The upstream stopped answering."),
        gettext_noop("The upstream takes fresh tokens for expired; check the clock."),
        gettext_noop("The upstream takes the request for a repetition."),
        gettext_noop("The upstream throttles the account."),
        gettext_noop("The upstream took too long."),
        gettext_noop("The upstream's address is not allowed."),
        gettext_noop("The upstream's address is not that of a chat service."),
        gettext_noop("The upstream's address is not valid."),
        gettext_noop("The upstream's answer is not a list of models."),
        gettext_noop("The upstream's answer was broken."),
        gettext_noop("The upstream's answer was empty."),
        gettext_noop("The upstream's daily limit is reached."),
        gettext_noop("The upstream's list of models is too large."),
        gettext_noop("The upstream's moderation refused the prompt."),
        gettext_noop("This machine is out of connections."),
    }
)

_PRIVATE = gettext_noop("It is private. To allow it, add it to ALLOWED_PRIVATE_UPSTREAMS.")


def failure_text(error: ProviderError) -> str:
    """Return the text of a failure for an operator.

    It contains the vendor's code, and the remedy where there is one.
    """
    code = f" ({error.vendor_code})" if error.vendor_code else ""
    hint = f" {translated(_PRIVATE)}" if error.vendor_code == "address_refused" else ""
    return f"{in_words(error.message)}{code}{hint}"


def in_words(reason: str) -> str:
    """Return a stored reason in the active language.

    A reason without a translation stays as it is.
    """
    return translated(reason) if reason else reason
