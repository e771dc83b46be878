"""All routes. The lean handler of `asgi.py` serves `stream_urlpatterns`, Django's handler the rest."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, register_converter

from accounts import guest_pages, oidc, page_texts, terms
from accounts.connect_page import connect
from accounts.deletion_page import delete_account
from accounts.pages import invitation_page, signup
from accounts.sessions_page import end_other_sessions, end_session, security_page, session_list
from accounts.staff import Users
from accounts.token_page import delete_token, tokens
from chat import pages, views
from chat.announcements.api import AnnouncementRows, Announcements
from chat.attachments import views as attachments
from chat.channels import views as push_views
from chat.conversations import api, deletions, listing, transfer_api
from chat.openai import classic, embeddings, messages, responses
from chat.openai import views as openai_api
from chat.presets import api as presets_api
from chat.screening import api as words_api
from chat.sharing import api as shares
from chat.sharing import page as share_page
from chat.stats import dashboard, usage, usage_api
from chatproject.openapi.pages import Docs, Document
from providers.api import Keys, Upstreams
from quotas.api import Ledger, Quotas
from quotas.models_api import ChatModels
from quotas.staff import Credits, RedeemCodes
from quotas.staff import Quotas as QuotaRows
from web import app_shell, brand, diagram_frame, health, refusals, staff

register_converter(push_views.KeyConverter, "key")

Routes = list[URLPattern | URLResolver]

stream_urlpatterns: Routes = [
    path("api/chat/", views.chat, name="chat"),
    path("api/attachments/", attachments.attachments, name="attachments"),
    path("api/attachments/<int:attachment_id>/", attachments.one_attachment),
    path("api/attachments/<int:attachment_id>/content/", attachments.content, name="attachment-content"),
    path("api/generations/<str:generation_id>/", views.one_generation, name="generation"),
    path("api/generations/<str:generation_id>/events/", views.events, name="generation-events"),
    path("api/generations/<str:generation_id>/stop/", views.stop, name="generation-stop"),
    path("api/messages/<int:message_id>/regenerate/", views.regenerate, name="regenerate"),
    path("api/messages/<int:message_id>/continue/", views.go_on, name="continue"),
    path("api/chatgpt/test", classic.test, name="classic"),
    path("v1/chat/completions", openai_api.completions),
    path("v1/responses", responses.responses),
    path("v1/messages", messages.messages),
    path("v1/messages/count_tokens", messages.token_count),
    path("v1/embeddings", embeddings.embeddings),
    path("v1/models", openai_api.models),
    path("v1/models/<path:model_id>", openai_api.one_model),
    path("v1", openai_api.unknown),
    path("v1/", openai_api.unknown),
    path("v1/<path:rest>", openai_api.unknown),
    path("api/conversations/", listing.conversations, name="conversations"),
    path("api/conversations/<int:conversation_id>/export/", transfer_api.export_one),
    path("api/export/", transfer_api.export_all),
    path("sse/<key:key>/", push_views.events, name="push-events"),
    path("sse/<key:key>", push_views.events),
    path("sse/message/<key:key>/", push_views.play_payment, name="push-payment"),
    path("api/channels/<key:key>/messages/", push_views.message),
    path("api/channels/<key:key>/complete/", push_views.complete),
    path("api/channels/<key:key>/error/", push_views.error),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]

urlpatterns: Routes = [
    *stream_urlpatterns,
    path("", pages.page, name="chat-page"),
    path("favicon.ico", app_shell.favicon),
    path("brand/logo/<slug:digest>/", brand.logo, name="brand-logo"),
    path("brand/icon/<slug:digest>/<int:size>.png", brand.icon, name="brand-icon"),
    path("brand/colours/<slug:name>/<slug:digest>.css", brand.colours, name="brand-colours"),
    path("manifest.webmanifest", app_shell.manifest, name="manifest"),
    path("service-worker.js", app_shell.service_worker, name="service-worker"),
    path("diagram/", diagram_frame.page, name="diagram"),
    path("privacy/", page_texts.page, {"kind": "privacy"}, name="text-privacy"),
    path("terms/", page_texts.page, {"kind": "terms"}, name="text-terms"),
    path("offline/", app_shell.offline, name="offline"),
    path("c/<int:conversation_id>/", pages.page, name="conversation"),
    path("tools/", pages.tools, name="tools"),
    path("push-demo/", pages.push_demo, name="push-demo"),
    path("usage/", usage.page, name="usage"),
    path("invite/", invitation_page, name="invitations"),
    path("api/presets/", presets_api.Presets.as_view()),
    path("api/presets/<int:preset_id>/", presets_api.OnePreset.as_view()),
    path("api/me/instructions/", presets_api.Instructions.as_view()),
    path("api/", include("accounts.urls")),
    path("api/schema/", Document.as_view(), name="schema"),
    path("api/docs/", Docs.as_view(), name="api-docs"),
    path("api/quotas/", Quotas.as_view()),
    path("api/quotas/ledger/", Ledger.as_view()),
    path("api/quotas/usage/", usage_api.Usage.as_view()),
    path("api/announcements/", Announcements.as_view()),
    path("api/models/", api.Models.as_view()),
    path("api/text-tools/", api.TextTools.as_view()),
    path("api/import/", transfer_api.Import.as_view(), name="import"),
    path("api/conversations/<int:conversation_id>/share/", shares.ShareConversation.as_view()),
    path("api/shares/", shares.Shares.as_view()),
    path("api/shares/<int:share_id>/", shares.OneShare.as_view()),
    path("s/<str:token>/", share_page.page, name="shared"),
    path("accounts/data/shares/<int:share_id>/revoke/", share_page.revoke, name="account_revoke_share"),
    path("api/messages/<int:message_id>/", deletions.OneMessage.as_view()),
    path("api/conversations/<int:conversation_id>/", api.OneConversation.as_view()),
    path("api/conversations/<int:conversation_id>/messages/", api.Messages.as_view()),
    *staff.routes("api/admin/upstreams/", Upstreams),
    *staff.routes("api/admin/keys/", Keys),
    *staff.routes("api/admin/models/", ChatModels),
    *staff.routes("api/admin/quotas/", QuotaRows),
    *staff.routes("api/admin/redeem-codes/", RedeemCodes),
    path("api/admin/credits/", Credits.as_view({"get": "list", "post": "create"})),
    path("api/admin/credits/<int:pk>/", Credits.as_view({"get": "retrieve"})),
    *staff.routes("api/admin/users/", Users),
    *staff.routes("api/admin/announcements/", AnnouncementRows),
    path("accounts/tokens/", tokens, name="account_tokens"),
    path("accounts/connect/", connect, name="account_connect"),
    path("accounts/data/", pages.data, name="account_data"),
    path("accounts/security/", security_page, name="account_security"),
    path("accounts/sessions/", session_list, name="account_sessions"),
    path("accounts/sessions/end-others/", end_other_sessions, name="account_end_other_sessions"),
    path("accounts/sessions/<int:session_id>/end/", end_session, name="account_end_session"),
    path("accounts/terms/", terms.page, name="account_terms"),
    path("accounts/delete/", delete_account, name="account_delete"),
    path("accounts/tokens/<int:token_id>/delete/", delete_token, name="account_delete_token"),
    path("api/admin/sensitive-words/import/", words_api.ImportWords.as_view()),
    *staff.routes("api/admin/sensitive-words/", words_api.Words),
    *staff.routes("api/admin/sensitive-patterns/", words_api.Patterns),
    *staff.routes("api/admin/allowed-phrases/", words_api.Phrases),
    *staff.routes("api/admin/refusal-texts/", words_api.RefusalTexts),
    path("accounts/guest/", guest_pages.begin, name="guest"),
    path("accounts/keep/", guest_pages.keep, name="guest_keep"),
    path("accounts/signup/", signup, name="account_signup"),
    path("accounts/oidc/<str:provider_id>/login/", oidc.login),
    path("accounts/", include("allauth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/dashboard/", admin.site.admin_view(dashboard.page), name="dashboard"),
    path("admin/", admin.site.admin_view(dashboard.index)),
    path("admin/", admin.site.urls),
]

handler400 = refusals.bad_request
handler403 = refusals.permission_denied
handler404 = refusals.page_not_found
handler429 = refusals.too_many_requests  # allauth looks it up here
handler500 = refusals.server_error
