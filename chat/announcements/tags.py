"""The template tag that shows announcements at the top of a page."""

from typing import Any

from django import template
from django.http import HttpRequest

from chat.apps import chat

register = template.Library()

# The cookie with the keys of those that this browser has closed, separated by dots (frontend/src/announcements.js).
COOKIE = "closed_announcements"


@register.inclusion_tag("announcements.html", takes_context=True)
def announcements(context: dict[str, Any]) -> dict[str, Any]:
    """Show what the user is to see and has not closed."""
    request: HttpRequest = context["request"]
    user_id = request.user.pk if request.user.is_authenticated else None
    closed = request.COOKIES.get(COOKIE, "").split(".")
    return {"shown": [one for one in chat().announcements.for_user(user_id) if one.key not in closed]}
