"""REST for staff: sensitive words, imports of them, and allowed phrases."""

from typing import IO, Any, Literal

from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.screening import wordlist
from chat.screening.models import AllowedPhrase, SensitiveWord
from chat.screening.schemas import ImportedWords
from web.openapi import Content, Operation
from web.refusals import InvalidRequest
from web.staff import StaffOnly, StaffRows, StaffSerializer


class WordSerializer(StaffSerializer):
    class Meta:
        model = SensitiveWord
        fields = ("id", "word", "action", "scope", "category", "enabled")


class PhraseSerializer(StaffSerializer):
    class Meta:
        model = AllowedPhrase
        fields = ("id", "phrase")


class Words(StaffRows):
    model, serializer_class = SensitiveWord, WordSerializer


class Phrases(StaffRows):
    model, serializer_class = AllowedPhrase, PhraseSerializer


class PlainTextParser(BaseParser):
    """Return the raw bytes, because `wordlist.text_of` detects their encoding."""

    media_type = "text/plain"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read()


class CSVParser(PlainTextParser):
    media_type = "text/csv"


class ImportDefaults(serializers.Serializer[None]):
    """Query parameters: the columns that a plain list does not have."""

    action = serializers.ChoiceField(SensitiveWord.Action.choices, default=SensitiveWord.Action.BLOCK)
    scope = serializers.ChoiceField(SensitiveWord.Scope.choices, default=SensitiveWord.Scope.BOTH)
    category = serializers.CharField(max_length=wordlist.MOST_CATEGORY_CHARS, allow_blank=True, default="")


class ImportWords(APIView):
    permission_classes = (StaffOnly,)
    parser_classes = (PlainTextParser, CSVParser)
    model = SensitiveWord

    @Operation(
        "Staff",
        "Import a list of words, plain text or CSV",
        body=Content(str, ("text/plain", "text/csv")),
        returns=ImportedWords,
        query={"action": Literal["block", "mask"], "scope": Literal["input", "output", "both"], "category": str},
    )
    def post(self, request: Request) -> Response:
        defaults = ImportDefaults(data=request.query_params)
        defaults.is_valid(raise_exception=True)
        data: Any = request.data
        is_csv = (request.content_type or "").partition(";")[0].strip().lower() == CSVParser.media_type
        try:
            text = wordlist.text_of(data or b"")
            lines = wordlist.csv_lines(text) if is_csv else wordlist.plain_lines(text, defaults.validated_data)
            return Response(wordlist.add(lines))
        except wordlist.NotAList as refusal:
            raise InvalidRequest(details={"body": [str(refusal)]}) from refusal
