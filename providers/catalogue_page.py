"""The admin page on which an upstream's models are looked at and taken up."""

import re
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from providers import catalogue, snapshot, status_texts
from providers.models import ChatModel, Route, Upstream
from providers.wire.errors import ProviderError
from providers.wire.openai.model_list import ModelList, OfferedModel, offered

if TYPE_CHECKING:
    from django.urls import URLPattern

    Base = admin.ModelAdmin[Upstream]
else:
    Base = object


class CataloguePage(Base):
    """Adds `<id>/models/` to the pages of upstreams."""

    def get_urls(self) -> "list[URLPattern]":
        view = self.admin_site.admin_view(self.models_page)
        return [path("<int:pk>/models/", view, name="providers_upstream_models"), *super().get_urls()]

    def models_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what the upstream offers (GET, asks it now), or take up what was chosen (POST)."""
        upstream = get_object_or_404(Upstream, pk=pk)
        if not self.has_change_permission(request, upstream):
            raise PermissionDenied
        if request.method == "POST":
            return self._take_up(request, upstream)
        listing, failure = _ask(upstream)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Models of %(upstream)s") % {"upstream": upstream},
            "opts": self.opts,
            "upstream": upstream,
            "asked": upstream.kind not in catalogue.KNOWN,
            "entries": catalogue.entries(upstream, listing.models),
            "complete": listing.complete,
            "failure": failure,
            "may_add": _may_add(request),
            "fixed_path": upstream.kind == Upstream.Kind.SPARK
            and "/" in upstream.base_url.partition("//")[2].rstrip("/"),
        }
        return TemplateResponse(request, "admin/providers/upstream/models.html", context)

    def _take_up(self, request: HttpRequest, upstream: Upstream) -> HttpResponse:
        if not _may_add(request):
            raise PermissionDenied
        done = catalogue.add(upstream, _chosen(request))
        if not done:
            self.message_user(request, _("Nothing was chosen."), messages.WARNING)
            return redirect(request.path)
        text = ngettext(
            "%(count)d model was taken up: %(slugs)s", "%(count)d models were taken up: %(slugs)s", len(done)
        )
        slugs = ", ".join(entry.slug for entry in done)
        self.message_user(request, text % {"count": len(done), "slugs": slugs}, messages.SUCCESS)
        self.message_user(
            request, _("Which quota new models count against can be changed under Quotas."), messages.INFO
        )
        return redirect(f"{reverse('admin:providers_chatmodel_changelist')}?routes__upstream__id__exact={upstream.pk}")


def _ask(upstream: Upstream) -> tuple[ModelList, str]:
    """Return what the upstream offers, and in words why it did not say so."""
    try:
        return async_to_sync(catalogue.fetch)(snapshot.upstream_now(upstream.pk)), ""
    except ProviderError as error:
        return ModelList(()), status_texts.told(error)


def _chosen(request: HttpRequest) -> list[OfferedModel]:
    """Read the boxes that were ticked: `<context tokens or 0>:<name>`."""
    rows: list[dict[str, Any]] = []
    for value in request.POST.getlist("model"):
        size, _colon, name = value.partition(":")
        rows.append({"id": name, "context_length": int(size) if re.fullmatch("[0-9]{1,10}", size) else None})
    return list(offered(rows))


def _may_add(request: HttpRequest) -> bool:
    return request.user.has_perms([f"providers.add_{model._meta.model_name}" for model in (ChatModel, Route)])
