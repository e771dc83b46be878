"""Findings of screening in a text, in the form that hits keep."""

from typing import NamedTuple


class Found(NamedTuple):
    """A word, a pattern, or a category of the moderation service."""

    # One of `Hit.Source`.
    source: str
    # The row's id; 0 for the moderation service.
    id: int
    category: str = ""
    # One of `Hit.Action`: what was done with the text.
    action: str = "block"
