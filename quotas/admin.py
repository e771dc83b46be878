"""Quotas for operators: limits, credits and models are edited, the books are only read."""

from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import FilteredSelectMultiple
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from providers.models import ChatModel
from quotas import table
from quotas.models import CreditBalance, DailyUsage, LedgerEntry, Quota, QuotaGroupLimit, QuotaModel, Reservation

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:
    TypedAdmin = admin.ModelAdmin
    QuotaModelForm = forms.ModelForm[Quota]
else:
    QuotaModelForm = forms.ModelForm

    class TypedAdmin(admin.ModelAdmin):
        """Django's own cannot be subscripted outside the type checker."""

        def __class_getitem__(cls, row):
            return cls


class QuotaForm(QuotaModelForm):
    """A quota and the models it covers: one field, not inline rows, because it can move a model between quotas."""

    covers = forms.ModelMultipleChoiceField(
        ChatModel.objects.order_by("position", "slug"),
        label=_("models"),
        required=False,
        widget=FilteredSelectMultiple(_("models"), is_stacked=False),
        help_text=_("A model counts against one quota; choosing it here takes it out of the one it was in."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["covers"] = list(self.instance.links.values_list("model_id", flat=True))

    def move_models(self) -> None:
        """Let the saved quota cover exactly the chosen models."""
        chosen = self.cleaned_data["covers"]
        QuotaModel.objects.filter(quota=self.instance).exclude(model__in=chosen).delete()
        for model in chosen:
            QuotaModel.objects.update_or_create(model=model, defaults={"quota": self.instance})


class GroupLimitInline(admin.TabularInline[QuotaGroupLimit, Quota]):
    """Limits of groups, on the quota's own page."""

    model = QuotaGroupLimit
    extra = 0


@admin.register(Quota)
class QuotaAdmin(TypedAdmin[Quota]):
    form = QuotaForm
    inlines = [GroupLimitInline]
    fields = ["slug", "title", "daily_limit", "inviter_credits", "invitee_credits", "covers"]
    list_display = ["slug", "title", "daily_limit", "inviter_credits", "invitee_credits", "model_slugs"]
    list_editable = ["daily_limit", "inviter_credits", "invitee_credits"]
    search_fields = ["slug", "title", "models__slug"]
    ordering = ["id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        return super().get_queryset(request).prefetch_related("models")

    @admin.display(description=_("models"))
    def model_slugs(self, quota: Quota) -> str:
        return ", ".join(sorted(model.slug for model in quota.models.all()))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if isinstance(form, QuotaForm):  # the list's own form edits the numbers only
            form.move_models()
        table.forget()

    def delete_model(self, request: HttpRequest, obj: Quota) -> None:
        super().delete_model(request, obj)
        table.forget()


class BookAdmin(TypedAdmin[Row]):
    """A table that only the ledger writes."""

    list_select_related = ["user", "quota"]
    search_fields = ["user__username", "user__email"]
    list_filter = ["quota"]
    show_full_result_count = False
    ordering = ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        # Asked also when a person is deleted, whose rows go too: that must stay possible, on the person's own pages.
        person = get_user_model()._meta
        pages = {f"{person.app_label}_{person.model_name}_{page}" for page in ("delete", "changelist")}
        return bool(request.resolver_match and request.resolver_match.url_name in pages)


@admin.register(DailyUsage)
class DailyUsageAdmin(BookAdmin[DailyUsage]):
    list_display = ["day", "user", "quota", "used"]
    date_hierarchy = "day"


@admin.register(CreditBalance)
class CreditBalanceAdmin(BookAdmin[CreditBalance]):
    list_display = ["user", "quota", "credits"]


@admin.register(Reservation)
class ReservationAdmin(BookAdmin[Reservation]):
    list_display = ["created_at", "user", "quota", "day", "source", "status", "reason", "reference"]
    list_filter = ["status", "source", "quota"]
    search_fields = ["user__username", "user__email", "=reference"]
    date_hierarchy = "created_at"


@admin.register(LedgerEntry)
class LedgerEntryAdmin(BookAdmin[LedgerEntry]):
    list_display = ["created_at", "user", "quota", "amount", "source", "reason", "reference"]
    list_filter = ["source", "quota"]
    search_fields = ["user__username", "user__email", "reason", "=reference"]
    date_hierarchy = "created_at"
