"""Django's settings, made from the environment (`environment.py`); modules read them when called, not at import."""

import re
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django_stubs_ext
from cryptography.fernet import Fernet
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from chatproject import __version__, environment, social_logins
from providers.wire import webhooks
from runtime.database_url import database_from_url, replica_from_url, sqlite_database

# Makes generic classes such as ModelAdmin[Row] work at run time, as the type checker knows them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
ENV = environment.load()
MISTAKEN_SETTINGS = environment.mistaken()
IGNORED_SETTINGS = environment.ignored()
# Files that variables such as SECRET_KEY_FILE name.
SECRET_FILES = environment.secret_files()

# The process
HOST, PORT, WORKERS = ENV.HOST, ENV.PORT, ENV.WORKERS
# The file descriptor of a socket from systemd, instead of HOST and PORT.
LISTENER = environment.listener_of_systemd()
DEBUG = ENV.DEBUG
VAR_DIR = environment.private_folder(BASE_DIR / ENV.VAR_DIR)
SECRET_KEY = (
    ENV.SECRET_KEY.get_secret_value()
    if ENV.SECRET_KEY
    else environment.secret_from_file(VAR_DIR, "secret_key", lambda: secrets.token_urlsafe(50))
)
KEY_ENCRYPTION_KEYS: list[str] = [
    key.get_secret_value() for key in ENV.KEY_ENCRYPTION_KEYS
] or environment.secret_from_file(VAR_DIR, "key_encryption_keys", lambda: Fernet.generate_key().decode()).split(",")
ALLOWED_HOSTS = list(ENV.ALLOWED_HOSTS)
CSRF_TRUSTED_ORIGINS = list(ENV.CSRF_TRUSTED_ORIGINS)
CORS_ALLOWED_ORIGINS = list(ENV.CORS_ALLOWED_ORIGINS)
TRUSTED_PROXIES = [str(network) for network in ENV.TRUSTED_PROXIES]
METRICS_TOKEN = ENV.METRICS_TOKEN.get_secret_value() if ENV.METRICS_TOKEN else ""
OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME = ENV.OTEL_EXPORTER_OTLP_ENDPOINT, ENV.OTEL_SERVICE_NAME
OTEL_EXPORTER_OTLP_HEADERS = ENV.OTEL_EXPORTER_OTLP_HEADERS.get_secret_value() if ENV.OTEL_EXPORTER_OTLP_HEADERS else ""
TRACEPARENT_UPSTREAMS = ENV.TRACEPARENT_UPSTREAMS
if not OTEL_EXPORTER_OTLP_ENDPOINT:
    # redis-py imports them wherever they are installed: sixty modules that only traces need.
    for unused in ("opentelemetry.metrics", "opentelemetry.sdk.metrics"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
DRAIN_SECONDS, PROCESS_LEASE_SECONDS = ENV.DRAIN_SECONDS, ENV.PROCESS_LEASE_SECONDS

# Alerts: where they are sent, and from which use of a disk, or of a group's quota, there is one
ALERT_EMAILS = list(ENV.ALERT_EMAILS)
ALERT_WEBHOOKS = [webhooks.parsed(url.get_secret_value()) for url in ENV.ALERT_WEBHOOKS]
ALERT_DISK_PERCENT, ALERT_QUOTA_PERCENT = ENV.ALERT_DISK_PERCENT, ENV.ALERT_QUOTA_PERCENT

# Chat
STREAM_PING_SECONDS, CHANNEL_RETENTION_SECONDS = ENV.STREAM_PING_SECONDS, ENV.CHANNEL_RETENTION_SECONDS
CHANNEL_MEMORY_BYTES = 64 * 2**20
MAX_PROMPT_CHARS, MAX_ANSWER_CHARS = ENV.MAX_PROMPT_CHARS, ENV.MAX_ANSWER_CHARS
MAX_ACTIVE_GENERATIONS, MAX_UNCHARGED_PER_HOUR = ENV.MAX_ACTIVE_GENERATIONS, ENV.MAX_UNCHARGED_PER_HOUR
MAX_START_SECONDS = ENV.MAX_START_SECONDS
MAX_ACTIVE_API_CALLS, API_REQUESTS_PER_MINUTE = ENV.MAX_ACTIVE_API_CALLS, ENV.API_REQUESTS_PER_MINUTE
STORAGE_MIB_PER_USER: float = ENV.STORAGE_MIB_PER_USER
MAX_BODY_BYTES = 2**20
# MiB of a request's body, on CHAT_PATHS and below /v1 only.
MAX_BODY_MIB = ENV.MAX_BODY_MIB
CHAT_PATHS = frozenset({"/api/chat/"})
# 0: for ever.
RETENTION_DAYS = ENV.RETENTION_DAYS or 0
# Slug of the model that writes titles of conversations; empty: a title is the first prompt.
TITLE_MODEL = ENV.TITLE_MODEL or ""
# MiB of an attachment, on ATTACHMENT_PATHS only.
MAX_ATTACHMENT_MIB = ENV.MAX_ATTACHMENT_MIB
ATTACHMENT_PATHS = frozenset({"/api/attachments/"})
# Bytes of an import's body, on IMPORT_PATHS only.
MAX_IMPORT_BYTES = 32 * 2**20
IMPORT_PATHS = frozenset({"/api/import/", "/api/admin/sensitive-words/import/", "/admin/chat/sensitiveword/import/"})

# Characters that a hit keeps of a prompt that was refused; 0: none.
HIT_EXCERPT_CHARS = ENV.HIT_EXCERPT_CHARS
# The service that judges prompts (chat/generations/moderation.py); empty: there is none.
MODERATION_URL, MODERATION_MODEL, MODERATION_TIMEOUT = (
    ENV.MODERATION_URL or "",
    ENV.MODERATION_MODEL,
    ENV.MODERATION_TIMEOUT,
)
MODERATION_KEY = ENV.MODERATION_KEY.get_secret_value() if ENV.MODERATION_KEY else ""
MODERATION_ON_FAILURE, MODERATION_ACTION = ENV.MODERATION_ON_FAILURE, ENV.MODERATION_ACTION
# What to do with each category, and from which score on; None: where the service flags it.
MODERATION_CATEGORIES: dict[str, tuple[str, float | None]] = dict(ENV.MODERATION_CATEGORIES)

# Upstreams: the four time limits, in seconds
UPSTREAM_CONNECT_SECONDS, UPSTREAM_FIRST_SECONDS = ENV.UPSTREAM_CONNECT_SECONDS, ENV.UPSTREAM_FIRST_SECONDS
UPSTREAM_IDLE_SECONDS, UPSTREAM_TOTAL_SECONDS = ENV.UPSTREAM_IDLE_SECONDS, ENV.UPSTREAM_TOTAL_SECONDS
MAX_UPSTREAM_ATTEMPTS = ENV.MAX_UPSTREAM_ATTEMPTS
ALLOWED_PRIVATE_UPSTREAMS = list(ENV.ALLOWED_PRIVATE_UPSTREAMS)

# The site, as users see it
SITE_NAME = ENV.SITE_NAME
# A web.logo.Logo and a web.colours.Palette; None: ours.
SITE_LOGO, SITE_COLOR = ENV.SITE_LOGO, ENV.SITE_COLOR
SITE_FOOTER, SITE_LEGAL_NUMBER, SITE_CONTACT = ENV.SITE_FOOTER, ENV.SITE_LEGAL_NUMBER, ENV.SITE_CONTACT

# Accounts
PUBLIC_URL = ENV.PUBLIC_URL
SIGNUP_MODE = ENV.SIGNUP_MODE
SHARE_MODE = ENV.SHARE_MODE
# Prompts a day that a visitor may send without an account; 0: none.
GUEST_DAILY_LIMIT = ENV.GUEST_DAILY_LIMIT
SIGNUP_APPROVAL, ALLOWED_MAIL_DOMAINS = ENV.SIGNUP_APPROVAL, ENV.ALLOWED_MAIL_DOMAINS
# Years that users state at sign-up to have reached; 0: no statement.
SIGNUP_MIN_AGE = ENV.SIGNUP_MIN_AGE or 0
# The version of the terms of use that users must accept before they ask; empty: there are none.
TERMS_VERSION, TERMS_URL = ENV.TERMS_VERSION or "", ENV.TERMS_URL or ""
# Days that entries of the audit are kept; whether staff give a reason before they read a conversation.
AUDIT_RETENTION_DAYS, AUDIT_REASON = ENV.AUDIT_RETENTION_DAYS, ENV.AUDIT_REASON
# Whether a login from a new device or network sends a mail.
LOGIN_ALERTS = ENV.LOGIN_ALERTS
REQUIRE_VERIFIED_EMAIL = bool(ENV.EMAIL_URL) if ENV.REQUIRE_VERIFIED_EMAIL is None else ENV.REQUIRE_VERIFIED_EMAIL

# Django: the parts
ROOT_URLCONF = "chatproject.urls"
ASGI_APPLICATION = "chatproject.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    # Only for `runserver`, because importing daphne takes half a second.
    *(["daphne"] if "runserver" in sys.argv else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.github",
    "allauth.socialaccount.providers.google",
    "allauth.socialaccount.providers.openid_connect",
    "accounts.wechat",
    "allauth.mfa",
    "allauth.usersessions",
    "corsheaders",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "rest_framework_simplejwt.token_blacklist",
    "runtime",
    "providers",
    "quotas",
    "accounts",
    "chat",
]
# For pages and REST, in threads. Event streams have their own async list below.
MIDDLEWARE = [
    "chatproject.middleware.secure_cookies",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "web.compression.compressed_pages",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "chatproject.middleware.session_user",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "web.refusals.RefusalMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.second_factor.staff_gate",
    "accounts.guests.gate",
    "accounts.audit.recording.audited",
    "chatproject.middleware.bounded_staff_reads",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "chatproject.middleware.ReplicaReads",
]
# For event streams and their JSON routes. Their views authenticate the caller themselves (accounts/auth.py).
STREAM_MIDDLEWARE = [
    "chatproject.middleware.openai_cors",
    "chatproject.middleware.cors",
    "chatproject.middleware.allowed_hosts",
    "chatproject.middleware.locale",
    "chatproject.middleware.refusals",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "accounts.adapters.mail_server",
                "accounts.guests.offer",
            ],
            "libraries": {"announcements": "chat.announcements.tags", "bundle": "web.bundle_tags"},
            "builtins": ["web.site_tags", "accounts.page_text_tags"],
        },
    }
]

