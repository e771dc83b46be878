"""Every setting of the contract: its default, empty values, and one clear line for a wrong value."""

import os
from pathlib import Path

import pytest

from chatproject.environment import Environment, ignored, listener_of_systemd, load, mistaken

BAD = [
    ("HOST", "http://somewhere"),
    ("HOST", "two words"),
    ("PORT", "eighty"),
    ("PORT", "-1"),
    ("PORT", "70000"),
    ("PORT", "8000.5"),
    ("WORKERS", "2"),
    ("WORKERS", "0"),
    ("DEBUG", "perhaps"),
    ("KEY_ENCRYPTION_KEYS", "short"),
    ("DATABASE_URL", "postgresql://user:password@host:port/name"),
    ("DATABASE_URL", "postgresql://u:p@h:99999999/x"),
    ("DATABASE_URL", "mysql://user:hunter2@host/x"),
    ("DATABASE_REPLICA_URL", "mysql://user:hunter2@host/x"),
    ("DATABASE_REPLICA_URL", "postgresql://user:password@host/x"),  # without a primary
    ("REDIS_URL", "redis://host:port/0"),
    ("REDIS_URL", "http://somewhere"),
    ("ALLOWED_HOSTS", "https://chat.example.org"),
    ("ALLOWED_HOSTS", "chat.example.org:8000"),
    ("CSRF_TRUSTED_ORIGINS", "chat.example.org"),
    ("CORS_ALLOWED_ORIGINS", "https://chat.example.org:port"),
    ("CORS_ALLOWED_ORIGINS", "*"),
    ("TRUSTED_PROXIES", "10.0.0.0/99"),
    ("TRUSTED_PROXIES", "everyone"),
    ("TIME_ZONE", "../etc/passwd"),
    ("TIME_ZONE", "Mars/Olympus"),
    ("LANGUAGE_CODE", "fr"),
    ("LANGUAGE_CODE", "tlh"),
    ("ADMIN_USERNAME", "two words"),
    ("ADMIN_EMAIL", "no-address"),
    ("PUBLIC_URL", "chat.example.org"),
    ("PUBLIC_URL", "https://chat.example.org/path"),
    ("SIGNUP_MODE", "maybe"),
    ("SHARE_MODE", "friends"),
    ("OIDC_ISSUER", "somewhere"),
    ("OIDC_ISSUER", "https://without.the.client.example.org"),
    ("OIDC_NAME", "x" * 41),
    ("REQUIRE_MFA_STAFF", "perhaps"),
    ("SIGNUP_MIN_AGE", "0"),
    ("ALLOWED_MAIL_DOMAINS", "@example.org"),
    ("AUDIT_RETENTION_DAYS", "7"),
    ("TERMS_VERSION", "x" * 101),
    ("SITE_NAME", "x" * 41),
    ("SITE_NAME", "two\nlines"),
    ("SITE_LOGO", "/no/such/hunter2.svg"),
    ("SITE_LOGO", "README.md"),
    ("SITE_COLOR", "teal"),
    ("SITE_COLOR", "#ffee00"),
    ("SITE_COLOR", "#7a1f5c,#7a1f5c"),
    ("SITE_COLOR", "#7a1f5c,#e7a3d0,#000000"),
    ("SITE_FOOTER", "x" * 201),
    ("SITE_LEGAL_NUMBER", "x" * 41),
    ("SITE_CONTACT", "javascript:alert(1)"),
    ("TERMS_URL", "somewhere"),
    ("HIT_EXCERPT_CHARS", "1001"),
    ("MODERATION_URL", "somewhere"),
    ("MODERATION_URL", "https://without.the.policy.example.org/v1"),
    ("MODERATION_TIMEOUT", "0"),
    ("MODERATION_TIMEOUT", "61"),
    ("MODERATION_ON_FAILURE", "perhaps"),
    ("MODERATION_ACTION", "mask"),
    *(
        ("MODERATION_CATEGORIES", rule)
        for rule in ("violence", "=block", "a=mask", "a=flag@", "a=flag@2", "a=flag@nan")
    ),
    ("OPENAI_API_KEYS", "sk-first sk-second"),
    ("OPENAI_API_KEYS", "sk-first\nsk-second"),
    ("OPENAI_BASE_URL", "http://host:port/v1"),
    ("OPENAI_BASE_URL", "http://"),
    ("OPENAI_BASE_URL", "ftp://somewhere"),
    ("OPENAI_PROXY", "somewhere:1"),
    ("OPENAI_PROXY", "http://proxy:99999"),
    ("OPENAI_PROXY", "socks4://proxy:1080"),
    ("OPENAI_MODELS", ","),
    ("OPENAI_MODELS", "=name"),
    ("AZURE_OPENAI_ENDPOINT", "without the keys"),
    ("AZURE_OPENAI_API_VERSION", "of today"),
    ("AZURE_OPENAI_MODELS", "=name"),
    ("GEMINI_API_KEYS", "AIza first"),
    ("GEMINI_BASE_URL", "somewhere"),
    ("GEMINI_PROXY", "somewhere:1"),
    ("GEMINI_MODELS", "=name"),
    ("ANTHROPIC_API_KEYS", "sk-ant-first sk-ant-second"),
    ("ANTHROPIC_BASE_URL", "ftp://somewhere"),
    ("ANTHROPIC_PROXY", "somewhere:1"),
    ("ANTHROPIC_MODELS", "=name"),
    ("SPARK_APP_ID", "without the others"),
    ("SPARK_URL", "ws://spark.example.org/v1.1/chat"),
    ("SPARK_URL", "wss://host:port/v1.1/chat"),
    ("SPARK_PROXY", "somewhere:1"),
    ("ZHIPU_PROXY", "socks4://proxy:1080"),
    ("ZHIPU_BASE_URL", "somewhere"),
    ("ZHIPU_V3_BASE_URL", "somewhere"),
    ("ZHIPU_MODELS", "=name"),
    ("UPSTREAM_CONNECT_SECONDS", "0"),
    ("UPSTREAM_FIRST_SECONDS", "nan"),
    ("UPSTREAM_IDLE_SECONDS", "inf"),
    ("UPSTREAM_TOTAL_SECONDS", "soon"),
    ("ALLOWED_PRIVATE_UPSTREAMS", "10.0.0.0/99"),
    ("ALLOWED_PRIVATE_UPSTREAMS", "http://10.0.0.1"),
    ("EMAIL_URL", "smtp://"),
    ("EMAIL_URL", "pigeon://somewhere"),
    ("REQUIRE_VERIFIED_EMAIL", "perhaps"),
    ("ALERT_EMAILS", "ops"),
    ("ALERT_EMAILS", "ops@without.the.server.example.org"),
    ("ALERT_WEBHOOKS", "ftp://hunter2@example.org"),
    ("ALERT_WEBHOOKS", "https://host:port/hunter2"),
    ("ALERT_WEBHOOKS", "https://example.org/hook#hunter2"),
    ("ALERT_DISK_PERCENT", "0"),
    ("ALERT_QUOTA_PERCENT", "101"),
    ("DAILY_LIMIT_STANDARD", "-1"),
    ("DAILY_LIMIT_STANDARD", "many"),
    ("DAILY_LIMIT_PREMIUM", "99999999999"),
    ("INVITER_CREDITS", "99999999999"),
    ("INVITEE_CREDITS", "many"),
    ("STREAM_PING_SECONDS", "0"),
    ("CHANNEL_RETENTION_SECONDS", "-5"),
    ("RETENTION_DAYS", "0"),
    ("RETENTION_DAYS", "for ever"),
    ("DRAIN_SECONDS", "-1"),
    ("PROCESS_LEASE_SECONDS", "0"),
    ("MAX_PROMPT_CHARS", "0"),
    ("MAX_PROMPT_CHARS", "-1"),
    ("MAX_ANSWER_CHARS", "0"),
    ("MAX_ACTIVE_GENERATIONS", "-1"),
    ("MAX_ACTIVE_API_CALLS", "-1"),
    ("API_REQUESTS_PER_MINUTE", "often"),
    ("MAX_UNCHARGED_PER_HOUR", "-1"),
    ("MAX_START_SECONDS", "0"),
    ("MAX_BODY_MIB", "0"),
    ("MAX_ATTACHMENT_MIB", "61"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda part: part)
def test_a_wrong_value_is_one_line_without_the_value(name: str, value: str) -> None:
    """A wrong value ends the start with one line that names the variable, not the value."""
    with pytest.raises(SystemExit) as ended:
        load({name: value})
    line = str(ended.value.code)
    assert line.startswith(f"{name}: ")
    assert "hunter2" not in line
    assert "\n" not in line


def test_an_empty_value_counts_as_unset() -> None:
    """An empty value counts as unset, for all settings and files of secrets."""
    empty = dict.fromkeys([*Environment.model_fields, "SECRET_KEY_FILE"], "")
    assert load(empty) == load({})


def test_defaults_are_those_of_the_contract() -> None:
    """The defaults are those of the contract."""
    found = load({})
    assert (found.HOST, found.PORT, found.WORKERS, found.DEBUG, str(found.VAR_DIR)) == (
        "127.0.0.1",
        8000,
        1,
        False,
        "var",
    )
    assert found.ALLOWED_HOSTS == ("localhost", "127.0.0.1", "[::1]")
    assert (found.TIME_ZONE, found.LANGUAGE_CODE, found.SIGNUP_MODE) == ("Asia/Shanghai", "zh-hans", "open")
    assert (found.ADMIN_USERNAME, found.ADMIN_EMAIL) == ("admin", "admin@localhost.localdomain")
    assert [slug for slug, _name in found.OPENAI_MODELS] == ["gpt-3.5-turbo", "gpt-4"]
    assert (found.SPARK_URL, found.SPARK_DOMAIN) == ("wss://spark-api.xf-yun.com/v1.1/chat", "lite")
    assert found.ZHIPU_BASE_URL == "https://open.bigmodel.cn/api/paas/v4"
    assert [slug for slug, _name in found.ZHIPU_MODELS] == ["glm-4-flash"]
    clocks = ("CONNECT", "FIRST", "IDLE", "TOTAL")
    assert [getattr(found, f"UPSTREAM_{clock}_SECONDS") for clock in clocks] == [10, 300, 120, 1800]
    assert (found.DAILY_LIMIT_STANDARD, found.DAILY_LIMIT_PREMIUM) == (50, 10)
    assert (found.INVITER_CREDITS, found.INVITEE_CREDITS) == (10, 5)
    assert (found.STREAM_PING_SECONDS, found.CHANNEL_RETENTION_SECONDS) == (15, 600)
    assert (found.DRAIN_SECONDS, found.PROCESS_LEASE_SECONDS) == (30, 30)
    assert (found.MAX_PROMPT_CHARS, found.MAX_ANSWER_CHARS, found.MAX_ACTIVE_GENERATIONS) == (32_000, 1_000_000, 3)
    assert (found.MAX_ACTIVE_API_CALLS, found.API_REQUESTS_PER_MINUTE) == (10, 120)
    assert (found.MAX_UNCHARGED_PER_HOUR, found.MAX_BODY_MIB, found.MAX_ATTACHMENT_MIB) == (30, 20, 10)
    assert found.MAX_START_SECONDS == 30


@pytest.mark.contract("setting: HOST", "setting: OPENAI_MODELS")
def test_valid_forms_are_accepted() -> None:
    """Lists with spaces, renamed models, IPv6 and wildcards are accepted."""
    found = load(
        {
            "HOST": "::",
            "ALLOWED_HOSTS": "chat.example.org, .example.com,[::1],*",
            "OPENAI_MODELS": "fast=org/model:free, gpt-4",
            "OPENAI_PROXY": "socks5://user:word@127.0.0.1:1080",
            "SPARK_URL": "ws://127.0.0.1:9001/v1.1/chat",
            "TRUSTED_PROXIES": "10.0.0.1, fd00::/8",
            "ALLOWED_PRIVATE_UPSTREAMS": "ollama.lan, 10.0.0.0/8, fd00::1",
            "DRAIN_SECONDS": "0",
            "MAX_ACTIVE_GENERATIONS": "0",
            "MAX_ACTIVE_API_CALLS": "0",
            "API_REQUESTS_PER_MINUTE": "0",
            "MAX_UNCHARGED_PER_HOUR": "0",
        }
    )
    assert found.ALLOWED_HOSTS == ("chat.example.org", ".example.com", "[::1]", "*")
    assert found.OPENAI_MODELS == (("fast", "org/model:free"), ("gpt-4", "gpt-4"))
    assert len(found.TRUSTED_PROXIES) == 2


@pytest.mark.contract("setting: SECRET_KEY")
@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "ADMIN_PASSWORD", "DATABASE_URL", "OPENAI_API_KEYS", "SPARK_API_SECRET", "ZHIPU_API_KEYS"]
)
def test_a_secret_is_read_from_its_file(name: str, tmp_path: Path) -> None:
    """`NAME_FILE` sets a secret; `NAME` wins, and an unreadable file ends the start."""
    written = tmp_path / "secret"
    written.write_text("postgresql://one@host/name\n")  # good for every one of them
    others = {"SPARK_APP_ID": "a", "SPARK_API_KEY": "b"} if name.startswith("SPARK") else {}
    assert load({**others, f"{name}_FILE": str(written)}) == load({**others, name: "postgresql://one@host/name"})
    assert load({**others, f"{name}_FILE": "/no/such", name: "postgresql://two@host/name"})
    with pytest.raises(SystemExit, match=f"^{name}_FILE: "):
        load({**others, f"{name}_FILE": "/no/such"})


