"""Why a file is not taken, in words for users."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from chat.attachments.decoder.results import Reason, Refused
from web.refusals import InvalidRequest

_TEXTS: dict[Reason, Promise] = {
    "type": _("Files of this type cannot be attached: %(subject)s."),
    "damaged": _("The file is damaged, or not what it seems to be: %(subject)s."),
    "pixels": _("The picture has more than %(subject)s pixels."),
    "pages": _("The document has more than %(subject)s pages."),
    "chars": _("The text has more than %(subject)s characters."),
    "costly": _("Reading the file takes too much memory or time."),
    "locked": _("The document is protected by a password."),
    "empty": _("There is no text in the file."),
}


class FileRefused(InvalidRequest):
    """A file that is not taken; the text names its type or the limit."""

    text = _("This file cannot be attached.")

    def __init__(self, refused: Refused, field: str = "file") -> None:
        reason = str(_TEXTS[refused.reason]) % {"subject": refused.subject or "?"}
        super().__init__(reason, details={field: [reason]})
