"""Screening in the admin: words, import and export, trying a text, allowed phrases."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from chat.apps import chat
from chat.models import AllowedPhrase, SensitiveWord
from chat.screening import folding, trial, wordlist
from chat.screening.models import MOST_REPLACEMENT_CHARS, Action, Scope
from chat.screening.schemas import ImportedWords
from web.editable_lists import EditableList

# Bytes of a file uploaded in the admin at most; the REST import takes larger ones.
MOST_FILE_BYTES = 5 * 2**20
# Characters of a text to try at most.
MOST_TRIED_CHARS = 20_000
# Rejected lines shown one by one.
SHOWN_REJECTED = 100


class ImportForm(forms.Form):
    """A file or a pasted list, and defaults for the columns of a plain list."""

    file = forms.FileField(
        label=_("file"),
        required=False,
        help_text=_("One word per line, or CSV whose first line is word,action,scope,category. At most 5 MiB."),
    )
    text = forms.CharField(label=_("or a list"), required=False, widget=forms.Textarea, strip=False)
    action = forms.ChoiceField(label=_("action"), choices=Action.choices)
    replacement = forms.CharField(label=_("replacement"), required=False, max_length=MOST_REPLACEMENT_CHARS)
    scope = forms.ChoiceField(label=_("where"), choices=Scope.choices, initial=Scope.BOTH)
    category = forms.CharField(label=_("category"), required=False, max_length=wordlist.MOST_CATEGORY_CHARS)

    def clean_file(self) -> UploadedFile[Any] | None:
        file: UploadedFile[Any] | None = self.cleaned_data["file"]
        if file and (file.size or 0) > MOST_FILE_BYTES:
            raise forms.ValidationError(_("The file is larger than 5 MiB."))
        return file

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not self.errors and not values.get("file") and not values.get("text"):
            raise forms.ValidationError(_("Choose a file or paste a list."))
        return values

    def add(self) -> ImportedWords:
        """Store the words; raise NotAList if the input is not a list."""
        values = self.cleaned_data
        text = wordlist.text_of(values["file"].read()) if values["file"] else values["text"]
        defaults = {name: values[name] for name in ("action", "scope", "category", "replacement")}
        return wordlist.add(wordlist.csv_lines(text) if wordlist.is_csv(text) else wordlist.plain_lines(text, defaults))


class TrialForm(forms.Form):
    text = forms.CharField(label=_("text"), widget=forms.Textarea, max_length=MOST_TRIED_CHARS, strip=False)


class TermAdmin(EditableList[Any]):
    """Search words and phrases by their folded form too: 臺灣 finds 台湾."""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, duplicates = super().get_search_results(request, queryset, search_term)
        if key := folding.key(search_term):
            found |= queryset.filter(key__contains=key)
        return found, duplicates


@admin.register(SensitiveWord)
class SensitiveWordAdmin(TermAdmin):
    list_display = ("word", "action", "scope", "category", "enabled")
    list_editable = ("action", "enabled")
    list_filter = ("action", "scope", "enabled", "category")
    search_fields = ("word", "category")
    ordering = ("word",)
    actions = ("enable", "disable", "export_chosen")
    filter_horizontal = ("groups",)
    show_full_result_count = False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        # Django's own title does not fit beside the buttons.
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, words: QuerySet[SensitiveWord]) -> None:
        self._report_changed(request, words.update(enabled=True))

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, words: QuerySet[SensitiveWord]) -> None:
        self._report_changed(request, words.update(enabled=False))

    def _report_changed(self, request: HttpRequest, count: int) -> None:
        text = ngettext("%(count)d word was changed.", "%(count)d words were changed.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)

    @admin.action(description=_("Export as CSV"), permissions=["view"])
    def export_chosen(self, request: HttpRequest, words: QuerySet[SensitiveWord]) -> HttpResponse:
        headers = {"Content-Disposition": 'attachment; filename="sensitive-words.csv"'}
        return HttpResponse(wordlist.as_csv(words), "text/csv; charset=utf-8", headers=headers)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_page), name="chat_sensitiveword_import"),
            path("export/", view(self.export_all), name="chat_sensitiveword_export"),
            path("try/", view(self.trial_page), name="chat_sensitiveword_try"),
            *super().get_urls(),
        ]

    def import_page(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        report = None
        if form.is_valid():
            try:
                report = form.add()
            except wordlist.NotAList as refusal:
                form.add_error(None, str(refusal))
        shown = report and report["rejected"][:SHOWN_REJECTED]
        return self._page(request, "import", _("Import words"), form=form, report=report, rejected=shown)

    def export_all(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.export_chosen(request, SensitiveWord.objects.order_by("word"))

    def trial_page(self, request: HttpRequest) -> HttpResponse:
        """Show what screening finds in a text; the text is neither stored nor logged."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = TrialForm(request.POST or None)
        tried = trial.try_text(form.cleaned_data["text"], chat().words.load()) if form.is_valid() else None
        return self._page(request, "try", _("Try a text"), form=form, tried=tried)

    def _page(self, request: HttpRequest, name: str, title: Any, **context: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return TemplateResponse(request, f"admin/chat/sensitiveword/{name}.html", context)


@admin.register(AllowedPhrase)
class AllowedPhraseAdmin(TermAdmin):
    list_display = ("phrase", "created_at")
    search_fields = ("phrase",)
    ordering = ("phrase",)
