"""JSON of the figures that a user may read."""

from typing_extensions import TypedDict

from web.schemas import Count, Date


class UsageOfDay(TypedDict):
    date: Date
    model: str
    answers: Count
    input_tokens: Count
    output_tokens: Count
