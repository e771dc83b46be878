"""All routes. `stream_urlpatterns` go to the lean handler of `asgi.py`, in development and in tests too."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from chat import api, pages, views, words_api
from quotas.api import Quotas
from runtime import health, refusals

Routes = list[URLPattern | URLResolver]

stream_urlpatterns: Routes = [
    path("api/chat/", views.chat, name="chat"),
    path("api/generations/<str:generation_id>/", views.one_generation, name="generation"),
    path("api/generations/<str:generation_id>/events/", views.events, name="generation-events"),
    path("api/generations/<str:generation_id>/stop/", views.stop, name="generation-stop"),
    path("api/messages/<int:message_id>/regenerate/", views.regenerate, name="regenerate"),
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
    path("api/conversations/", api.Conversations.as_view(), name="conversations"),
    path("api/conversations/<int:conversation_id>/", api.OneConversation.as_view()),
    path("api/conversations/<int:conversation_id>/messages/", api.Messages.as_view()),
    path("api/admin/sensitive-words/", words_api.Words.as_view()),
    path("api/admin/sensitive-words/import/", words_api.ImportWords.as_view()),
    path("api/admin/sensitive-words/<int:pk>/", words_api.OneWord.as_view()),
    path("api/admin/allowed-phrases/", words_api.Phrases.as_view()),
    path("api/admin/allowed-phrases/<int:pk>/", words_api.OnePhrase.as_view()),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]

handler400 = refusals.bad_request
handler403 = refusals.permission_denied
handler404 = refusals.page_not_found
handler429 = refusals.too_many_requests  # allauth looks it up here
handler500 = refusals.server_error
