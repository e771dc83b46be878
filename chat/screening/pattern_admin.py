"""Patterns and refusal texts in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from chat.models import RefusalText, SensitivePattern
from chat.screening import trial
from chat.screening.admin import MOST_TRIED_CHARS
from web.editable_lists import EditableList

FIELDS = ("title", "kind", "expression", "action", "replacement", "scope", "category", "groups", "enabled")
# The name of the button that tries a pattern instead of saving it.
TRY = "_try"


class PatternForm(forms.ModelForm[SensitivePattern]):
    """A pattern, and a text to try it with."""

    tried_text = forms.CharField(
        label=_("Text to try"),
        required=False,
        strip=False,
        max_length=MOST_TRIED_CHARS,
        widget=forms.Textarea({"rows": 3, "cols": 60}),
        help_text=_("“Try” shows what the pattern finds in it, and saves nothing."),
    )

    class Meta:
        model = SensitivePattern
        fields = FIELDS

    tried: dict[str, Any] | None = None

    def full_clean(self) -> None:
        """Check the pattern; if it is only tried, it is not valid for being saved."""
        super().full_clean()
        if TRY in self.data and not self.errors:
            self.tried = trial.try_pattern(self.instance, self.cleaned_data["tried_text"])
            self.add_error(None, [])


@admin.register(SensitivePattern)
class SensitivePatternAdmin(EditableList[SensitivePattern]):
    form = PatternForm
    list_display = ("title", "kind", "expression", "action", "scope", "category", "enabled")
    list_editable = ("action", "enabled")
    list_filter = ("kind", "action", "scope", "enabled", "category")
    search_fields = ("title", "expression", "category")
    ordering = ("title", "id")
    filter_horizontal = ("groups",)
    fields = (*FIELDS, "tried_text")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        # Django would ask to correct errors, but there are only those beside the fields.
        context = {"errors": None} if TRY in request.POST else {}
        return super().changeform_view(request, object_id, form_url, {**context, **(extra_context or {})})


@admin.register(RefusalText)
class RefusalTextAdmin(admin.ModelAdmin[RefusalText]):
    list_display = ("category", "text_zh", "text_en")
    search_fields = ("category", "text_zh", "text_en")
    ordering = ("category",)
