"""Structured reasoning, as OpenRouter and others send it beside its text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReasoningDetails:
    """A JSON list of `reasoning_details`, which their vendor wants back in the next turn."""

    json: str
