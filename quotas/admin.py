"""Admin pages of quotas: limits, credits and models are edited, the ledger is read-only."""

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime, FilteredSelectMultiple
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Model, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_stubs_ext import StrOrPromise

from providers.models import ChatModel
from quotas import redeem_codes
from quotas.apps import quotas_app
from quotas.models import (
    CreditBalance,
    DailyUsage,
    Invitation,
    LedgerEntry,
    Quota,
    QuotaGroupLimit,
    RedeemBatch,
    RedeemCode,
    Reservation,
)
from web import spreadsheets
from web.editable_lists import EditableList
from web.large_tables import EstimatingPaginator, LargeTable
from web.readonly_admin import RecordAdmin

Row = TypeVar("Row", bound=Model)


class QuotaForm(forms.ModelForm[Quota]):
    """A quota and its models; one field, because inline rows cannot move a model."""

    class Media:
        css: ClassVar[dict[str, list[str]]] = {"all": ["chat/dashboard.css"]}

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


class GroupLimitInline(admin.TabularInline[QuotaGroupLimit, Quota]):
    model = QuotaGroupLimit
    extra = 0


@admin.register(Quota)
class QuotaAdmin(EditableList[Quota]):
    form = QuotaForm
    inlines = [GroupLimitInline]
    fields = ["slug", "title", "daily_limit", "inviter_credits", "invitee_credits", "covers"]
    list_display = ["slug", "title", "daily_limit", "inviter_credits", "invitee_credits", "model_slugs"]
    list_editable = ["daily_limit", "inviter_credits", "invitee_credits"]
    search_fields = ["slug", "title", "models__slug"]
    ordering = ["id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        return super().get_queryset(request).prefetch_related("models")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field and db_field.name == "daily_limit":  # the list shows no help text
            field.widget.attrs["placeholder"] = _("no limit")
        return field

    @admin.display(description=_("models"))
    def model_slugs(self, quota: Quota) -> str:
        return ", ".join(sorted(model.slug for model in quota.models.all()))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if isinstance(form, QuotaForm):  # the list's form edits only numbers
            form.instance.cover(form.cleaned_data["covers"])
        quotas_app().snapshot.forget()

    def delete_model(self, request: HttpRequest, obj: Quota) -> None:
        super().delete_model(request, obj)
        quotas_app().snapshot.forget()


class LedgerTableAdmin(RecordAdmin[Row], LargeTable[Row]):
    """A table that only the ledger writes."""

    list_select_related = ["user", "quota"]
    list_filter: ClassVar[Any] = ["quota"]


@admin.register(DailyUsage)
class DailyUsageAdmin(LedgerTableAdmin[DailyUsage]):
    list_display = ["day", "user", "quota", "used"]
    list_filter = ["quota", "day"]


@admin.register(CreditBalance)
class CreditBalanceAdmin(LedgerTableAdmin[CreditBalance]):
    list_display = ["user", "quota", "credits"]


@admin.register(Reservation)
class ReservationAdmin(LedgerTableAdmin[Reservation]):
    list_display = ["created_at", "user", "quota", "day", "source", "status", "reason", "reference"]
    list_filter = ["status", "source", "quota", "created_at"]
    exact = ("reference",)
    search_help_text = _("A user, or the whole id of a generation.")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LedgerTableAdmin[LedgerEntry]):
    list_display = ["created_at", "user", "quota", "amount", "source", "reason", "reference"]
    list_filter = ["source", "quota", "created_at"]
    search_help_text = _("A user, the whole id of a generation, or the reason of a grant.")

    def conditions(self, text: str) -> Iterator[Q]:
        yield from super().conditions(text)
        # Each with the condition of its index.
        yield Q(reference=text, amount__lt=0)
        yield Q(reference="", reason__icontains=text)


@admin.register(Invitation)
class InvitationAdmin(LedgerTableAdmin[Invitation]):
    list_display = ["joined_at", "inviter", "invited", "status", "reward", "credited_at"]
    list_select_related = ["inviter", "invited"]
    list_filter = ["status", "joined_at"]
    user_fields = ("inviter", "invited")


class BatchForm(forms.ModelForm[RedeemBatch]):
    """The form of a new batch; an existing one has only its note."""

    quota = forms.ModelChoiceField(Quota.objects.order_by("id"), label=_("quota"), empty_label=None)
    credits = forms.IntegerField(label=_("credits"), min_value=1, max_value=redeem_codes.MOST_CREDITS)
    count = forms.IntegerField(label=_("number of codes"), min_value=1, max_value=redeem_codes.MOST_AT_ONCE)
    expires_at = forms.SplitDateTimeField(label=_("expires"), required=False, widget=AdminSplitDateTime)

    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment and moment <= timezone.now():
            raise forms.ValidationError(_("This time has passed. Choose a later one."))
        return moment


def _counted(codes: QuerySet[RedeemCode]) -> Subquery:
    """Return how many of these codes a batch has."""
    return Subquery(codes.filter(batch=OuterRef("pk")).order_by().values("batch").annotate(n=Count("pk")).values("n"))


def _annotation(name: str, title: StrOrPromise) -> Any:
    """Return a column of a list that shows an annotation of its rows."""
    return admin.display(description=title)(lambda _admin, row: getattr(row, name))


