"""Checks of a deployment before it starts; each of them reads only."""

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, connection, connections
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runtime import redis_urls, schema
from runtime.apps import runtime
from runtime.copies.backup import SECRET_FILES
from runtime.copies.postgresql import is_pooled
from runtime.read_replica import ALIAS

# The oldest PostgreSQL with which the product is tested, as `server_version` counts.
OLDEST_POSTGRESQL = 140_000
# The oldest Redis whose clusters have sharded publish and subscribe.
OLDEST_CLUSTER = 7
# Settings that bound how long a statement, a wait and a silent transaction take; behind a pooler the role has them.
ROLE_LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
# Bytes of free disk below which a warning is due.
ENOUGH_BYTES = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Literal["ok", "warning", "error"]
    name: str
    text: str


def findings() -> Iterator[Finding]:
    """Check everything; the settings have been read already, because a bad one ends every command."""
    yield from _settings()
    yield from _folder()
    yield from _database()
    yield from _replica()
    yield from _redis()
    yield from _proxies()


def _settings() -> Iterator[Finding]:
    for given, expected in settings.MISTAKEN_SETTINGS.items():
        yield Finding("warning", given, f"is taken for {expected}")
    for given, missing in settings.IGNORED_SETTINGS.items():
        yield Finding("warning", given, f"is ignored without {missing}")
    if settings.DEBUG:
        yield Finding("error", "DEBUG", "shows internals to every visitor; remove it")
    if not settings.ENV.EMAIL_URL:
        yield Finding("warning", "EMAIL_URL", "unset: addresses are not verified, and passwords cannot be reset")
    yield Finding("ok", "settings", f"all are valid; PUBLIC_URL is {settings.PUBLIC_URL or 'unset'}")


def _folder() -> Iterator[Finding]:
    """Check VAR_DIR, which is writable, because every command tries that."""
    open_to_others = [
        path.name
        for path in (settings.VAR_DIR, *(settings.VAR_DIR / name for name in SECRET_FILES))
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        names = ", ".join(open_to_others)
        yield Finding("error", "VAR_DIR", f"other users may read {names}: chmod -R go= {settings.VAR_DIR}")
    for path in settings.SECRET_FILES:
        if stat.S_IMODE(path.stat().st_mode) & 0o007:
            yield Finding("warning", str(path), "every user of this machine may read this secret")
    free = shutil.disk_usage(settings.VAR_DIR).free
    level: Literal["ok", "warning"] = "ok" if free >= ENOUGH_BYTES else "warning"
    yield Finding(level, "VAR_DIR", f"{settings.VAR_DIR} is writable; {free // 2**20} MiB are free")


def _database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        if connection.vendor == "postgresql":
            yield from _postgresql()
        else:
            yield Finding("ok", "DATABASE_URL", f"SQLite {sqlite3.sqlite_version}")
        found = schema.state()
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "; a pooler needs ?pooler=transaction" if "startup parameter" in reason else ""
        yield Finding("error", "DATABASE_URL", f"the database cannot be used ({reason}){hint}")
        return
    try:
        found.require_known()
    except schema.IncompatibleSchemaError as error:
        yield Finding("error", "migrations", str(error))
        return
    if found.pending:
        yield Finding(
            "warning", "migrations", f"{len(found.pending)} are pending: run `manage.py setup` before `serve`"
        )
    else:
        yield Finding("ok", "migrations", "all are applied")


def _postgresql() -> Iterator[Finding]:
    version = connection.connection.info.server_version
    if version < OLDEST_POSTGRESQL:
        yield Finding("error", "DATABASE_URL", f"PostgreSQL {version // 10_000}; 14 or later is required")
    else:
        yield Finding("ok", "DATABASE_URL", f"PostgreSQL {version // 10_000}")
    if not is_pooled():
        return
    if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        yield Finding("error", "DATABASE_URL", "leads through a pooler: add ?pooler=transaction to it")
        return
    yield Finding("ok", "DATABASE_URL", "leads through a pooler; backups need the server's own address")
    unlimited = []
    with connection.cursor() as cursor:
        for name in ROLE_LIMITS:
            cursor.execute(f"SHOW {name}")
            if cursor.fetchone() == ("0",):
                unlimited.append(name)
    if unlimited:
        yield Finding("warning", "DATABASE_URL", f"the role has no {', '.join(unlimited)}: see docs/operations.md")


def _replica() -> Iterator[Finding]:
    if not runtime().read_replica.exists:
        return
    same = "SELECT system_identifier FROM pg_control_system()"
    try:
        with connection.cursor() as cursor:
            cursor.execute(same)
            primary = cursor.fetchone()
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            (is_replica,) = cursor.fetchone()
            cursor.execute(same)
            is_of_primary = cursor.fetchone() == primary
    except DatabaseError as error:
        reason = str(error).strip().partition("\n")[0]
        yield Finding("warning", "DATABASE_REPLICA_URL", f"is left out, because it cannot be used ({reason})")
        return
    if is_replica and is_of_primary:
        yield Finding("ok", "DATABASE_REPLICA_URL", "a replica of the primary")
    else:
        text = "is a replica of another server" if is_replica else "is no replica, so it is left out"
        yield Finding("error", "DATABASE_REPLICA_URL", text)


def _redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        yield Finding("ok", "REDIS_URL", "unset, which is right for one process")
        return
    try:
        version = asyncio.run(_redis_version())
    except (RedisError, OSError, TimeoutError) as error:
        yield Finding("error", "REDIS_URL", f"Redis does not reply ({type(error).__name__})")
        return
    kind = redis_urls.parse(settings.REDIS_URL).kind
    found = f"Redis or Valkey {version}" + {"sentinel": ", found by sentinels", "cluster": ", a cluster"}.get(kind, "")
    if kind == "cluster" and int(version.partition(".")[0]) < OLDEST_CLUSTER:
        yield Finding("error", "REDIS_URL", f"{found}; one of Redis {OLDEST_CLUSTER} or Valkey is required")
    else:
        yield Finding("ok", "REDIS_URL", found)


async def _redis_version() -> str:
    client: Redis = runtime().redis.connect()
    try:
        await client.ping()  # all primaries of a cluster
        return str((await client.info("server"))["redis_version"])
    finally:
        await client.aclose()


def _proxies() -> Iterator[Finding]:
    is_behind_tls = (settings.PUBLIC_URL or "").startswith("https://")
    if is_behind_tls and not settings.TRUSTED_PROXIES:
        yield Finding(
            "error",
            "TRUSTED_PROXIES",
            "unset, though PUBLIC_URL is https: every request seems to come from the proxy, without TLS",
        )
    elif settings.TRUSTED_PROXIES:
        yield Finding("ok", "TRUSTED_PROXIES", ", ".join(settings.TRUSTED_PROXIES))
    elif settings.HOST not in {"127.0.0.1", "::1", "localhost"}:
        yield Finding("warning", "TRUSTED_PROXIES", f"unset, and HOST is {settings.HOST}: others reach it without TLS")
