"""Create upstreams from the environment, and update them at each start.

A row remembers the values it last took from the environment. A field that still has that value follows the environment.
A field that an admin changed stays as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from django.conf import settings
from django.utils import translation
from pydantic import SecretStr

from providers import context_sizes, registry
from providers.encryption import decrypt, encrypt, fingerprint, without_password
from providers.models import FIRST_RUN_DESCRIPTIONS, FIRST_RUN_TITLES, ApiKey, ChatModel, Route, Upstream

log = structlog.get_logger("providers")

# Position of the demo in lists of models: behind all others.
DEMO_POSITION = 1_000

# First-run request parameters by slug.
PARAMETERS: dict[str, dict[str, Any]] = {
    "gpt-4": {"temperature": 0.9, "max_tokens": 8_000},
    "spark": {"temperature": 0.5, "max_tokens": 1_024},
}


def ensure_upstreams() -> None:
    """Create the demo; create or update upstreams of the environment. Repeating is safe."""
    with translation.override(settings.LANGUAGE_CODE):
        _ensure_demo()
    _encrypt_proxy_passwords()
    for given, expected in settings.MISTAKEN_SETTINGS.items():
        log.warning("setting accepted under another name: rename it", given=given, expected=expected)
    for given, missing in settings.IGNORED_SETTINGS.items():
        log.warning("setting ignored, because it needs another one", given=given, missing=missing)
    environment = {name: _revealed(value) for name, value in settings.ENV}
    for kind, adapter in registry.ADAPTERS.items():
        for first_run in adapter.first_run(environment):
            values = {
                "base_url": first_run.base_url,
                "proxy": first_run.proxy,
                "query": dict(first_run.query),
                "enabled": True,
            }
            upstream = _ensure_upstream(first_run.slug, kind, values)
            _ensure_keys(upstream, first_run.keys)
            _ensure_models(upstream, first_run.models)


def _revealed(value: object) -> object:
    """Return a setting with its secrets in plain text, as adapters take it."""
    if isinstance(value, tuple):
        return tuple(map(_revealed, value))
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _ensure_demo() -> None:
    upstream, created = Upstream.objects.get_or_create(slug="demo", defaults={"kind": registry.DEMO_KIND})
    if created:
        model, _created = ChatModel.objects.get_or_create(
            slug="demo",
            defaults={
                "title": str(FIRST_RUN_TITLES["demo"]),
                "description": str(FIRST_RUN_DESCRIPTIONS["demo"]),
                "position": DEMO_POSITION,
                "context_tokens": 32_768,
            },
        )
        Route.objects.get_or_create(model=model, upstream=upstream, upstream_model="demo")


def _ensure_upstream(slug: str, kind: str, values: Mapping[str, Any]) -> Upstream:
    upstream, created = Upstream.objects.get_or_create(slug=slug, defaults={"kind": kind, **values})
    earlier = _values_of_environment(upstream)
    if created or earlier != values:
        stored = {name: getattr(upstream, name) for name in values} | {"proxy": upstream.proxy_url()}
        for name, value in values.items():
            if stored[name] == earlier.get(name):
                setattr(upstream, name, value)
        upstream.environment["values"] = {**values, "proxy": without_password(values["proxy"])}
        upstream.environment["proxy_ciphertext"] = encrypt(values["proxy"])
        upstream.save()
    return upstream


def _values_of_environment(upstream: Upstream) -> dict[str, Any]:
    """Return the values that the row last took from the environment, with the proxy's password."""
    # The previous release stores no query.
    values = {"query": {}, **upstream.environment.get("values", {})}
    proxy = decrypt(upstream.environment.get("proxy_ciphertext", ""))
    return values if proxy is None else {**values, "proxy": proxy}


def _encrypt_proxy_passwords() -> None:
    """Encrypt the passwords that the previous release stores in plain text."""
    for upstream in Upstream.objects.all():
        values = upstream.environment.get("values", {})
        plain = values.get("proxy", "")
        if plain != without_password(plain):
            upstream.environment["proxy_ciphertext"] = encrypt(plain)
            values["proxy"] = without_password(plain)
            upstream.save()
        elif upstream.proxy != without_password(upstream.proxy):
            upstream.save()


def _ensure_keys(upstream: Upstream, secrets: Iterable[str]) -> None:
    """Add new keys of the environment, except once deleted ones; remove those that left it."""
    prints = {fingerprint(secret): secret for secret in secrets}
    earlier = set(upstream.environment.get("keys", []))
    for mark in prints.keys() - earlier:
        if not upstream.keys.filter(fingerprint=mark).exists():
            key = ApiKey(upstream=upstream, from_environment=True)
            key.set_secret(prints[mark])
            key.save()
    upstream.keys.filter(from_environment=True).exclude(fingerprint__in=list(prints)).delete()
    if earlier != set(prints):
        upstream.environment["keys"] = sorted(prints)
        upstream.save(update_fields=["environment"])


def _ensure_models(upstream: Upstream, offered: Iterable[tuple[str, str]]) -> None:
    """Add new models of the environment; only an admin disables one that left it."""
    earlier = set(upstream.environment.get("models", []))
    names = dict(offered)
    for position, (slug, upstream_name) in enumerate(names.items()):
        if f"{slug}={upstream_name}" in earlier:
            continue
        values = first_run_values(slug, upstream_name, position)
        model, _created = ChatModel.objects.get_or_create(slug=slug, defaults=values)
        Route.objects.get_or_create(model=model, upstream=upstream, upstream_model=upstream_name)
    pairs = {f"{slug}={upstream_name}" for slug, upstream_name in names.items()}
    if not pairs <= earlier:
        upstream.environment["models"] = sorted(earlier | pairs)
        upstream.save(update_fields=["environment"])


def first_run_values(slug: str, upstream_name: str, position: int, context_tokens: int | None = None) -> dict[str, Any]:
    """Return the values of a new model; `context_tokens` is what its upstream reported."""
    model = registry.known_model(upstream_name)
    tokens, assumed = context_tokens or (model.context_tokens if model else None), False
    if tokens is None:
        tokens, assumed = context_sizes.of(upstream_name, slug)
    return {
        "title": (model.title if model else "") or slug,
        "context_tokens": tokens,
        "context_assumed": assumed,
        "parameters": PARAMETERS.get(slug, {}),
        "position": position,
    }
