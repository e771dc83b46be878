"""JSON of an import of sensitive words; the rows of words and phrases are serializers in `chat.screening.api`."""

from typing_extensions import TypedDict

from web.schemas import Count


class RejectedLine(TypedDict):
    line: Count
    reason: str


class ImportedWords(TypedDict):
    created: Count
    duplicates: Count
    rejected: list[RejectedLine]
