"""REST views of accounts: registration, tokens, tickets, the user's profile, invitations and redeem codes.

The rules are in `signup`, `jwt`, `tickets`, `auth`, `invites` and `redeem`.
"""

from datetime import datetime
from typing import cast

from allauth.core.context import request_context
from django.conf import settings
from django.contrib.auth.models import update_last_login
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import (
    deletion,
    invites,
    jwt,
    recent_login,
    redeem,
    schemas,
    second_factor,
    security_log,
    signup,
    terms,
    tickets,
)
from accounts.auth import Caller
from accounts.models import TERMS_VERSION_CHARS, ApiToken, User
from accounts.security_events import SecurityEvent
from accounts.token_limits import checked_models, with_use
from quotas import invitations, ledger
from quotas.models import Invitation
from quotas.redeem_codes import MOST_TYPED
from web.bodies import DateTimeField, StrictSerializer
from web.openapi import Operation
from web.refusals import InvalidRequest, NotFound


class RegisterBody(StrictSerializer):
    username = serializers.CharField(max_length=150)
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    invite_code = serializers.CharField(required=False, allow_blank=True, allow_null=True, default="", max_length=100)
    terms_version = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, max_length=TERMS_VERSION_CHARS
    )
    old_enough = serializers.BooleanField(required=False, default=False)


class TermsBody(StrictSerializer):
    version = serializers.CharField(max_length=TERMS_VERSION_CHARS)


class LoginBody(StrictSerializer):
    username = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=4096, trim_whitespace=False)
    code = serializers.CharField(required=False, allow_blank=True, default="", max_length=32)


class DeletionBody(StrictSerializer):
    password = serializers.CharField(
        max_length=4096, trim_whitespace=False, required=False, allow_blank=True, default=""
    )


class RefreshBody(StrictSerializer):
    refresh = serializers.CharField(max_length=4096)


class TokenBody(StrictSerializer):
    name = serializers.CharField(max_length=100)
    expires_at = DateTimeField(required=False, allow_null=True)
    models = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, allow_null=True, allow_empty=False, max_length=500
    )
    daily_limit = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    requests_per_minute = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=100_000)

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        if moment and moment <= timezone.now():
            raise serializers.ValidationError(_("This time has passed."))
        return moment


class TicketBody(StrictSerializer):
    path = serializers.RegexField(r"^/(?!/)", max_length=2000)


class RedeemBody(StrictSerializer):
    code = serializers.CharField(max_length=MOST_TYPED)


