"""Texts of privacy and terms of use, which the operator writes in the admin."""

from collections.abc import Collection

from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe
from django_stubs_ext import StrOrPromise

from accounts.apps import accounts

# Seconds between two looks for texts, so that all processes link to a new one.
SECONDS = 5.0
TEXT_CHARS = 100_000


class PageText(models.Model):
    """The text of one page, in both languages.

    Without a text in a language its readers get the other one.
    """

    class Kind(models.TextChoices):
        PRIVACY = "privacy", _("Privacy")
        TERMS = "terms", _("Terms of use")

    kind = models.CharField(_("page"), max_length=10, choices=Kind.choices, unique=True)
    text_zh = models.TextField(_("text in Chinese"), blank=True, max_length=TEXT_CHARS)
    text_en = models.TextField(_("text in English"), blank=True, max_length=TEXT_CHARS)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("text of a page")
        verbose_name_plural = _("texts of pages")

    def __str__(self) -> str:
        return self.get_kind_display()

    def save(self, *args: object, **kwargs: object) -> None:
        super().save(*args, **kwargs)  # type: ignore[arg-type]
        transaction.on_commit(accounts().page_texts.current)

    @property
    def text(self) -> str:
        """The text in the reader's language, else in the other one."""
        both = (self.text_zh, self.text_en)
        first, second = both if (get_language() or "").startswith("zh") else reversed(both)
        return first or second


def kinds() -> Collection[str]:
    """Return the pages that have a text."""
    return frozenset(PageText.objects.exclude(text_zh="", text_en="").values_list("kind", flat=True))


def links() -> list[tuple[StrOrPromise, str]]:
    """Return title and address of each page that has a text.

    From memory, because they are in the foot of all pages, and also pages about a database that is away have a foot.
    """
    there = accounts().page_texts.last() or ()
    return [(kind.label, reverse(f"text-{kind.value}")) for kind in PageText.Kind if kind.value in there]


@require_safe
def page(request: HttpRequest, kind: str) -> HttpResponse:
    """Show a text to any visitor."""
    row = PageText.objects.filter(kind=kind).first()
    if row is None or not row.text:
        raise Http404
    return render(request, "page_text.html", {"row": row})
