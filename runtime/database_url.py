"""Django's settings for the databases that a URL or a file names."""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

# The transaction of a suspended process ends (10 s) before others give up waiting for its locks (15 s).
TIME_LIMITS = "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=10000"


def split_url(value: str, expected: str) -> SplitResult:
    """Split a URL; raise ValueError(expected) when it or its port is invalid."""
    try:
        parts = urlsplit(value)
        _port = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    return parts


def database_from_url(url: str, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """Return Django's database settings for a `postgresql://` or `sqlite:///` URL; else raise ValueError."""
    expected = f"{variable}: expected postgresql://user:password@host:port/name"
    parts = split_url(url, expected)
    name = unquote(parts.path[1:])
    if parts.scheme == "sqlite" and name and not parts.netloc:
        return sqlite_database(Path(name))
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    host = options.pop("host", "") or _host(parts)
    if parts.scheme not in {"postgresql", "postgres"} or not host or not name or "/" in name:
        raise ValueError(expected)
    pooler = options.pop("pooler", "")
    if pooler not in {"", "transaction"}:
        raise ValueError(f"{variable}: `pooler` can only be `transaction`")
    limits: dict[str, Any] = {"options": TIME_LIMITS, "prepare_threshold": 3}
    if pooler:
        # A connection to a pooler keeps no setting and no prepared statement; the role's settings bound the time.
        limits = {"prepare_threshold": None}
    if "prepare_threshold" in options:
        threshold = options["prepare_threshold"]
        options["prepare_threshold"] = int(threshold) if threshold.isdigit() else None
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": parts.port or options.pop("port", ""),
        # Database threads are few and live as long as the process, so their connections stay open too.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        # Django's name for "behind a pooler in transaction mode".
        "DISABLE_SERVER_SIDE_CURSORS": bool(pooler),
        # Prepared statements halve the cost of a statement.
        "OPTIONS": {
            "connect_timeout": 2,
            "server_side_binding": True,
            # A vanished server or a hanging statement raises an error after seconds, instead of blocking its thread.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            **limits,
            **options,
        },
    }


def replica_from_url(url: str) -> dict[str, Any]:
    """Return the same for a replica, whose replies are awaited for some seconds."""
    return {**database_from_url(url, "DATABASE_REPLICA_URL"), "ENGINE": "runtime.bounded_postgresql"}


def _host(parts: SplitResult) -> str:
    """Return the host or the folder of a socket (`%2Frun%2Fpostgresql`), whose case counts."""
    host = unquote(parts.netloc.rpartition("@")[2])
    return host.rpartition(":")[0] or host if host.startswith("/") else unquote(parts.hostname or "")


def sqlite_database(path: Path) -> dict[str, Any]:
    """Return Django's settings for a SQLite file shared by several threads.

    Each transaction takes the write lock when it begins (`IMMEDIATE`). One that began with a read could not wait for
    the lock later and would fail at once with "database is locked".
    """
    return {
        "ENGINE": "runtime.sqlite",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000;"
            # Pages of 4 KiB in the write-ahead log from which a commit empties it itself; see `runtime.checkpoints`.
            " PRAGMA wal_autocheckpoint=16000;"
            # Zeros take the place of deleted texts. Many builds of SQLite do this by default.
            " PRAGMA secure_delete=ON;",
        },
    }
