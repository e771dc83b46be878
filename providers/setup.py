"""Upstreams from the environment: created at the first start, kept in step later, never over an admin's head.

A row remembers the values it last took from the environment. A field that still has that value follows the environment;
one that an admin changed stays as it is.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.utils import translation

from providers.models import FIRST_RUN_DESCRIPTIONS, FIRST_RUN_TITLES, ApiKey, ChatModel, Route, Upstream, fingerprint
from providers.wire.spark.adapter import VERSIONS

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEMO_POSITION = 1_000

# First-run facts about well-known models, by the longest slug prefix that fits; all editable afterwards.
CONTEXT_TOKENS = {
    "gpt-3.5-turbo": 16_385,
    "gpt-4": 8_192,
    "gpt-4-turbo": 128_000,
    "gpt-4o": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-5": 400_000,
    "glm-4": 128_000,
}
OTHER_CONTEXT_TOKENS = 8_192
PARAMETERS: dict[str, dict[str, Any]] = {
    "gpt-4": {"temperature": 0.9, "max_tokens": 8_000},
    "spark": {"temperature": 0.5, "max_tokens": 1_024},
}
ZHIPU_V3_MODELS = frozenset({"chatglm_turbo", "chatglm_pro", "chatglm_std", "chatglm_lite"})


def ensure_upstreams() -> None:
    """Create or update what the environment names, and the demo. Repeating is safe."""
    env = settings.ENV
    _ensure_demo()
    if env.OPENAI_API_KEYS or env.OPENAI_BASE_URL:
        wanted = {"base_url": env.OPENAI_BASE_URL or DEFAULT_BASE_URL, "proxy": env.OPENAI_PROXY or "", "enabled": True}
        upstream = _ensure_upstream("openai", Upstream.Kind.OPENAI, wanted)
        _ensure_keys(upstream, [key.get_secret_value() for key in env.OPENAI_API_KEYS])
        _ensure_models(upstream, env.OPENAI_MODELS)
    if env.SPARK_APP_ID and env.SPARK_API_KEY and env.SPARK_API_SECRET:
        _ensure_spark(env.SPARK_APP_ID, env.SPARK_API_KEY.get_secret_value(), env.SPARK_API_SECRET.get_secret_value())
    if env.ZHIPU_API_KEYS:
        _ensure_zhipu([key.get_secret_value() for key in env.ZHIPU_API_KEYS])


def _ensure_spark(app_id: str, api_key: str, api_secret: str) -> None:
    env = settings.ENV
    wanted = {"base_url": env.SPARK_URL, "proxy": "", "enabled": True}
    upstream = _ensure_upstream("spark", Upstream.Kind.SPARK, wanted)
    _ensure_keys(upstream, [f"{app_id}:{api_key}:{api_secret}"])
    _ensure_models(upstream, (("spark", env.SPARK_DOMAIN),))


def _ensure_zhipu(keys: list[str]) -> None:
    """Serve models over v4; the legacy ones over v3, at the same base with its last segment replaced."""
    env = settings.ENV
    legacy = [pair for pair in env.ZHIPU_MODELS if pair[1] in ZHIPU_V3_MODELS]
    current = [pair for pair in env.ZHIPU_MODELS if pair not in legacy]
    v3_base = env.ZHIPU_V3_BASE_URL or env.ZHIPU_BASE_URL.removesuffix("/v4") + "/v3"
    for slug, kind, base_url, models in (
        ("zhipu", Upstream.Kind.ZHIPU, env.ZHIPU_BASE_URL, current),
        ("zhipu-v3", Upstream.Kind.ZHIPU_V3, v3_base, legacy),
    ):
        if models:
            upstream = _ensure_upstream(slug, kind, {"base_url": base_url, "proxy": "", "enabled": True})
            _ensure_keys(upstream, keys)
            _ensure_models(upstream, models)


def _ensure_demo() -> None:
    with translation.override(settings.LANGUAGE_CODE):
        _create_demo()


def _create_demo() -> None:
    upstream, created = Upstream.objects.get_or_create(slug="demo", defaults={"kind": Upstream.Kind.SCRIPTED})
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


def _ensure_upstream(slug: str, kind: str, wanted: dict[str, Any]) -> Upstream:
    upstream, created = Upstream.objects.get_or_create(
        slug=slug, defaults={"kind": kind, **wanted, "environment": {"values": wanted}}
    )
    taken = upstream.environment.get("values", {})
    if not created and taken != wanted:
        for name, value in wanted.items():
            if getattr(upstream, name) == taken.get(name):
                setattr(upstream, name, value)
        upstream.environment["values"] = wanted
        upstream.save()
    return upstream


def _ensure_keys(upstream: Upstream, secrets: list[str]) -> None:
    """Add keys that are new in the environment and remove those that left it; one that an admin deleted stays away."""
    prints = {fingerprint(secret): secret for secret in secrets}
    seen = set(upstream.environment.get("keys", []))
    for mark in prints.keys() - seen:
        if not upstream.keys.filter(fingerprint=mark).exists():
            key = ApiKey(upstream=upstream, from_environment=True)
            key.set_secret(prints[mark])
            key.save()
    upstream.keys.filter(from_environment=True).exclude(fingerprint__in=list(prints)).delete()
    if seen != set(prints):
        upstream.environment["keys"] = sorted(prints)
        upstream.save(update_fields=["environment"])


def _ensure_models(upstream: Upstream, offered: Iterable[tuple[str, str]]) -> None:
    """Add models that are new in the environment. Those that left it stay, for an admin to disable."""
    seen = set(upstream.environment.get("models", []))
    names = dict(offered)
    for position, (slug, upstream_name) in enumerate(names.items()):
        if f"{slug}={upstream_name}" in seen:
            continue
        values = first_run_values(slug, upstream_name, position)
        model, _created = ChatModel.objects.get_or_create(slug=slug, defaults=values)
        Route.objects.get_or_create(model=model, upstream=upstream, upstream_model=upstream_name)
    pairs = {f"{slug}={upstream_name}" for slug, upstream_name in names.items()}
    if not pairs <= seen:
        upstream.environment["models"] = sorted(seen | pairs)
        upstream.save(update_fields=["environment"])


def first_run_values(slug: str, upstream_name: str, position: int, context_tokens: int | None = None) -> dict[str, Any]:
    """Return what a new model begins with; `context_tokens` is what its upstream said of it."""
    prefix = max((prefix for prefix in CONTEXT_TOKENS if slug.startswith(prefix)), key=len, default="")
    version = VERSIONS.get(upstream_name)
    known = version.context_tokens if version else CONTEXT_TOKENS.get(prefix, OTHER_CONTEXT_TOKENS)
    return {
        "title": version.title if version else slug,
        "context_tokens": context_tokens or known,
        "parameters": PARAMETERS.get(slug, {}),
        "position": position,
    }