@admin.register(RedeemBatch)
class RedeemBatchAdmin(admin.ModelAdmin[RedeemBatch]):
    change_form_template = "admin/quotas/redeembatch/change_form.html"
    list_display = ["id", "note", "quota", "credits", "made", "redeemed", "expires", "created_by", "created_at"]
    list_display_links = ["id", "note"]
    list_select_related = ["created_by"]
    paginator = EstimatingPaginator
    show_full_result_count = False
    search_fields = ["note"]
    ordering = ["-id"]
    actions = ["export", "withdraw"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.codes_file)
        return [path("<int:pk>/codes.csv", view, name="quotas_redeembatch_codes"), *super().get_urls()]

    def codes_file(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not self.has_codes_permission(request):
            raise PermissionDenied
        return _as_csv(get_object_or_404(RedeemBatch, pk=pk).codes.all())

    def get_form(
        self, request: HttpRequest, obj: RedeemBatch | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = kwargs if obj else {"form": BatchForm, **kwargs}
        return super().get_form(request, obj, change=change, **form)

    def get_fields(self, request: HttpRequest, obj: RedeemBatch | None = None) -> Any:
        return ["note"] if obj else ["quota", "credits", "count", "expires_at", "note"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RedeemBatch]:
        first = RedeemCode.objects.filter(batch=OuterRef("pk")).order_by("id")
        return (
            super()
            .get_queryset(request)
            .annotate(
                of_quota=Coalesce(Subquery(first.values("quota__slug")[:1]), Value("")),
                worth=Subquery(first.values("credits")[:1]),
                until=Subquery(first.values("expires_at")[:1]),
                # Subqueries, because a join would count the codes of all batches for each page.
                all_codes=Coalesce(_counted(RedeemCode.objects.all()), 0),
                used_codes=Coalesce(_counted(RedeemCode.objects.filter(redeemed_at__isnull=False)), 0),
            )
        )

    quota = _annotation("of_quota", _("quota"))
    credits = _annotation("worth", _("credits"))
    made = _annotation("all_codes", _("number of codes"))
    redeemed = _annotation("used_codes", _("redeemed codes"))
    expires = _annotation("until", _("expires"))

    def has_delete_permission(self, request: HttpRequest, obj: RedeemBatch | None = None) -> bool:
        return False  # redeemed codes stay; `withdraw` deletes the others

    def save_model(self, request: HttpRequest, obj: RedeemBatch, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        wanted = form.cleaned_data
        codes = redeem_codes.make(
            wanted["quota"], wanted["credits"], wanted["count"], wanted["expires_at"], request.user.pk, wanted["note"]
        )
        obj.__dict__.update(codes[0].batch.__dict__)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        batch: RedeemBatch | None = kwargs.get("obj")
        if batch and self.has_codes_permission(request):
            context["codes"] = batch.codes.select_related("quota", "redeemed_by").order_by("id")
        return super().render_change_form(request, context, *args, **kwargs)

    def has_codes_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see codes.

        This needs a permission of its own, because every user who sees a code can redeem it.
        """
        return request.user.has_perm("quotas.view_redeemcode")

    @admin.action(description=_("Export the codes as CSV"), permissions=["codes"])
    def export(self, request: HttpRequest, batches: QuerySet[RedeemBatch]) -> HttpResponse:
        return _as_csv(RedeemCode.objects.filter(batch__in=list(batches.values_list("pk", flat=True))))

    @admin.action(description=_("Withdraw the unused codes"), permissions=["change"])
    def withdraw(self, request: HttpRequest, batches: QuerySet[RedeemBatch]) -> None:
        unused = RedeemCode.objects.filter(batch__in=list(batches.values_list("pk", flat=True)), redeemed_at=None)
        count, _rows = unused.delete()
        text = ngettext("%(count)d code was withdrawn.", "%(count)d codes were withdrawn.", count)
        self.message_user(request, text % {"count": count}, messages.SUCCESS)


def _as_csv(codes: QuerySet[RedeemCode]) -> HttpResponse:
    """Return codes as CSV."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="codes-{timezone.localdate()}.csv"'
    rows = csv.writer(response)
    rows.writerow(["code", "quota", "credits", "expires_at", "redeemed_at"])
    for row in codes.select_related("quota").order_by("id"):
        moments = [moment and timezone.localtime(moment).isoformat() for moment in (row.expires_at, row.redeemed_at)]
        rows.writerow(map(spreadsheets.cell, [row.grouped(), row.quota.slug, row.credits, *moments]))
    return response


@admin.register(RedeemCode)
class RedeemCodeAdmin(RecordAdmin[RedeemCode], LargeTable[RedeemCode]):
    """Single codes, read-only; batches make and export them."""

    list_display = ["__str__", "batch", "quota", "credits", "expires_at", "redeemed_by", "redeemed_at"]
    list_select_related = ["batch", "quota", "redeemed_by"]
    list_filter = ["quota", ("redeemed_at", admin.EmptyFieldListFilter)]
    user_fields = ("redeemed_by",)
    search_help_text = _("A code, with or without dashes, or the user who redeemed it.")
    fields = ["batch", "code", "quota", "credits", "expires_at", "redeemed_by", "redeemed_at"]

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[RedeemCode], search_term: str) -> Any:
        code = queryset.filter(code=redeem_codes.normalised(search_term))
        return (code, False) if code.exists() else super().get_search_results(request, queryset, search_term)