@pytest.mark.parametrize("vendor", ["OPENAI", "ZHIPU", "DEEPSEEK", "OPENROUTER"])
def test_a_key_in_the_singular_is_accepted(vendor: str, tmp_path: Path) -> None:
    """`OPENAI_API_KEY` counts as a list of one, from a file too, unless the list itself is set."""
    name, single = f"{vendor}_API_KEYS", f"{vendor}_API_KEY"
    written = tmp_path / "key"
    written.write_text("id.secret\n")
    assert load({single: "id.secret"}) == load({f"{single}_FILE": str(written)}) == load({name: "id.secret"})
    assert mistaken({single: "id.secret"}) == mistaken({f"{single}_FILE": str(written)}) == {single: name}
    both = {name: "id.first", single: "id.second"}
    assert load(both) == load({name: "id.first"})
    assert mistaken(both) == mistaken({f"{name}_FILE": str(written), single: "id.second"}) == mistaken({}) == {}
    with pytest.raises(SystemExit, match=f"^{single}_FILE: "):
        load({f"{single}_FILE": "/no/such"})


def test_a_key_of_another_programs_does_not_stop_the_start() -> None:
    """`AZURE_OPENAI_API_KEY` alone is ignored; with an endpoint it counts, and the list alone needs one."""
    single, endpoint = "AZURE_OPENAI_API_KEY", {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}
    assert load({single: "0123abcd"}) == load({})
    assert (mistaken({single: "0123abcd"}), ignored({single: "0123abcd"})) == ({}, {single: "AZURE_OPENAI_ENDPOINT"})
    assert load({single: "0123abcd", **endpoint}) == load({f"{single}S": "0123abcd", **endpoint})
    assert mistaken({single: "0123abcd", **endpoint}) == {single: f"{single}S"}
    assert ignored({single: "0123abcd", **endpoint}) == ignored({"OPENAI_API_KEY": "k"}) == {}
    with pytest.raises(SystemExit, match="AZURE_OPENAI_ENDPOINT: needed"):
        load({f"{single}S": "0123abcd"})


def test_a_socket_of_systemd_is_taken_over() -> None:
    """The socket that systemd passes to this very process is used; one for another process is not."""
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert listener_of_systemd(passed) == 3
    assert listener_of_systemd({**passed, "LISTEN_PID": "1"}) is None
    assert listener_of_systemd({**passed, "LISTEN_FDS": "0"}) is listener_of_systemd({}) is None


def test_a_singular_of_its_own_stays_one() -> None:
    """`SPARK_API_KEY` is a setting, not a mistake."""
    assert mistaken({"SPARK_APP_ID": "a", "SPARK_API_KEY": "b", "SPARK_API_SECRET": "c"}) == {}
