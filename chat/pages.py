"""Serve the pages for chat, text tools, exports and imports, and the payment example."""

import secrets
from collections.abc import Callable, Set
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe

from accounts import guests, terms
from accounts.models import User
from chat import representation, text_tools
from chat.channels import push
from chat.conversations import branches, days
from chat.errors import refusal_text, with_text
from chat.models import Channel, Conversation, Generation, Message, StorageUse
from chat.presets.api import may_share
from chat.sharing import api as shares
from chat.sources import CitedSource
from providers.apps import providers_app
from quotas import ledger
from web.own_hosts import host_of, own_hosts

MIB = 2**20
# Conversations in the list of the page.
LISTED = 50


def _page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Require a login, and set the cookie that the page's script needs to write."""
    return require_safe(login_required(never_cache(ensure_csrf_cookie(view))))


def _asking(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show first that the account waits for approval, or the terms of use."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.awaits_approval:  # type: ignore[union-attr]
            return render(request, "account/approval.html")
        if terms.are_accepted(request.user):  # type: ignore[arg-type]
            return view(request, *args, **kwargs)
        return redirect(f"{reverse('account_terms')}?{urlencode({'next': request.get_full_path()})}")

    return guarded


@_page
@_asking
def page(request: HttpRequest, conversation_id: int | None = None) -> HttpResponse:
    """Show a conversation, or a new one; `?message=` chooses the branch through that message."""
    user: User = request.user  # type: ignore[assignment]
    unarchived = Conversation.objects.listed_for(user.pk).filter(archived=False)
    listed = list(unarchived.order_by("-pinned", "-updated_at", "-id")[: LISTED + 1])
    owned = Conversation.objects.owned_by(user.pk)
    conversation = owned.filter(id=conversation_id).first() if conversation_id else None
    if conversation_id and conversation is None:
        raise Http404
    own = own_hosts(request)
    through = _through(request)
    branch, versions = branches.shown(conversation, through) if conversation else ([], {})
    for_the_script = _for_the_script(conversation, branch) | {
        "beside": branches.beside(branch, versions, through),
        "guest": guests.allowance(request, user),
    }
    context = {
        # Links are not open to guests.
        "share_mode": "off" if user.is_guest else settings.SHARE_MODE,
        "max_attachment_bytes": settings.MAX_ATTACHMENT_MIB * MIB,
        "conversations": _listed(listed[:LISTED]),
        "has_more_conversations": len(listed) > LISTED,
        "conversation": conversation and representation.conversation(conversation),
        "messages": [_shown(message, own) | {"versions": versions[message.pk]} for message in branch],
        **_with_models(user, branch, for_the_script),
    }
    return render(request, "chat.html", context)


@_page
@_asking
def tools(request: HttpRequest) -> HttpResponse:
    """Show the text tools."""
    user: User = request.user  # type: ignore[assignment]
    context = {
        "tools": text_tools.offered(),
        "default_language": text_tools.DEFAULT_LANGUAGE,
        "languages": text_tools.LANGUAGES,
        **_with_models(user, [], {}),
    }
    return render(request, "tools.html", context)


@_page
def data(request: HttpRequest) -> HttpResponse:
    """Show what the user keeps, and how to export and import conversations."""
    user: User = request.user  # type: ignore[assignment]
    context = {
        "max_import_bytes": settings.MAX_IMPORT_BYTES,
        "storage": _storage_of(user.pk),
        "shares": shares.listed(user.pk),
    }
    return render(request, "account/data.html", context)


def _storage_of(user_id: int) -> dict[str, Any]:
    """Return in MiB what the user keeps, and the limit (0: none)."""
    row = StorageUse.objects.filter(pk=user_id).first() or StorageUse()
    channels = Channel.objects.filter(user_id=user_id).aggregate(bytes=Sum("kept_bytes"))["bytes"] or 0
    kinds = [
        (_("Conversations with their messages, and presets"), row.conversations / MIB),
        (_("Attachments"), row.attachments / MIB),
        (_("Answers outside of conversations"), row.unkept / MIB),
        (_("Push messages"), channels / MIB),
    ]
    used, limit = sum(size for _title, size in kinds), settings.STORAGE_MIB_PER_USER
    return {"used": used, "shown": min(used, limit), "limit": limit, "kinds": kinds}


@_page
def push_demo(request: HttpRequest) -> HttpResponse:
    """Show an order that waits for its payment: the query's, else a new one."""
    given = request.GET.get("order", "")
    key = given if push.KEY.fullmatch(given) else f"order-{secrets.token_hex(5)}"
    data = {"order": key, "events": reverse("push-events", args=[key]), "pay": reverse("push-payment", args=[key])}
    return render(request, "push_demo.html", {"order": key, "page_data": data})


def _through(request: HttpRequest) -> int | None:
    text = request.GET.get("message", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _listed(rows: list[Conversation]) -> list[dict[str, Any]]:
    now = timezone.now()
    return [
        {
            **representation.conversation(row),
            "heading": days.heading(row, now),
            "url": reverse("conversation", args=[row.pk]),
        }
        for row in rows
    ]


def _shown(row: Message, own: Set[str]) -> dict[str, Any]:
    made_by: Generation | None = getattr(row, "generation", None)
    shape = representation.message(row)
    return {
        **shape,
        "sources": [_shown_source(source, own) for source in shape.get("sources", ())],
        "generation": made_by
        and {
            "id": made_by.id,
            "content_from": made_by.content_from,
            "reasoning_from": made_by.reasoning_from,
            "status": made_by.status,
            "finish_reason": made_by.finish_reason,
            "finish_text": refusal_text(made_by.filter_texts),
            "seconds": round((made_by.finished_at - made_by.created_at).total_seconds(), 1)
            if made_by.finished_at
            else None,
            "charge": made_by.charge,
            "usage": _json(representation.usage(made_by)),
            "error": _json(with_text(made_by.error) if made_by.error else None),
        },
    }


def _shown_source(source: CitedSource, own: Set[str]) -> dict[str, Any]:
    """Return a cited page as the script shows it; only links to elsewhere are links."""
    host = host_of(source["url"])
    written = urlsplit(source["url"]).netloc.rpartition("@")[2]
    return {**source, "host": written, "is_external": host is not None and host not in own}


def _json(value: object) -> str:
    """Return a value for a data attribute that the page's script reads; empty for None."""
    return "" if value is None else orjson.dumps(value).decode()


def _with_models(user: User, branch: list[Message], page_data: dict[str, Any]) -> dict[str, Any]:
    """Return the context for choosing a model: the branch's latest, else an available one."""
    models, quotas = representation.offered_models(providers_app().configuration, user.pk), ledger.overview(user)
    offered = {model["slug"] for model in models}
    used = next((message.model for message in reversed(branch) if message.model in offered), "")
    return {
        "models": models,
        "selected_model": used or next((model["slug"] for model in models if model["available"]), ""),
        "quotas": quotas,
        "may_share_presets": may_share(user),
        "signup_open": settings.SIGNUP_MODE != "closed",
        "page_data": {"user": user.pk, "models": models, "quotas": quotas, **page_data},
    }


def _for_the_script(conversation: Conversation | None, branch: list[Message]) -> dict[str, Any]:
    last: Generation | None = getattr(branch[-1], "generation", None) if branch else None
    running = last.id if last and last.status == Generation.Status.RUNNING else None
    return {
        "conversation": conversation and conversation.pk,
        "updated_at": conversation and representation.conversation(conversation)["updated_at"],
        "running": running,
        "events_url": running and reverse("generation-events", args=[running]),
        "leaf": branch[-1].pk if branch else None,
        "temporary": bool(conversation and conversation.temporary),
    }
