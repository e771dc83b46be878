"""Starting: a bad setting ends the start with one clear line that names it, and a code that is not 0."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product import Product

pytestmark = pytest.mark.server


def failed(product: Product, command: str, **environment: str) -> str:
    """Run a command that must fail, and return its one line."""
    done = product.manage(command, **environment)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    return line


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


def test_it_works(tmp_path: Path) -> None:
    """The first start makes secret files that only the owner can read, and says where it serves."""
    product = Product(tmp_path / "var")
    assert product.manage("setup").returncode == 0
    with product:
        assert product.client().get("/healthz").json() == {"status": "ok"}
        for name in ("secret_key", "key_encryption_keys"):
            assert (tmp_path / "var" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "environment",
    [
        {"DATABASE_URL": "mysql://somewhere/else"},
        {"DATABASE_URL": "postgresql://u:p@h:99999999/x"},
        {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"},
        {"PORT": "eighty"},
        {"PORT": "70000"},
        {"WORKERS": "2"},
        {"WORKERS": "0"},
        {"TIME_ZONE": "Mars/Olympus"},
        {"LANGUAGE_CODE": "tlh"},
        {"SIGNUP_MODE": "maybe"},
        {"KEY_ENCRYPTION_KEYS": "short"},
        {"REDIS_URL": "http://somewhere"},
        {"TRUSTED_PROXIES": "everyone"},
        {"OPENAI_BASE_URL": "ftp://somewhere"},
        {"OPENAI_PROXY": "somewhere:1"},
        {"EMAIL_URL": "pigeon://somewhere"},
        {"MAX_PROMPT_CHARS": "-1"},
        {"DAILY_LIMIT_STANDARD": "many"},
        {"CORS_ALLOWED_ORIGINS": "*"},
        {"SECRET_KEY_FILE": "/no/such/file"},
        {"VAR_DIR": "/proc/nowhere"},
    ],
    ids=lambda environment: "-".join(environment.items().__iter__().__next__()),
)
def test_bad_settings_are_named(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each bad value is answered with one line that names its variable."""
    (name,) = environment
    assert name in failed(Product(tmp_path), "setup", **environment)


def test_a_bad_secret_is_not_printed(tmp_path: Path) -> None:
    """The line does not repeat the value: it may be a secret."""
    assert "hunter2" not in failed(Product(tmp_path), "setup", DATABASE_URL="mysql://user:hunter2@host/x")


def test_a_taken_port_is_named(tmp_path: Path, taken: str) -> None:
    """A port that is taken is one line, not a traceback."""
    product = Product(tmp_path)
    assert product.manage("setup").returncode == 0
    line = failed(product, "serve", PORT=taken)
    assert "PORT" in line
    assert taken in line


def test_empty_counts_as_unset(tmp_path: Path) -> None:
    """An empty value is no value."""
    assert Product(tmp_path).manage("setup", WORKERS="", TIME_ZONE="", OPENAI_BASE_URL="").returncode == 0


def test_secrets_from_files(tmp_path: Path) -> None:
    """`ADMIN_PASSWORD_FILE` stands for ADMIN_PASSWORD; a given password is never printed."""
    (tmp_path / "password").write_text("from a file, quite long\n")
    product = Product(tmp_path / "var", ADMIN_PASSWORD="", ADMIN_PASSWORD_FILE=str(tmp_path / "password"))
    with product:
        body = {"username": "admin", "password": "from a file, quite long"}
        assert product.client().post("/api/auth/token/", json=body).status_code == 200


def test_the_generated_password_is_printed_once(tmp_path: Path) -> None:
    """The first start prints the admin's name and password, the second does not."""
    product = Product(tmp_path, ADMIN_PASSWORD="")
    first, second = product.manage("setup"), product.manage("setup")
    assert "admin" in first.stdout
    assert "password" in first.stdout
    assert "password" not in second.stdout


def test_setup_does_not_overwrite(tmp_path: Path) -> None:
    """What an admin edited stays; what follows the environment follows it."""
    product = Product(tmp_path, OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_MODELS="m")
    assert product.manage("setup").returncode == 0
    script = (
        "from providers.models import Upstream; from quotas.models import Quota;"
        "Quota.objects.filter(slug='standard').update(daily_limit=7);"
        "Upstream.objects.filter(slug='openai').update(proxy='http://127.0.0.1:8')"
    )
    assert product.manage("shell", "-c", script).returncode == 0
    assert product.manage("setup", OPENAI_BASE_URL="http://127.0.0.1:10/v1", DAILY_LIMIT_STANDARD="5").returncode == 0
    show = (
        "from providers.models import Upstream; from quotas.models import Quota;"
        "u = Upstream.objects.get(slug='openai');"
        "print(Quota.objects.get(slug='standard').daily_limit, u.base_url, u.proxy)"
    )
    shown = product.manage("shell", "-c", show).stdout.splitlines()[-1]
    assert shown == "7 http://127.0.0.1:10/v1 http://127.0.0.1:8"