# Data
DATABASES: dict[str, dict[str, Any]] = {
    "default": database_from_url(ENV.DATABASE_URL.get_secret_value())
    if ENV.DATABASE_URL
    else sqlite_database(VAR_DIR / "rivulet.sqlite3")
}
if ENV.DATABASE_REPLICA_URL:
    DATABASES["replica"] = replica_from_url(ENV.DATABASE_REPLICA_URL.get_secret_value())
    DATABASE_ROUTERS = ["runtime.read_replica.Router"]
REDIS_URL = ENV.REDIS_URL.get_secret_value() if ENV.REDIS_URL else ""
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "runtime.cache.FallbackCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "rivulet"}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}}
}

# Languages and time
LANGUAGE_CODE, TIME_ZONE = ENV.LANGUAGE_CODE, ENV.TIME_ZONE
LANGUAGES = [("zh-hans", _("Simplified Chinese")), ("en", _("English"))]
LOCALE_PATHS = [
    BASE_DIR / "locale",
    BASE_DIR / "locale/packages",  # our translations of texts in Django and allauth
]
FORMAT_MODULE_PATH = "chatproject.formats"

# Static files are served from the packages directly, so that the first start needs no build step.
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "web.bundle.BundleStorage"},
}
WHITENOISE_USE_FINDERS = True
# Files of the bundle have a hash of their content in the name, so browsers keep them for ever; others, for seconds:
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/chat/.+-[0-9A-Z]{8}\.\w+$"
WHITENOISE_MAX_AGE = 0 if DEBUG else 300

