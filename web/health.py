"""Health checks and metrics for operators: /healthz, /readyz and /metrics, as plain async views."""

import asyncio
import time
from ipaddress import ip_address
from secrets import compare_digest

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST

from runtime import database
from runtime.apps import runtime
from runtime.redis_clients import ping
from web.openapi import Content, Operation
from web.refusals import Forbidden
from web.schemas import Health

# Headers by which proxies make themselves known.
PROXY_HEADERS = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")
# Seconds to wait for the database, which may hang instead of failing; on SQLite the check queues behind writers.
DATABASE_PROBE_SECONDS = 2.0
# Seconds after a heartbeat in which /readyz stores no other, because anonymous callers could cause endless writes.
WRITE_AGAIN_SECONDS = 1.0


@Operation("Operations", "Whether the process lives", returns=Health, proof="open")
async def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse(Health(status="ok"))


@Operation("Operations", "Whether to send work here", returns={200: Health, 503: Health}, proof="open")
async def readyz(request: HttpRequest) -> HttpResponse:
    if runtime().drain.active:
        return JsonResponse(Health(status="unavailable", reason="draining"), status=503)
    try:
        await asyncio.wait_for(_check_database(), DATABASE_PROBE_SECONDS)
    except (DatabaseError, TimeoutError) as error:
        return JsonResponse(Health(status="unavailable", reason=f"database: {type(error).__name__}"), status=503)
    if settings.REDIS_URL and not await runtime().redis.ask(ping, False):
        return JsonResponse(Health(status="degraded", redis="away"))
    return JsonResponse(Health(status="ok"))


async def _check_database() -> None:
    """Store a heartbeat, or only read when one was stored a moment ago.

    Because a database on a full disk can still read, reading alone proves nothing.
    """
    process = runtime().process
    recent = time.monotonic() - process.beat_at < WRITE_AGAIN_SECONDS
    await database.run(_read if recent else process.store_heartbeat)


def _read() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@Operation(
    "Operations",
    "Figures for Prometheus",
    "For callers from this machine, or with METRICS_TOKEN as bearer.",
    returns=Content(str, ("text/plain",)),
    refuses=(403,),
    proof="open",
)
async def metrics(request: HttpRequest) -> HttpResponse:
    if not (_from_loopback(request) or has_metrics_token(request)):
        raise Forbidden
    if settings.REDIS_URL:
        await runtime().redis.ask(ping, False)  # as nothing else may have used it for a while
    await runtime().metrics.query()
    runtime().metrics.read()
    text = await asyncio.to_thread(runtime().metrics.text)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def has_metrics_token(request: HttpRequest) -> bool:
    """Return whether the request has METRICS_TOKEN, if there is one, as bearer."""
    token, header = settings.METRICS_TOKEN, request.headers.get("Authorization", "")
    return bool(token) and compare_digest(header.encode(), f"Bearer {token}".encode())


def _from_loopback(request: HttpRequest) -> bool:
    """Return whether the client is a program on this machine, and no proxy."""
    try:
        return (
            ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback and not PROXY_HEADERS & request.headers.keys()
        )
    except ValueError:
        return False
