"""All routes. `stream_urlpatterns` go to the lean handler of `asgi.py`, in development and in tests too."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from chat import api, pages, transfer_api, views
from quotas.api import Quotas
from runtime import health, refusals

Routes = list[URLPattern | URLResolver]

stream_urlpatterns: Routes = [
    path("api/chat/", views.chat, name="chat"),
    path("api/generations/<str:generation_id>/", views.one_generation, name="generation"),
    path("api/generations/<str:generation_id>/events/", views.events, name="generation-events"),
    path("api/generations/<str:generation_id>/stop/", views.stop, name="generation-stop"),
    path("api/messages/<int:message_id>/regenerate/", views.regenerate, name="regenerate"),
    path("api/conversations/<int:conversation_id>/export/", transfer_api.export_one),
    path("api/export/", transfer_api.export_all),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]

urlpatterns: Routes = [
    *stream_urlpatterns,
    path("", pages.page, name="chat-page"),
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}chat/favicon.svg")),
    path("c/<int:conversation_id>/", pages.page, name="conversation"),
    path("api/", include("accounts.urls")),
    path("api/quotas/", Quotas.as_view()),
    path("api/models/", api.Models.as_view()),
    path("api/text-tools/", api.TextTools.as_view()),
    path("api/import/", transfer_api.Import.as_view(), name="import"),
    path("api/conversations/", api.Conversations.as_view(), name="conversations"),
    path("api/conversations/<int:conversation_id>/", api.OneConversation.as_view()),
    path("api/conversations/<int:conversation_id>/messages/", api.Messages.as_view()),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]

handler400 = refusals.bad_request
handler403 = refusals.permission_denied
handler404 = refusals.page_not_found
handler429 = refusals.too_many_requests  # allauth looks it up here
handler500 = refusals.server_error
