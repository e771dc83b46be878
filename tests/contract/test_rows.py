"""Each row of the API's contract is shown by a test that carries its name: `@pytest.mark.contract("POST /api/chat/")`.

The rows are every route with each of its methods (staff routes by kind), every code of a refusal, every event, and what
is listed here: promises, and the settings whose effect a test of its own shows.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from chat.events import schemas as events
from chatproject.environment import Environment
from chatproject.openapi.pages import document
from web.openapi import METHODS
from web.schemas import Code

TESTS = Path(__file__).resolve().parent.parent

PROMISES = {
    "the four proofs",
    "a disabled user, by all four",
    "a disabled user, mid-stream",
    "a used or old ticket",
    "the order of refusals",
    "a known key answers whatever else holds",
    "a key lives for a day",
    "a refused request keeps its key",
    "Accept",
    "text tools are not kept",
    "temporary conversations",
    "events are the same bytes for everybody",
    "all events are as described",
    "leaving does not stop",
    "leaving /v1 stops the upstream",
    "what an upstream cannot take",
    "what is passed on",
    "CORS of /v1",
    "push in Python",
    "push survives a restart",
    "demo_push",
    "the envelope",
    "X-Request-ID",
    "the caller's language",
    "the charge table",
    "the same key, the same charge",
    "a retry on /v1 with the same key",
    "a /v1 caller gone",
    "limits are exact",
    "each credit buys one answer",
    "a killed process's reservations",
    "twenty rewarded invitations a day",
    "X-Quota-Remaining, X-Quota-Reset",
    "staff changes within five seconds",
    "sensitive words in prompts",
    "sensitive words in answers",
    "allowed phrases",
    "words in every disguise",
    "words of 32 characters",
    "drain",
    "Redis away",
    "logs say nothing",
    "setup by several at once",
    "setup never overwrites",
    "make run",
    "deploy/",
}
# That all settings are typed, checked and may be empty is shown in test_settings.py.
SETTINGS = {
    "HOST",
    "PORT",
    "WORKERS",
    "VAR_DIR",
    "SECRET_KEY",
    "CORS_ALLOWED_ORIGINS",
    "ALLOWED_HOSTS",
    "TRUSTED_PROXIES",
    "TIME_ZONE",
    "ADMIN_PASSWORD",
    "SIGNUP_MODE",
    "SHARE_MODE",
    "OIDC_ISSUER",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "OIDC_NAME",
    "OIDC_GROUPS_CLAIM",
    "REQUIRE_MFA_STAFF",
    "AUDIT_RETENTION_DAYS",
    "AUDIT_REASON",
    "SIGNUP_MIN_AGE",
    "GUEST_DAILY_LIMIT",
    "SIGNUP_APPROVAL",
    "ALLOWED_MAIL_DOMAINS",
    "LOGIN_ALERTS",
    "TERMS_VERSION",
    "TERMS_URL",
    "SITE_COLOR",
    "SITE_LOGO",
    "SITE_NAME",
    "SITE_FOOTER",
    "SITE_CONTACT",
    "SITE_LEGAL_NUMBER",
    "OPENAI_MODELS",
    "ANTHROPIC_MODELS",
    "SPARK_APP_ID",
    "ZHIPU_MODELS",
    "ALLOWED_PRIVATE_UPSTREAMS",
    "EMAIL_URL",
    "PUBLIC_URL",
    "REQUIRE_VERIFIED_EMAIL",
    "DAILY_LIMIT_STANDARD",
    "UPSTREAM_CONNECT_SECONDS",
    "MAX_UPSTREAM_ATTEMPTS",
    "STREAM_PING_SECONDS",
    "CHANNEL_RETENTION_SECONDS",
    "RETENTION_DAYS",
    "DRAIN_SECONDS",
    "PROCESS_LEASE_SECONDS",
    "MAX_PROMPT_CHARS",
    "MAX_ANSWER_CHARS",
    "MAX_ACTIVE_GENERATIONS",
    "STORAGE_MIB_PER_USER",
    "MAX_ACTIVE_API_CALLS",
    "API_REQUESTS_PER_MINUTE",
    "MAX_UNCHARGED_PER_HOUR",
    "MAX_START_SECONDS",
    "MAX_BODY_MIB",
    "MAX_ATTACHMENT_MIB",
    "TITLE_MODEL",
    "METRICS_TOKEN",
    "HSTS_SECONDS",
}
LISTED = {
    *PROMISES,
    *(f"setting: {name}" for name in SETTINGS),
    *(f"refusal: {code}" for code in get_args(Code)),
    *(f"event: {name}" for name in events.CHAT.events),
}


def routes() -> set[str]:
    """Return the rows of the routes; those of one kind of staff rows are one."""
    paths = document()["paths"]
    found = (f"{method.upper()} {path}" for path, methods in paths.items() for method in METHODS if method in methods)
    return {re.sub(r"^\w+ /api/admin/([\w-]+)/(?:{id}/)?$", r"staff: \1", route) for route in found}


@functools.cache
def marks() -> set[str]:
    """Return the rows that tests carry. The sources are read: few files are collected together with this one."""
    return {row for path in TESTS.rglob("test_*.py") for row in _rows_of(ast.parse(path.read_text(encoding="utf-8")))}


def _rows_of(module: ast.Module) -> Iterator[str]:
    for test in module.body:
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) and test.name.startswith("test_"):
            for mark in test.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.contract":
                    yield from map(ast.literal_eval, mark.args)


def test_every_route_is_shown() -> None:
    """Every route with each of its methods has a test."""
    assert routes() - marks() == set()


@pytest.mark.parametrize("row", sorted(LISTED))
def test_every_row_is_shown(row: str) -> None:
    """A test carries this row of the contract."""
    assert row in marks()


def test_marks_and_settings_exist() -> None:
    """No test carries a row that the contract does not have, and no setting is listed that does not exist."""
    assert marks() - LISTED - routes() == set()
    assert set(SETTINGS) <= set(Environment.model_fields)
