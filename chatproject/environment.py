"""The environment variables of the product, read once and checked; `docs/settings.md` describes them.

A wrong value ends the process with one line that names the variable. The line never contains the value, which may be a
secret. `settings.py` turns the values into Django's settings.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chatproject import environment_types as types
from runtime.database_url import database_from_url, split_url

# The first file descriptor that systemd passes: SD_LISTEN_FDS_START in sd_listen_fds(3).
FIRST_PASSED = 3
# Settings without which a key in the singular is ignored, because other programs read the same name.
_NEEDED_WITH = {"AZURE_OPENAI_API_KEYS": "AZURE_OPENAI_ENDPOINT"}


class Environment(BaseModel):
    """One field per variable; the defaults fit a first run on one machine."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    HOST: types.Host = "127.0.0.1"
    PORT: Annotated[int, Field(ge=0, le=65_535)] = 8000
    WORKERS: Annotated[int, Field(ge=1, le=256)] = 1
    DEBUG: bool = False
    VAR_DIR: Path = Path("var")
    SECRET_KEY: types.Secret = None
    KEY_ENCRYPTION_KEYS: types.FernetKeys = ()
    DATABASE_URL: types.Secret = None
    DATABASE_REPLICA_URL: types.Secret = None
    REDIS_URL: types.RedisUrl | None = None
    ALLOWED_HOSTS: types.Hosts = ("localhost", "127.0.0.1", "[::1]")
    CSRF_TRUSTED_ORIGINS: types.Origins = ()
    CORS_ALLOWED_ORIGINS: types.Origins = ()
    TRUSTED_PROXIES: types.Networks = ()
    TIME_ZONE: types.ZoneName = "Asia/Shanghai"
    LANGUAGE_CODE: Literal["zh-hans", "en"] = "zh-hans"
    SITE_NAME: types.Line40 = "Rivulet"
    SITE_LOGO: types.LogoFile = None
    SITE_COLOR: types.Colours = None
    SITE_FOOTER: types.Line200 = ""
    SITE_LEGAL_NUMBER: types.Line40 = ""
    SITE_CONTACT: types.Contact = ""
    ADMIN_USERNAME: Annotated[str, Field(pattern=r"^[\w.@+-]{1,150}$")] = "admin"
    ADMIN_EMAIL: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] = "admin@localhost.localdomain"
    ADMIN_PASSWORD: types.Secret = None
    PUBLIC_URL: types.Origin | None = None
    SIGNUP_MODE: Literal["open", "invite", "closed"] = "open"
    GUEST_DAILY_LIMIT: types.Count = 0
    SIGNUP_APPROVAL: bool = False
    ALLOWED_MAIL_DOMAINS: types.Domains = ()
    SIGNUP_MIN_AGE: Annotated[int, Field(ge=1, le=120)] | None = None
    REQUIRE_MFA_STAFF: bool = False
    AUDIT_RETENTION_DAYS: Annotated[int, Field(ge=30, le=36_500)] = 365
    AUDIT_REASON: bool = False
    LOGIN_ALERTS: bool = True
    TERMS_VERSION: Annotated[str, Field(max_length=100)] | None = None
    TERMS_URL: types.WebUrl | None = None
    SHARE_MODE: Literal["public", "members", "off"] = "members"
    OPENAI_API_KEYS: types.VendorKeys = ()
    OPENAI_BASE_URL: types.WebUrl | None = None
    OPENAI_PROXY: types.ProxyUrl | None = None
    OPENAI_MODELS: types.OfferedModels = (("gpt-3.5-turbo", "gpt-3.5-turbo"), ("gpt-4", "gpt-4"))
    AZURE_OPENAI_API_KEYS: types.VendorKeys = ()
    AZURE_OPENAI_ENDPOINT: types.WebUrl | None = None
    AZURE_OPENAI_API_VERSION: types.ApiVersion | None = None
    AZURE_OPENAI_PROXY: types.ProxyUrl | None = None
    AZURE_OPENAI_MODELS: types.OfferedModels = ()
    GEMINI_API_KEYS: types.VendorKeys = ()
    GEMINI_BASE_URL: types.WebUrl | None = None
    GEMINI_PROXY: types.ProxyUrl | None = None
    GEMINI_MODELS: types.OfferedModels = (("gemini-flash-latest", "gemini-flash-latest"),)
    DEEPSEEK_API_KEYS: types.VendorKeys = ()
    DEEPSEEK_BASE_URL: types.WebUrl | None = None
    DEEPSEEK_PROXY: types.ProxyUrl | None = None
    DEEPSEEK_MODELS: types.OfferedModels = tuple((name, name) for name in ("deepseek-v4-flash", "deepseek-v4-pro"))
    OPENROUTER_API_KEYS: types.VendorKeys = ()
    OPENROUTER_BASE_URL: types.WebUrl | None = None
    OPENROUTER_PROXY: types.ProxyUrl | None = None
    OPENROUTER_MODELS: types.OfferedModels = (("openrouter/auto", "openrouter/auto"),)
    ANTHROPIC_API_KEYS: types.VendorKeys = ()
    ANTHROPIC_BASE_URL: types.WebUrl | None = None
    ANTHROPIC_PROXY: types.ProxyUrl | None = None
    ANTHROPIC_MODELS: types.OfferedModels = (
        ("claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-haiku-5-5", "claude-haiku-5-5"),
    )
    SPARK_APP_ID: str | None = None
    SPARK_API_KEY: types.Secret = None
    SPARK_API_SECRET: types.Secret = None
    SPARK_URL: types.WebSocketUrl = "wss://spark-api.xf-yun.com/v1.1/chat"
    SPARK_DOMAIN: str = "lite"
    SPARK_PROXY: types.ProxyUrl | None = None
    ZHIPU_API_KEYS: types.VendorKeys = ()
    ZHIPU_BASE_URL: types.WebUrl = "https://open.bigmodel.cn/api/paas/v4"
    ZHIPU_V3_BASE_URL: types.WebUrl | None = None
    ZHIPU_PROXY: types.ProxyUrl | None = None
    ZHIPU_MODELS: types.OfferedModels = (("glm-4-flash", "glm-4-flash"),)
    ALLOWED_PRIVATE_UPSTREAMS: types.PrivateHosts = ()
    EMAIL_URL: types.Secret = None
    EMAIL_FROM: str = "rivulet@localhost"
    REQUIRE_VERIFIED_EMAIL: bool | None = None
    WECHAT_APP_ID: str | None = None
    WECHAT_APP_SECRET: types.Secret = None
    WECHAT_OFFICIAL_APP_ID: str | None = None
    WECHAT_OFFICIAL_APP_SECRET: types.Secret = None
    OIDC_ISSUER: types.WebUrl | None = None
    OIDC_CLIENT_ID: str | None = None
    OIDC_CLIENT_SECRET: types.Secret = None
    OIDC_NAME: Annotated[str, Field(max_length=40)] = "OpenID Connect"
    OIDC_GROUPS_CLAIM: str | None = None
    GITHUB_CLIENT_ID: str | None = None
    GITHUB_CLIENT_SECRET: types.Secret = None
    GOOGLE_CLIENT_ID: str | None = None
    GOOGLE_CLIENT_SECRET: types.Secret = None
    DAILY_LIMIT_STANDARD: types.Count = 50
    DAILY_LIMIT_PREMIUM: types.Count = 10
    INVITER_CREDITS: types.Count = 10
    INVITEE_CREDITS: types.Count = 5
    UPSTREAM_CONNECT_SECONDS: types.Seconds = 10
    UPSTREAM_FIRST_SECONDS: types.Seconds = 300
    UPSTREAM_IDLE_SECONDS: types.Seconds = 120
    UPSTREAM_TOTAL_SECONDS: types.Seconds = 1800
    MAX_UPSTREAM_ATTEMPTS: Annotated[int, Field(ge=1, le=100)] = 4
    STREAM_PING_SECONDS: types.Seconds = 15
    CHANNEL_RETENTION_SECONDS: types.Seconds = 600
    DRAIN_SECONDS: Annotated[float, Field(ge=0, le=86_400)] = 30
    PROCESS_LEASE_SECONDS: Annotated[float, Field(ge=1, le=86_400)] = 30
    RETENTION_DAYS: Annotated[int, Field(ge=1, le=36_500)] | None = None
    MAX_PROMPT_CHARS: Annotated[int, Field(ge=1, le=1_000_000)] = 32_000
    MAX_ANSWER_CHARS: Annotated[int, Field(ge=1, le=10_000_000)] = 1_000_000
    MAX_ACTIVE_GENERATIONS: types.Count = 3
    STORAGE_MIB_PER_USER: types.Count = 200
    MAX_ACTIVE_API_CALLS: types.Count = 10
    API_REQUESTS_PER_MINUTE: Annotated[int, Field(ge=0, le=100_000)] = 120
    MAX_UNCHARGED_PER_HOUR: types.Count = 30
    MAX_START_SECONDS: Annotated[float, Field(gt=0, le=300)] = 30
    MAX_BODY_MIB: Annotated[int, Field(ge=1, le=1_024)] = 20
    TITLE_MODEL: str | None = None
    MAX_ATTACHMENT_MIB: Annotated[int, Field(ge=1, le=60)] = 10
    HIT_EXCERPT_CHARS: Annotated[int, Field(ge=0, le=1_000)] = 0
    MODERATION_URL: types.WebUrl | None = None
    MODERATION_KEY: types.Secret = None
    MODERATION_MODEL: str = "omni-moderation-latest"
    MODERATION_TIMEOUT: Annotated[float, Field(gt=0, le=60)] = 3
    MODERATION_ON_FAILURE: Literal["open", "closed"] | None = None
    MODERATION_ACTION: Literal["block", "flag"] = "block"
    MODERATION_CATEGORIES: types.CategoryRules = ()
    METRICS_TOKEN: types.Secret = None
    OTEL_EXPORTER_OTLP_ENDPOINT: types.WebUrl | None = None
    OTEL_EXPORTER_OTLP_HEADERS: types.Secret = None
    OTEL_SERVICE_NAME: types.Line40 = "rivulet"
    TRACEPARENT_UPSTREAMS: types.Slugs = ()
    ALERT_EMAILS: types.MailAddresses = ()
    ALERT_WEBHOOKS: types.Webhooks = ()
    ALERT_DISK_PERCENT: types.Percent = 90
    ALERT_QUOTA_PERCENT: types.Percent = 90
    HSTS_SECONDS: types.Count = 31_536_000

    @model_validator(mode="after")
    def _check_values_together(self) -> "Environment":
        spark = (self.SPARK_APP_ID, self.SPARK_API_KEY, self.SPARK_API_SECRET)
        if any(spark) and not all(spark):
            raise ValueError("SPARK_APP_ID: SPARK_APP_ID, SPARK_API_KEY and SPARK_API_SECRET go together")
        if self.AZURE_OPENAI_API_KEYS and not self.AZURE_OPENAI_ENDPOINT:
            raise ValueError("AZURE_OPENAI_ENDPOINT: needed with AZURE_OPENAI_API_KEYS")
        if bool(self.OIDC_ISSUER) != bool(self.OIDC_CLIENT_ID):
            raise ValueError("OIDC_ISSUER: OIDC_ISSUER and OIDC_CLIENT_ID go together")
        if self.DATABASE_URL:
            database_from_url(self.DATABASE_URL.get_secret_value())
        if self.DATABASE_REPLICA_URL:
            self._check_replica(self.DATABASE_REPLICA_URL.get_secret_value())
        if self.EMAIL_URL:
            mail_from_url(self.EMAIL_URL.get_secret_value())
        if self.ALERT_EMAILS and not self.EMAIL_URL:
            raise ValueError("ALERT_EMAILS: mails need EMAIL_URL")
        if self.MODERATION_URL and not self.MODERATION_ON_FAILURE:
            raise ValueError("MODERATION_URL: needs MODERATION_ON_FAILURE, open or closed")
        if self.WORKERS > 1 and not self.REDIS_URL:
            raise ValueError(f"WORKERS: {self.WORKERS} workers need REDIS_URL to share channels and limits")
        return self

    def _check_replica(self, url: str) -> None:
        primary = self.DATABASE_URL.get_secret_value() if self.DATABASE_URL else ""
        databases = (database_from_url(url, "DATABASE_REPLICA_URL"), database_from_url(primary) if primary else {})
        if any(database.get("ENGINE") != "django.db.backends.postgresql" for database in databases):
            raise ValueError("DATABASE_REPLICA_URL: only PostgreSQL has replicas, and DATABASE_URL names the primary")


