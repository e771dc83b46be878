"""The account pages of sessions and of the security log; programs use `security_api`."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import security_events, security_log, sessions
from accounts.devices import device
from accounts.models import User
from accounts.security_events import SecurityEvent

Kind = SecurityEvent.Kind


@require_safe
@login_required
@never_cache
def session_list(request: HttpRequest) -> HttpResponse:
    """Show where the user is logged in."""
    user: User = request.user  # type: ignore[assignment]
    shown = [
        {
            "row": row,
            "device": device(row.user_agent),
            "current": row.session_key == request.session.session_key,
        }
        for row in sessions.listed(user)
    ]
    return render(request, "account/sessions.html", {"sessions": shown})


@require_safe
@login_required
@never_cache
def security_page(request: HttpRequest) -> HttpResponse:
    """Show the security log of the user's account."""
    user: User = request.user  # type: ignore[assignment]
    return render(request, "account/security.html", {"events": security_events.of(user.pk)})


@require_POST
@login_required
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """End one session of the user. Repeating is safe."""
    if sessions.end(request.user, session_id):  # type: ignore[arg-type]
        security_log.note(request, request.user, Kind.SESSION_ENDED)  # type: ignore[arg-type]
    return redirect("account_sessions")


@require_POST
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """End all sessions but this one. Repeating is safe."""
    sessions.end_all(request.user, request.session.session_key)  # type: ignore[arg-type]
    security_log.note(request, request.user, Kind.SESSION_ENDED)  # type: ignore[arg-type]
    return redirect("account_sessions")
