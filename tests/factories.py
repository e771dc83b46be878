"""Factories for valid rows, so that a test states only the values that it is about."""

from datetime import datetime
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction
from django.utils import timezone

from chat.apps import chat
from chat.generations.remote import Remote
from chat.generations.start import Admission
from chat.models import Generation, new_generation_id
from providers.apps import providers_app
from providers.models import ApiKey, ChatModel, Route, Upstream
from quotas import ledger
from quotas.models import Quota, QuotaModel
from runtime.apps import runtime
from runtime.tasks import Drain

PASSWORD = "correct horse battery staple"

_numbers = count(1)


def user(username: str | None = None, *, password: str | None = PASSWORD, **values: Any) -> Any:
    """Return a user with a verified address who may chat; `email=""` for one without an address."""
    username = username or f"user{next(_numbers)}"
    values.setdefault("email", f"{username}@example.org")
    row = get_user_model().objects.create_user(username, password=password, **values)
    if row.email:
        EmailAddress.objects.create(user=row, email=row.email, verified=True, primary=True)
    return row


def quota(slug: str | None = None, *, models: list[ChatModel] | None = None, **values: Any) -> Quota:
    """Return a quota of 50 a day for these models, which leave their previous quota."""
    slug = slug or f"quota{next(_numbers)}"
    row = Quota.objects.create(slug=slug, **{"title": slug.title(), "daily_limit": 50, **values})
    for model in models or []:
        QuotaModel.objects.update_or_create(model=model, defaults={"quota": row})
    return row


def group(name: str, *members: Any) -> Group:
    """Return a group with these members."""
    row = Group.objects.create(name=name)
    row.user_set.add(*members)
    return row


def upstream(slug: str | None = None, **values: Any) -> Upstream:
    """Return the built-in upstream, or one over HTTP with `kind="openai"` and a `base_url`."""
    return Upstream.objects.create(slug=slug or f"upstream{next(_numbers)}", **{"kind": "scripted", **values})


def api_key(of: Upstream, secret: str | None = None, **values: Any) -> ApiKey:
    """Return a usable key of an upstream."""
    row = ApiKey(upstream=of, **values)
    row.set_secret(secret or f"sk-test-{next(_numbers):012}")
    row.save()
    return row


def route(model: ChatModel, to: Upstream, **values: Any) -> Route:
    """Return a route from a model to an upstream, under the model's own name."""
    return Route.objects.create(model=model, upstream=to, **{"upstream_model": model.slug, **values})


def chat_model(
    slug: str | None = None, *, of: Quota | None = None, to: Upstream | None = None, **values: Any
) -> ChatModel:
    """Return a model; with a quota (`of`) and an upstream (`to`) it accepts prompts."""
    slug = slug or f"model{next(_numbers)}"
    row = ChatModel.objects.create(slug=slug, **{"title": slug, **values})
    if of:
        QuotaModel.objects.create(quota=of, model=row)
    if to:
        route(row, to)
    return row


def credits_for(user: Any, of: Quota, amount: int = 5, reason: str = "gift") -> None:
    """Grant credits to a user through the ledger."""
    ledger.grant(user.pk, of.pk, amount, reason)


def generation(user: Any, model: ChatModel, at: datetime | None = None, **values: Any) -> Generation:
    """Return a running generation with a reservation, started at a time."""
    row_id, at = new_generation_id(), at or timezone.now()
    with transaction.atomic():
        reserved = ledger.reserve(user.pk, model.pk, row_id, at)
    return Generation.objects.create(
        id=row_id,
        user_id=user.pk,
        quota_id=reserved.quota_id,
        reservation_id=reserved.reservation_id,
        model=model.slug,
        created_at=at,
        **{"process": "p", "request_digest": "d", **values},
    )


def admission() -> Admission:
    """Return the admission of a process that does not drain."""
    return Admission(chat().words, Drain(), runtime().process, providers_app().routing)


def remote() -> Remote:
    """Return this process's way to the generations of others."""
    return Remote(runtime().broker, runtime().redis, runtime().process)