# Authentication
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["accounts.hashing.QueuedPBKDF2Hasher"]
# Requests (POST, DELETE) that hash a password. They have threads of their own (chatproject/asgi.py).
PASSWORD_PATHS = re.compile(
    r"/accounts/(login|signup|keep|reauthenticate|delete|password/(change|set|reset/key))/"
    r"|/api/(auth/(register|token)|me)/$|/admin/accounts/user/(add|[0-9]+/password)/$"
)
# For new passwords; existing ones stay valid.
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        # The share of characters in common with name or address. With Django's 0.7, alice could take "alice12345".
        ("UserAttributeSimilarityValidator", {"max_similarity": 0.6}),
        ("MinimumLengthValidator", {"min_length": 10}),
        ("CommonPasswordValidator", {}),
    )
]
LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "/", "/accounts/login/"
ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "accounts.adapters.SocialAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
# With mail, sign-up accepts an address that another account has; only the mailbox learns of it (accounts/claims.py).
ACCOUNT_PREVENT_ENUMERATION = "strict" if ENV.EMAIL_URL else True
# A user with an unverified address may log in and read, but not chat (refused with `account_incomplete`).
ACCOUNT_EMAIL_VERIFICATION = "optional" if ENV.EMAIL_URL else "none"
ACCOUNT_EMAIL_NOTIFICATIONS = bool(ENV.EMAIL_URL)
# Seconds after a login, or after the password was entered again, in which a user may change what gives access.
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
ACCOUNT_REAUTHENTICATION_REQUIRED = True
# A change of the password ends all other sessions (accounts/sessions.py).
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_SESSION_REMEMBER = True
MFA_ADAPTER = "accounts.second_factor.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
# A second factor beside the password only: allauth's login without one stores a session for each visitor who begins.
MFA_PASSKEY_LOGIN_ENABLED = False
# Without a mail server no address is ever verified.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# Accept a code for half a minute longer, because clocks differ.
MFA_TOTP_TOLERANCE = 1
# Browsers allow passkeys without HTTPS on localhost only.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not (PUBLIC_URL or "").startswith("https://")
# Whether staff need a second factor for the admin and the staff routes.
REQUIRE_MFA_STAFF = ENV.REQUIRE_MFA_STAFF
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms.InviteCodeForm"
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
# Failed logins are counted per client address and name (`key`, see AccountAdapter): so a stranger who guesses elsewhere
# never stops the account's owner. The windows make the wait grow, from a minute to an hour. Each address has a higher
# limit for all names together. The sign-up limit is high, because a whole classroom may sign up from one address.
ACCOUNT_RATE_LIMITS = {
    "login": "120/m/ip",
    "login_failed": "5/m/key,10/10m/key,20/h/key,60/m/ip",
    "signup": "300/m/ip",
    "signup_mail": "5/h/key",
    "guest": "20/h/ip",
    "login_alert": "5/h/key",
    "redeem_failed": "10/5m/user,300/m/ip",
}
ACCOUNT_FORMS = {"add_email": "accounts.address_form.AddressForm"}
SOCIALACCOUNT_EMAIL_REQUIRED = False
SOCIALACCOUNT_PROVIDERS = social_logins.providers(ENV)
# The claim whose names become groups of the user at each login; empty: groups are given here only.
OIDC_GROUPS_CLAIM = ENV.OIDC_GROUPS_CLAIM or ""
if ENV.EMAIL_URL:
    globals().update(environment.mail_from_url(ENV.EMAIL_URL.get_secret_value()))
