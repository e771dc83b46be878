"""JSON of the figures that a user may read."""

from typing import NotRequired

from typing_extensions import TypedDict

from web.schemas import Count, Date


class UsageOfDay(TypedDict):
    date: Date
    model: str
    # The id and the name of the API token, where the usage is listed by token.
    token: NotRequired[int | None]
    token_name: NotRequired[str | None]
    answers: Count
    input_tokens: Count
    output_tokens: Count
