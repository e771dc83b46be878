"""The admin page that lists an upstream's models and adds the chosen ones."""

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

from providers import catalogue, registry, snapshot, status_texts
from providers.apps import providers_app
from providers.models import ChatModel, Route, Upstream
from providers.wire.base import ModelList, OfferedModel
from providers.wire.errors import ProviderError
from providers.wire.openai.model_list import offered

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
        """List what the upstream offers (GET asks it now), or add the chosen models (POST)."""
        upstream = get_object_or_404(Upstream, pk=pk)
        if not self.has_change_permission(request, upstream):
            raise PermissionDenied
        if request.method == "POST":
            return self._add(request, upstream)
        listing, failure = _ask(upstream)
        adapter = registry.ADAPTERS[upstream.kind]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Models of %(upstream)s") % {"upstream": upstream},
            "opts": self.opts,
            "upstream": upstream,
            "asked": not adapter.known_models,
            "entries": catalogue.entries(upstream, listing.models),
            "complete": listing.complete,
            "failure": failure,
            "may_add": _may_add(request),
            "fixed_path": adapter.path_per_model and "/" in upstream.base_url.partition("//")[2].rstrip("/"),
        }
        return TemplateResponse(request, "admin/providers/upstream/models.html", context)

    def _add(self, request: HttpRequest, upstream: Upstream) -> HttpResponse:
        if not _may_add(request):
            raise PermissionDenied
        added = providers_app().catalogue.add(upstream, _chosen(request))
        if not added:
            self.message_user(request, _("Nothing was chosen."), messages.WARNING)
            return redirect(request.path)
        text = ngettext("%(count)d model was added: %(slugs)s", "%(count)d models were added: %(slugs)s", len(added))
        slugs = ", ".join(entry.slug for entry in added)
        self.message_user(request, text % {"count": len(added), "slugs": slugs}, messages.SUCCESS)
        self.message_user(request, _("The quotas of new models can be changed under Quotas."), messages.INFO)
        return redirect(f"{reverse('admin:providers_chatmodel_changelist')}?routes__upstream__id__exact={upstream.pk}")


def _ask(upstream: Upstream) -> tuple[ModelList, str]:
    """Return what the upstream offers, and why that is unknown."""
    try:
        return async_to_sync(providers_app().catalogue.fetch)(snapshot.upstream_now(upstream.pk)), ""
    except ProviderError as error:
        return ModelList(()), status_texts.failure_text(error)


def _chosen(request: HttpRequest) -> list[OfferedModel]:
    """Return the ticked models; each box holds `<context tokens or 0>:<name>`."""
    rows: list[dict[str, Any]] = []
    for value in request.POST.getlist("model"):
        size, _colon, name = value.partition(":")
        rows.append({"id": name, "context_length": int(size) if re.fullmatch("[0-9]{1,10}", size) else None})
    return list(offered(rows))


def _may_add(request: HttpRequest) -> bool:
    return request.user.has_perms([f"providers.add_{model._meta.model_name}" for model in (ChatModel, Route)])