class TokenRow(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = (
            *("id", "name", "created_at", "last_used_at", "expires_at", "models", "daily_limit"),
            *("requests_per_minute", "used_today"),
        )

    models = serializers.JSONField(source="allowed_models")
    used_today = serializers.IntegerField(read_only=True, default=0)


_REFRESH = {"refresh": "eyJ…"}


class OpenView(APIView):
    """A view for anonymous clients. It ignores cookies, so it needs no CSRF check."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class Register(OpenView):
    @Operation(
        "Accounts",
        "Create an account",
        body=RegisterBody,
        example={"username": "alice", "email": "alice@example.org", "password": "a long passphrase"},
        returns={201: schemas.Registered},
        refuses=(403, 429),
        proof="open",
    )
    def post(self, request: Request) -> Response:
        with request_context(request._request):
            user = signup.register(request._request, **RegisterBody.of(request))
        account = schemas.Account(id=user.pk, username=user.username, email=user.shown_email)
        return Response(schemas.Registered(user=account, **jwt.issue(user)), status=201)


class ObtainToken(OpenView):
    @Operation(
        "Accounts",
        "Log in with a name or an e-mail address, and a password",
        "An account with a second factor also needs a `code` of its authenticator app, or a recovery code; without one"
        " the refusal is `reauthentication_required`.",
        body=LoginBody,
        example={"username": "alice", "password": "a long passphrase"},
        returns=schemas.Tokens,
        refuses=(401, 403, 429),
        proof="open",
    )
    def post(self, request: Request) -> Response:
        with request_context(request._request):
            body = LoginBody.of(request)
            user = signup.login(request._request, body["username"], body["password"])
        second_factor.check_code(request._request, user, body["code"])
        update_last_login(None, user)  # type: ignore[arg-type]
        security_log.log_token_login(request._request, user)
        return Response(jwt.issue(user))


class RefreshToken(OpenView):
    @Operation(
        "Accounts",
        "Exchange a refresh token for new tokens",
        "A refresh token works once. A second use ends all tokens that descend from the same login.",
        body=RefreshBody,
        example=_REFRESH,
        returns=schemas.Tokens,
        refuses=(401,),
        proof="open",
    )
    def post(self, request: Request) -> Response:
        return Response(jwt.rotate(**RefreshBody.of(request)))


class RevokeToken(OpenView):
    @Operation(
        "Accounts",
        "Revoke a refresh token",
        body=RefreshBody,
        example=_REFRESH,
        returns={204: None},
        refuses=(401,),
        proof="open",
    )
    def post(self, request: Request) -> Response:
        jwt.revoke(**RefreshBody.of(request))
        return Response(status=204)


class Me(APIView):
    @Operation("Accounts", "The caller's account and quotas", returns=schemas.Me)
    def get(self, request: Request) -> Response:
        user = _caller(request).user
        return Response(
            schemas.Me(
                id=user.pk,
                username=user.username,
                email=user.shown_email,
                invite_code=user.invite_code,
                invite_url=invites.link(request._request, user),
                quotas=ledger.overview(user),
            )
        )

    @Operation(
        "Accounts",
        "Delete the caller's account with everything in it, within a minute",
        "Needs the password. An account without one needs a login of the last ten minutes instead. The last superuser"
        " cannot be deleted.",
        body=schemas.AccountDeletion,
        example={"password": "a long passphrase"},
        returns={204: None},
        refuses=(403, 429),
    )
    def delete(self, request: Request) -> Response:
        caller, password = _caller(request), DeletionBody.of(request)["password"]
        user = User.objects.get(pk=caller.user.pk)
        if user.has_usable_password() and not password:
            raise InvalidRequest(details={"password": [_("This field is required.")]})
        is_recent = recent_login.login_is_recent(request._request, caller)
        recent_login.confirm(request._request, user, password, is_recent=is_recent)
        deletion.request(user)
        return Response(status=204)


class Terms(APIView):
    @Operation("Accounts", "The terms of use, and whether the caller has accepted them", returns=schemas.Terms)
    def get(self, request: Request) -> Response:
        return Response(_terms(_caller(request).user))

    @Operation(
        "Accounts",
        "Accept a version of the terms of use",
        "Only the current version can be accepted. Until then prompts are refused with `terms_required`.",
        body=TermsBody,
        example={"version": "2026-11"},
        returns=schemas.Terms,
    )
    def post(self, request: Request) -> Response:
        user = User.objects.get(pk=_caller(request).user.pk)
        terms.accept(user, TermsBody.of(request)["version"])
        return Response(_terms(user))


def _terms(user: User) -> schemas.Terms:
    version, url = settings.TERMS_VERSION or None, settings.TERMS_URL or None
    return schemas.Terms(version=version, url=url, accepted=terms.are_accepted(user))


class ApiTokens(APIView):
    @Operation("Accounts", "The caller's API tokens", returns=list[schemas.ApiToken])
    def get(self, request: Request) -> Response:
        return Response(TokenRow(with_use(_caller(request).user.api_tokens.order_by("pk")), many=True).data)

    @Operation(
        "Accounts",
        "Create an API token",
        "Its secret is in this response only. The caller's login must not be older than ten minutes, otherwise the"
        " refusal is `reauthentication_required`; a JWT keeps the time of its login when it is refreshed.",
        body=TokenBody,
        example={"name": "laptop"},
        returns={201: schemas.NewApiToken},
        refuses=(403, 409),
    )
    def post(self, request: Request) -> Response:
        body = TokenBody.of(request)
        models = body.pop("models", None)
        body["allowed_models"] = None if models is None else checked_models(_caller(request).user, models)
        recent_login.require(request._request, _caller(request))
        token, secret = ApiToken.issue(_caller(request).user, **body)
        security_log.note(request._request, _caller(request).user, SecurityEvent.Kind.TOKEN_CREATED, token.name)
        return Response({**TokenRow(token).data, "token": secret}, status=201)


class OneApiToken(APIView):
    @Operation("Accounts", "Delete an API token", returns={204: None})
    def delete(self, request: Request, token_id: int) -> Response:
        user = _caller(request).user
        token = user.api_tokens.filter(pk=token_id).first()
        if token is None or not token.delete()[0]:
            raise NotFound
        security_log.note(request._request, user, SecurityEvent.Kind.TOKEN_DELETED, token.name)
        return Response(status=204)


class Tickets(APIView):
    @Operation(
        "Accounts",
        "Create a ticket for one GET of one event stream, within 30 seconds",
        body=TicketBody,
        example={"path": "/api/chat/"},
        returns={201: schemas.Ticket},
        refuses=(429,),
    )
    def post(self, request: Request) -> Response:
        caller = _caller(request)
        token_id = caller.token.id if caller.token else None
        ticket = tickets.issue(caller.user, TicketBody.of(request)["path"], token_id)
        return Response(schemas.Ticket(ticket=ticket, expires_in=tickets.LIFETIME_SECONDS), status=201)


class Invitations(APIView):
    @Operation("Accounts", "The users whom the caller invited", returns=schemas.Invitations)
    def get(self, request: Request) -> Response:
        user = _caller(request).user
        invited = [
            schemas.InvitedUser(
                username=row.invited.get_username() if row.invited else "",
                joined_at=timezone.localtime(row.joined_at).isoformat(),
                credited=row.status == Invitation.Status.CREDITED,
            )
            for row in invitations.of(user.pk)
        ]
        sums, link = invitations.sums(user.pk), invites.link(request._request, user)
        return Response(
            schemas.Invitations(
                code=user.invite_code, url=link, invited=invited, pending=sums["pending"], earned=sums["earned"]
            )
        )


class Redeem(APIView):
    @Operation(
        "Accounts",
        "Redeem a code",
        body=RedeemBody,
        example={"code": "7k3mq-8wxyp-0d2vn-5htrz"},
        returns=schemas.Redeemed,
        refuses=(429,),
    )
    def post(self, request: Request) -> Response:
        code = redeem.redeem(request._request, _caller(request).user, RedeemBody.of(request)["code"])
        return Response(schemas.Redeemed(quota=code.quota.slug, credits=code.credits))


def _caller(request: Request) -> Caller:
    return cast("Caller", request.auth)
