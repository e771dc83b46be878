"""The account page of sessions; programs use `/api/me/sessions/`."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import sessions
from accounts.models import User


@require_safe
@login_required
@never_cache
def session_list(request: HttpRequest) -> HttpResponse:
    """Show where the user is logged in."""
    user: User = request.user  # type: ignore[assignment]
    shown = [
        {
            "row": row,
            "device": sessions.device(row.user_agent),
            "current": row.session_key == request.session.session_key,
        }
        for row in sessions.listed(user)
    ]
    return render(request, "account/sessions.html", {"sessions": shown})


@require_POST
@login_required
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """End one session of the user. Repeating is safe."""
    sessions.end(request.user, session_id)  # type: ignore[arg-type]
    return redirect("account_sessions")


@require_POST
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """End all sessions but this one. Repeating is safe."""
    sessions.end_all(request.user, request.session.session_key)  # type: ignore[arg-type]
    return redirect("account_sessions")
