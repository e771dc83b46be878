"""REST views of the sessions and the security log of an account."""

from typing import cast

from allauth.usersessions.models import UserSession
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import schemas, security_events, security_log, sessions
from accounts.auth import Caller
from accounts.devices import device
from accounts.security_events import SecurityEvent
from web.openapi import Operation
from web.refusals import NotFound


class Sessions(APIView):
    @Operation(
        "Accounts",
        "The caller's sessions in browsers, the last seen first",
        "`last_seen_at` is at most about a minute old. Logins of apps (JWT) are no sessions.",
        returns=list[schemas.Session],
    )
    def get(self, request: Request) -> Response:
        key = request._request.session.session_key if _caller(request).via == "session" else None
        return Response([_session(row, key) for row in sessions.listed(_caller(request).user)])


def _session(row: UserSession, current_key: str | None) -> schemas.Session:
    return schemas.Session(
        id=row.pk,
        device=device(row.user_agent),
        address=row.ip,
        created_at=timezone.localtime(row.created_at).isoformat(),
        last_seen_at=timezone.localtime(row.last_seen_at).isoformat(),
        current=row.session_key == current_key,
    )


class OneSession(APIView):
    @Operation("Accounts", "End a session", returns={204: None})
    def delete(self, request: Request, session_id: int) -> Response:
        if not sessions.end(_caller(request).user, session_id):
            raise NotFound
        security_log.note(request._request, _caller(request).user, SecurityEvent.Kind.SESSION_ENDED)
        return Response(status=204)


class SecurityLog(APIView):
    @Operation(
        "Accounts",
        "The security log of the caller's account, the newest first",
        "Logins, failed logins, and changes of what gives access. It keeps 50 failed logins and 150 other events;"
        " an event that happens again within an hour is counted in `times`. `detail` is the name of a token, an address"
        " or the kind of a factor.",
        returns=list[schemas.SecurityEvent],
    )
    def get(self, request: Request) -> Response:
        return Response([_event(row) for row in security_events.of(_caller(request).user.pk)])


def _event(row: SecurityEvent) -> schemas.SecurityEvent:
    return schemas.SecurityEvent(
        id=row.pk,
        kind=row.kind,
        at=timezone.localtime(row.at).isoformat(),
        address=row.address,
        device=row.device,
        detail=row.detail,
        times=row.times,
    )


def _caller(request: Request) -> Caller:
    return cast("Caller", request.auth)
