"""JSON of an import of sensitive words; `chat.screening.api` has the serializers of rows."""

from typing_extensions import TypedDict

from web.schemas import Count


class RejectedLine(TypedDict):
    line: Count
    reason: str


class ImportedWords(TypedDict):
    created: Count
    duplicates: Count
    rejected: list[RejectedLine]
