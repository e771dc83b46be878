"""REST for staff: sensitive words, lists of them, and allowed phrases. The admin pages do the same by hand."""

from collections.abc import Mapping
from typing import IO, Any, ClassVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.screening import wordlist
from chat.screening.models import AllowedPhrase, SensitiveWord, TermModel
from runtime.refusals import InvalidRequest, NotFound

RIGHTS = {"GET": ("view", "change"), "POST": ("add",), "PATCH": ("change",), "DELETE": ("delete",)}


class StaffOnly(BasePermission):
    """`is_staff`, and Django's permission for what the method does to rows of the view's `model`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        meta, user = view.model._meta, request.user  # type: ignore[attr-defined]
        rights = RIGHTS.get(request.method or "", ("change",))
        return user.is_staff and any(user.has_perm(f"{meta.app_label}.{right}_{meta.model_name}") for right in rights)


class TermSerializer(serializers.ModelSerializer[Any]):
    """A word or phrase; a field that does not exist is an error, and so is a text that is there in another form."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = set(self.initial_data) - set(self.fields)
        if unknown:
            raise serializers.ValidationError({name: [_("There is no such field.")] for name in sorted(unknown)})
        model: type[TermModel] = self.Meta.model
        row = model()
        row.pk = self.instance and self.instance.pk
        name = row.text_field
        setattr(row, name, attrs.get(name, getattr(self.instance, name, "")))
        try:
            row.clean()
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error
        return attrs


class WordSerializer(TermSerializer):
    class Meta:
        model = SensitiveWord
        fields = ("id", "word", "action", "scope", "category", "enabled")


class PhraseSerializer(TermSerializer):
    class Meta:
        model = AllowedPhrase
        fields = ("id", "phrase")


class Terms(APIView):
    """A bare array of all rows; create one."""

    permission_classes = (StaffOnly,)
    model: ClassVar[type[TermModel]]
    serializer: ClassVar[type[TermSerializer]]

    def get(self, request: Request) -> Response:
        return Response(self.serializer(self.model.objects.order_by("pk"), many=True).data)

    def post(self, request: Request) -> Response:
        return Response(_saved(self.serializer(data=_object(request))).data, status=201)


class OneTerm(APIView):
    """One row: read, change, delete."""

    permission_classes = (StaffOnly,)
    model: ClassVar[type[TermModel]]
    serializer: ClassVar[type[TermSerializer]]

    def get(self, request: Request, pk: int) -> Response:
        return Response(self.serializer(self._row(pk)).data)

    def patch(self, request: Request, pk: int) -> Response:
        return Response(_saved(self.serializer(self._row(pk), data=_object(request), partial=True)).data)

    def delete(self, request: Request, pk: int) -> Response:
        self._row(pk).delete()
        return Response(status=204)

    def _row(self, pk: int) -> TermModel:
        row = self.model.objects.filter(pk=pk).first()
        if row is None:
            raise NotFound
        return row  # type: ignore[no-any-return]


def _object(request: Request) -> dict[str, Any]:
    if not isinstance(request.data, dict):
        raise InvalidRequest(details={"body": [_("Expected an object.")]})
    return request.data


def _saved(serializer: TermSerializer) -> TermSerializer:
    serializer.is_valid(raise_exception=True)
    try:
        with transaction.atomic():
            serializer.save()
    except IntegrityError as error:
        # Somebody was quicker: now that their row can be seen, the same check names the field.
        serializer.run_validation(serializer.initial_data)
        raise InvalidRequest from error
    return serializer


class Words(Terms):
    """`/api/admin/sensitive-words/`."""

    model, serializer = SensitiveWord, WordSerializer


class OneWord(OneTerm):
    """`/api/admin/sensitive-words/<id>/`."""

    model, serializer = SensitiveWord, WordSerializer


class Phrases(Terms):
    """`/api/admin/allowed-phrases/`."""

    model, serializer = AllowedPhrase, PhraseSerializer


class OnePhrase(OneTerm):
    """`/api/admin/allowed-phrases/<id>/`."""

    model, serializer = AllowedPhrase, PhraseSerializer


class PlainTextParser(BaseParser):
    """The bytes as they are: the words decide how they are encoded."""

    media_type = "text/plain"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return stream.read()


class CSVParser(PlainTextParser):
    media_type = "text/csv"


class ImportDefaults(serializers.Serializer[None]):
    """What a plain list says nothing about, from the query."""

    action = serializers.ChoiceField(SensitiveWord.Action.choices, default=SensitiveWord.Action.BLOCK)
    scope = serializers.ChoiceField(SensitiveWord.Scope.choices, default=SensitiveWord.Scope.BOTH)
    category = serializers.CharField(max_length=wordlist.MOST_CATEGORY_CHARS, allow_blank=True, default="")


class ImportWords(APIView):
    """`POST /api/admin/sensitive-words/import/`."""

    permission_classes = (StaffOnly,)
    parser_classes = (PlainTextParser, CSVParser)
    model = SensitiveWord

    def post(self, request: Request) -> Response:
        defaults = ImportDefaults(data=request.query_params)
        defaults.is_valid(raise_exception=True)
        data: Any = request.data
        is_csv = (request.content_type or "").partition(";")[0].strip().lower() == CSVParser.media_type
        try:
            text = wordlist.text_of(data or b"")
            lines = wordlist.csv_lines(text) if is_csv else wordlist.plain_lines(text, defaults.validated_data)
            return Response(wordlist.add(lines).as_json())
        except wordlist.NotAList as refusal:
            raise InvalidRequest(details={"body": [refusal.reason]}) from refusal
