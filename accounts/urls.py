"""Routes of accounts below /api/: registration, tokens, profile, invitations and redeem codes."""

from django.urls import path

from accounts import api, security_api

urlpatterns = [
    path("auth/register/", api.Register.as_view(), name="register"),
    path("auth/token/", api.ObtainToken.as_view(), name="token"),
    path("auth/token/refresh/", api.RefreshToken.as_view(), name="token-refresh"),
    path("auth/token/revoke/", api.RevokeToken.as_view(), name="token-revoke"),
    path("me/", api.Me.as_view(), name="me"),
    path("me/terms/", api.Terms.as_view()),
    path("me/sessions/", security_api.Sessions.as_view()),
    path("me/sessions/<int:session_id>/", security_api.OneSession.as_view()),
    path("me/security/", security_api.SecurityLog.as_view()),
    path("tokens/", api.ApiTokens.as_view(), name="api-tokens"),
    path("tokens/<int:token_id>/", api.OneApiToken.as_view(), name="api-token"),
    path("tickets/", api.Tickets.as_view(), name="tickets"),
    path("invitations/", api.Invitations.as_view()),
    path("redeem/", api.Redeem.as_view()),
]
