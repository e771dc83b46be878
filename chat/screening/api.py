"""REST for staff: sensitive words, imports of them, patterns, allowed phrases and refusal texts."""

from typing import IO, Any, Literal

from django.contrib.auth.models import Group
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.screening import wordlist
from chat.screening.models import (
    MOST_REPLACEMENT_CHARS,
    AllowedPhrase,
    RefusalText,
    SensitivePattern,
    SensitiveWord,
)
from chat.screening.schemas import ImportedWords
from web.bodies import NamedRow
from web.openapi import Content, Operation
from web.refusals import InvalidRequest
from web.staff import StaffOnly, StaffRows, StaffSerializer


class RuleSerializer(StaffSerializer):
    groups = NamedRow(slug_field="name", queryset=Group.objects.all(), many=True, required=False)


class WordSerializer(RuleSerializer):
    class Meta:
        model = SensitiveWord
        fields = ("id", "word", "action", "replacement", "scope", "category", "groups", "enabled")


class PatternSerializer(RuleSerializer):
    class Meta:
        model = SensitivePattern
        fields = (
            *("id", "title", "kind", "expression", "action", "replacement", "scope", "category", "groups", "enabled"),
        )


class PhraseSerializer(StaffSerializer):
    class Meta:
        model = AllowedPhrase
        fields = ("id", "phrase")


class RefusalTextSerializer(StaffSerializer):
    class Meta:
        model = RefusalText
        fields = ("id", "category", "text_zh", "text_en")


class Rules(StaffRows):
    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().prefetch_related("groups")


class Words(Rules):
    model, serializer_class = SensitiveWord, WordSerializer


class Patterns(Rules):
    model, serializer_class = SensitivePattern, PatternSerializer


class RefusalTexts(StaffRows):
    model, serializer_class = RefusalText, RefusalTextSerializer


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
    replacement = serializers.CharField(max_length=MOST_REPLACEMENT_CHARS, allow_blank=True, default="")


class ImportWords(APIView):
    permission_classes = (StaffOnly,)
    parser_classes = (PlainTextParser, CSVParser)
    model = SensitiveWord

    @Operation(
        "Staff",
        "Import a list of words, plain text or CSV",
        body=Content(str, ("text/plain", "text/csv")),
        returns=ImportedWords,
        query={
            "action": Literal["block", "mask", "replace", "flag"],
            "scope": Literal["input", "output", "both"],
            "category": str,
            "replacement": str,
        },
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
