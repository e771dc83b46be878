"""Halves of characters beyond U+FFFF, which relays escape one by one and cut apart."""


class Surrogates:
    """Joins the halves of characters beyond U+FFFF, which some relays escape in different events."""

    def __init__(self) -> None:
        self._half = ""

    def join(self, text: str, *, whole: bool) -> str:
        """Return the text to show now; when `whole`, nothing waits for its other half."""
        text, self._half = self._half + text, ""
        if not whole and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return mend_surrogates(text)


def mend_surrogates(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
