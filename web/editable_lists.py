"""Lists of the administration whose rows have fields."""

from typing import Any, TypeVar

from django.contrib import admin
from django.db.models import Field, Model
from django.forms import Field as FormField
from django.http import HttpRequest

Row = TypeVar("Row", bound=Model)


class EditableList(admin.ModelAdmin[Row]):
    """Name the fields in rows of a list for screen readers.

    Because Django gives them no label.
    """

    def get_changelist_formset(self, request: HttpRequest, **kwargs: Any) -> Any:
        def labelled(column: Field[Any, Any], **options: Any) -> FormField | None:
            field = self.formfield_for_dbfield(column, request=request, **options)
            if field is not None:
                field.widget.attrs["aria-label"] = str(field.label)
            return field

        return super().get_changelist_formset(request, formfield_callback=labelled, **kwargs)
