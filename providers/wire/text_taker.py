"""`TextTaker`: takes the plain reads of a stream in the quickest way."""

from typing import Protocol


class TextTaker(Protocol):
    """Takes reads that brought content and nothing else, after other visible content."""

    def take_text(self, text: str) -> bool:
        """Take the content of one read; return whether the next read may come here too."""
