"""The chat page, server-rendered: the list of conversations, the open branch, and what its script needs to go on.

And the page of the payment example.
"""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from accounts.models import User
from chat import representation
from chat.channels import push
from chat.errors import with_text
from chat.models import Conversation, Generation, Message
from providers import access
from quotas import ledger

LISTED = 50


@require_safe
@login_required
@never_cache
@ensure_csrf_cookie
def page(request: HttpRequest, conversation_id: int | None = None) -> HttpResponse:
    """Show a conversation, or a new one."""
    user: User = request.user  # type: ignore[assignment]
    owned = Conversation.objects.owned_by(user.pk)
    listed = list(owned.filter(archived=False).order_by("-pinned", "-updated_at", "-id")[: LISTED + 1])
    conversation = owned.filter(id=conversation_id).first() if conversation_id else None
    if conversation_id and conversation is None:
        raise Http404
    branch = _branch(conversation) if conversation else []
    models, quotas = offered_models(user.pk), ledger.overview(user)
    context = {
        "conversations": [_listed(row) for row in listed[:LISTED]],
        "has_more_conversations": len(listed) > LISTED,
        "conversation": conversation
        and {"id": conversation.pk, "title": conversation.title, "system_prompt": conversation.system_prompt},
        "messages": [_shown(message) for message in branch],
        "models": models,
        "selected_model": _selected(models, branch),
        "quotas": quotas,
        "signup_open": settings.SIGNUP_MODE != "closed",
        "page_data": _for_the_script(conversation, branch, models, quotas),
    }
    return render(request, "chat.html", context)


@require_safe
@login_required
@never_cache
@ensure_csrf_cookie
def push_demo(request: HttpRequest) -> HttpResponse:
    """Wait for an order's payment, whose key is in the query; without one it is a new order."""
    given = request.GET.get("order", "")
    key = given if push.KEY.fullmatch(given) else f"order-{secrets.token_hex(5)}"
    data = {"order": key, "events": reverse("push-events", args=[key]), "pay": reverse("push-payment", args=[key])}
    return render(request, "push_demo.html", {"order": key, "page_data": data})


def offered_models(user_id: int) -> list[dict[str, Any]]:
    """Return the models a caller may use, in the order of lists; one without a quota is not offered."""
    slugs = ledger.quota_slugs()
    return [representation.model(config, slugs[config.id]) for config in access.usable(user_id) if config.id in slugs]


def _branch(conversation: Conversation) -> list[Message]:
    leaf = conversation.messages.order_by("-id").values_list("id", flat=True).first()
    return Message.objects.branch(leaf) if leaf else []


def _listed(row: Conversation) -> dict[str, Any]:
    return {"id": row.pk, "title": row.title, "pinned": row.pinned, "url": reverse("conversation", args=[row.pk])}


def _shown(row: Message) -> dict[str, Any]:
    made_by: Generation | None = getattr(row, "generation", None)
    return representation.message(row) | {
        "generation": made_by
        and {
            "id": made_by.id,
            "status": made_by.status,
            "finish_reason": made_by.finish_reason,
            "charge": made_by.charge,
            "error": with_text(made_by.error) if made_by.error else None,
        }
    }


def _selected(models: list[dict[str, Any]], branch: list[Message]) -> str:
    """Go on with the model that answered last; begin with the first that can answer."""
    offered = {model["slug"] for model in models}
    used = next((message.model for message in reversed(branch) if message.model in offered), "")
    return used or next((model["slug"] for model in models if model["available"]), "")


def _for_the_script(
    conversation: Conversation | None, branch: list[Message], models: list[dict[str, Any]], quotas: list[dict[str, Any]]
) -> dict[str, Any]:
    last: Generation | None = getattr(branch[-1], "generation", None) if branch else None
    running = last.id if last and last.status == Generation.Status.RUNNING else None
    return {
        "conversation": conversation and conversation.pk,
        "models": models,
        "quotas": quotas,
        "running": running,
        "events_url": running and reverse("generation-events", args=[running]),
        "leaf": branch[-1].pk if branch else None,
    }