def mail_from_url(url: str) -> dict[str, Any]:
    """Return Django's mail settings for `smtp://`, `smtp+tls://` (STARTTLS), `smtps://`; else raise ValueError."""
    expected = "EMAIL_URL: expected smtp://user:password@host:port"
    default_ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
    parts = split_url(url, expected)
    if parts.scheme not in default_ports or not parts.hostname:
        raise ValueError(expected)
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or default_ports[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }


def load(environ: Mapping[str, str] = os.environ) -> Environment:
    """Read and check the environment; exit with one line on standard error if invalid."""
    mistakes = {rightly: given for given, rightly in mistaken(environ).items()}
    found = {name: _value(environ, mistakes.get(name, name)) for name in Environment.model_fields}
    values = {name: value for name, value in found.items() if value}
    try:
        return Environment.model_validate(values)
    except ValidationError as error:
        raise SystemExit("; ".join(dict.fromkeys(map(_one_line, error.errors(include_input=False))))) from error


def listener_of_systemd(environ: Mapping[str, str] = os.environ) -> int | None:
    """Return the descriptor of the listening socket that systemd passed, if any."""
    passed = environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0"
    return FIRST_PASSED if passed else None


def mistaken(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return names in the singular, `OPENAI_API_KEY`, with the names that they stand for."""
    left_out = ignored(environ)
    return {single: name for single, name in _singular(environ).items() if single not in left_out}


def ignored(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return names in the singular that are ignored, with the settings that they would need."""
    needed = {single: _NEEDED_WITH.get(name, "") for single, name in _singular(environ).items()}
    return {single: name for single, name in needed.items() if name and not environ.get(name)}


def secret_files(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the files from which secrets were read."""
    names = [name for name in Environment.model_fields if _may_be_file(name) and not environ.get(name)]
    return tuple(Path(path) for name in names if (path := environ.get(f"{name}_FILE")))


def _singular(environ: Mapping[str, str]) -> dict[str, str]:
    lists = [name for name in Environment.model_fields if name.endswith("_API_KEYS")]
    return {
        single: name
        for name in lists
        if (single := name.removesuffix("S")) not in Environment.model_fields
        and not (environ.get(name) or environ.get(f"{name}_FILE"))
        and (environ.get(single) or environ.get(f"{single}_FILE"))
    }


def _value(environ: Mapping[str, str], name: str) -> str:
    """Return a variable, or for a secret its file's text; empty when unset."""
    value, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if value or not path or not _may_be_file(name):
        return value
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{name}_FILE: cannot be read ({type(error).__name__})") from error


def _may_be_file(name: str) -> bool:
    field = Environment.model_fields.get(name)
    return field is None or "SecretStr" in repr(field.annotation)


def _one_line(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{error['loc'][0]}: {message}" if error["loc"] else message


def private_folder(path: Path) -> Path:
    """Create the folder for database and secrets (mode 0700); exit when it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise SystemExit(f"VAR_DIR: {path} cannot be written ({type(error).__name__})") from error


def secret_from_file(directory: Path, name: str, make: Callable[[], str]) -> str:
    """Return the secret in `directory/name`, created on first use (mode 0600) by one process."""
    path = directory / name
    try:
        if not path.exists():
            # Linking a complete file is atomic, so a process that comes second reads the whole secret of the first.
            with tempfile.NamedTemporaryFile("w", dir=directory, prefix=f".{name}.") as fresh:
                fresh.write(make())
                fresh.flush()
                os.fsync(fresh.fileno())
                with suppress(FileExistsError):
                    os.link(fresh.name, path)
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SystemExit(f"VAR_DIR: {directory} cannot be written ({type(error).__name__})") from error
