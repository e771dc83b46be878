"""Hits in the admin: the list, verdicts, and the text around each."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_stubs_ext import StrOrPromise

from accounts.audit import reasons, recording
from chat.models import Hit, SensitivePattern, SensitiveWord
from chat.screening import context
from chat.screening.tracking import TOO_COSTLY
from web.large_tables import BoundedPaginator, LargeTable
from web.readonly_admin import RecordAdmin

# Hits that one action marks at most, the newest first.
MOST_MARKED = 10_000
# Categories that the filter offers at most.
MOST_CATEGORIES = 100
Verdict = Hit.Verdict


class OfCategory(admin.SimpleListFilter):
    """Categories in use, and those of the latest hits.

    Django would read the whole table for those that occur.
    """

    title, parameter_name = _("category"), "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, StrOrPromise]]:
        return [(name, name) for name in context.categories()[:MOST_CATEGORIES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Hit]) -> QuerySet[Hit]:
        return queryset.filter(category=self.value()) if self.value() else queryset


def _marks(verdict: Hit.Verdict, text: StrOrPromise) -> Callable[..., None]:
    """Return the action that gives the chosen hits a verdict."""

    @admin.action(description=text, permissions=["review"])
    def mark(page: "HitAdmin", request: HttpRequest, hits: QuerySet[Hit]) -> None:
        count = page.give_verdict(request, hits, verdict)
        text = ngettext("%(count)d hit was marked.", "%(count)d hits were marked.", count)
        page.message_user(request, text % {"count": count}, messages.SUCCESS)

    mark.__name__ = f"mark_{verdict}"
    return mark


@admin.register(Hit)
class HitAdmin(RecordAdmin[Hit], LargeTable[Hit]):
    """List hits without their texts, and mark them.

    Each look at a text is in the audit.
    """

    paginator = BoundedPaginator
    list_display = ("created_at", "user", "finding", "category", "action", "direction", "verdict")
    list_display_links = None
    list_filter = ("verdict", "source", "action", OfCategory, "direction", "created_at")
    list_select_related = ("user",)
    exact = ("word_id", "generation")
    search_help_text = _("A user, or the whole id of a word or a generation.")
    fields: ClassVar[Any] = (
        *("created_at", "user", "finding", "category", "action", "direction", "hit_generation", "verdict"),
        *("reviewed_by", "reviewed_at"),
    )
    actions = (
        _marks(Verdict.HARMLESS, _("Mark as harmless")),
        _marks(Verdict.CONFIRMED, _("Mark as confirmed")),
        _marks(Verdict.OPEN, _("Mark as open again")),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Hit]:
        word = SensitiveWord.objects.filter(pk=OuterRef("word_id")).values("word")
        pattern = SensitivePattern.objects.filter(pk=OuterRef("word_id")).values("title")
        # The excerpt is a text of the user.
        rows = super().get_queryset(request).defer("excerpt")
        return rows.annotate(word=Subquery(word), pattern=Subquery(pattern))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # An address such as `?excerpt__startswith=a` would tell a text letter by letter.
        return lookup.partition("__")[0] != "excerpt" and super().lookup_allowed(lookup, value, request)

    def has_review_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.change_hit")

    def give_verdict(self, request: HttpRequest, hits: QuerySet[Hit], verdict: str) -> int:
        """Mark the newest of these hits, and return how many."""
        ids = list(hits.order_by("-pk").values_list("pk", flat=True)[:MOST_MARKED])
        values: dict[str, Any] = {"verdict": verdict, "reviewed_by": None, "reviewed_at": None}
        if verdict != Verdict.OPEN:
            values |= {"reviewed_by": request.user, "reviewed_at": timezone.now()}
        return Hit.objects.filter(pk__in=ids).update(**values)

    @admin.display(description=_("found by"))
    def finding(self, hit: Hit) -> StrOrPromise:
        if hit.source == Hit.Source.SERVICE:
            return hit.get_source_display()
        if hit.word_id == TOO_COSTLY.id:
            return _("too costly for patterns")
        is_word = hit.source == Hit.Source.WORD
        text: str | None = hit.word if is_word else hit.pattern  # type: ignore[attr-defined]
        if text is None:
            return f"{hit.get_source_display()} #{hit.word_id}"
        page = reverse(f"admin:chat_sensitive{hit.source}_change", args=[hit.word_id])
        return format_html('{} <a href="{}">{}</a>', hit.get_source_display(), page, text)

    @admin.display(description=_("generation"))
    def hit_generation(self, hit: Hit) -> str:
        number = hit.generation_id
        if number is None:
            return "–"
        page = reverse("admin:chat_generation_change", args=[number])
        return format_html('<a href="{}">{}<wbr>{}</a>', page, number[:16], number[16:])  # wider than a phone

    @admin.display(description=_("time"))
    def opened(self, hit: Hit) -> str:
        page = reverse("admin:chat_hit_context", args=[hit.pk])
        at = date_format(timezone.localtime(hit.created_at), "DATETIME_FORMAT")
        return format_html('<a href="{}" title="{}">{}</a>', page, _("Show the text"), at)

    def get_list_display(self, request: HttpRequest) -> Any:
        names = super().get_list_display(request)
        return ("opened", *names[1:]) if _may_read(request) else names

    # --- the text around a hit ---

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.context_page)
        return [path("<int:object_id>/context/", view, name="chat_hit_context"), *super().get_urls()]

    def context_page(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Show a hit with the text around it, and take the verdict about it."""
        if not (self.has_view_permission(request) and _may_read(request)):
            raise PermissionDenied
        asked = reasons.ask(self, request, f"hit {object_id}", _("Why do you read this text?"))
        if asked:
            return asked
        hit = self.get_queryset(request).select_related("user", "reviewed_by").filter(pk=object_id).first()
        if hit is None:
            raise Http404
        if request.method == "POST":
            return self._marked(request, hit)
        recording.record(request, "view_context", Hit, [hit.pk])
        return TemplateResponse(
            request,
            "admin/chat/hit/context.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": _("Text around a hit"),
                "hit": hit,
                "finding": self.finding(hit),
                "generation": self.hit_generation(hit),
                "texts": context.texts_around(hit),
                "verdicts": Verdict.choices if self.has_review_permission(request) else (),
            },
        )

    def _marked(self, request: HttpRequest, hit: Hit) -> HttpResponse:
        verdict = request.POST.get("verdict", "")
        if not self.has_review_permission(request) or verdict not in Verdict.values:
            raise PermissionDenied
        self.give_verdict(request, Hit.objects.filter(pk=hit.pk), verdict)
        recording.record(request, f"mark_{verdict}", Hit, [hit.pk])
        text = ngettext("%(count)d hit was marked.", "%(count)d hits were marked.", 1)
        self.message_user(request, text % {"count": 1}, messages.SUCCESS)
        return redirect("admin:chat_hit_changelist")


def _may_read(request: HttpRequest) -> bool:
    return request.user.has_perm("chat.view_hit_context")