else:
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.EMAIL_FROM

# REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.auth.Authentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["web.bodies.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "web.refusals.drf_exception_handler",
    "DEFAULT_SCHEMA_CLASS": "web.openapi.Schema",
}
# Path prefixes with their own error format, and the function that renders a refusal there. The first that fits counts.
REFUSAL_RENDERERS = {"/v1/messages": "chat.openai.messages_errors.response", "/v1": "chat.openai.errors.response"}
SPECTACULAR_SETTINGS = {
    "TITLE": SITE_NAME,
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/",
}

# Single-page apps on other origins: only the listed ones, never "*".
CORS_URLS_REGEX = r"^/(api|sse)/"
CORS_ALLOW_CREDENTIALS = bool(CORS_ALLOWED_ORIGINS)
CORS_ALLOW_HEADERS = [
    *("accept", "authorization", "content-type", "x-csrftoken", "x-requested-with"),
    *("idempotency-key", "last-event-id"),
]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "X-Quota-Remaining", "X-Quota-Reset", "Retry-After", "Link"]
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(hours=1),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=30),
    # A token becomes invalid when the user's password changes.
    "CHECK_REVOKE_TOKEN": True,
}

# Safety, beside Django's defaults for cookies and headers
HSTS_SECONDS = ENV.HSTS_SECONDS
CSRF_FAILURE_VIEW = "web.refusals.csrf_failure"
# The ASGI application limits all bodies by their path, so Django's limit only has to be no lower.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(MAX_BODY_BYTES, MAX_BODY_MIB * 2**20)
# Uploaded files stay in memory, where the ASGI application has put them already, and never reach the disk.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = max(MAX_IMPORT_BYTES, (MAX_ATTACHMENT_MIB + 1) * 2**20)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "frame-src": [SELF],
        # Browsers also apply it to the redirect after a form, and a social login starts with a form.
        "form-action": [SELF, *social_logins.hosts(ENV)],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    }
}

# Logs: one JSON line per request and per generation (runtime/logs.py).
LOGGING_CONFIG = None
