"""Starting: a wrong setting ends the process with one line that names it, and a code that is not 0."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.product import Product

pytestmark = pytest.mark.server


def error_line(product: Product, command: str, **environment: str) -> str:
    """Run a command that must fail, and return its only line."""
    done = product.manage(command, **environment)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    return line


@pytest.fixture
def taken_port() -> Iterator[str]:
    """A port that another process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.contract("setting: VAR_DIR")
def test_the_first_start_makes_private_secret_files(tmp_path: Path) -> None:
    """The first start creates secret files that only their owner can read."""
    with Product(tmp_path / "var") as product:
        assert product.client().get("/healthz").json() == {"status": "ok"}
        for name in ("secret_key", "key_encryption_keys"):
            assert (tmp_path / "var" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "environment",
    [
        {"DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"},
        {"WORKERS": "2"},
        {"VAR_DIR": "/proc/nowhere"},
    ],
    ids=lambda environment: "-".join(environment.items().__iter__().__next__()),
)
def test_bad_settings_are_named(tmp_path: Path, environment: dict[str, str]) -> None:
    """A bad value ends the start with one line that names its variable, wherever in starting it is found.

    tests/contract/test_settings.py has a bad value of every setting.
    """
    (name,) = environment
    assert name in error_line(Product(tmp_path), "setup", **environment)


@pytest.mark.contract("setting: PORT")
def test_a_taken_port_is_named(tmp_path: Path, taken_port: str) -> None:
    """A taken port is one line, not a traceback."""
    line = error_line(Product(tmp_path), "serve", PORT=taken_port)
    assert "PORT" in line
    assert taken_port in line


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    """`ADMIN_PASSWORD_FILE` sets ADMIN_PASSWORD; a given password is never printed."""
    (tmp_path / "password").write_text("from a file, quite long\n")
    product = Product(tmp_path / "var", ADMIN_PASSWORD="", ADMIN_PASSWORD_FILE=str(tmp_path / "password"))
    with product:
        body = {"username": "admin", "password": "from a file, quite long"}
        assert product.client().post("/api/auth/token/", json=body).status_code == 200


@pytest.mark.contract("setting: ADMIN_PASSWORD")
def test_the_generated_password_is_printed_once(tmp_path: Path) -> None:
    """The first start prints the admin's name and password, the second does not."""
    servers.migrated_sqlite(tmp_path)
    product = Product(tmp_path, ADMIN_PASSWORD="")
    first, second = product.manage("setup"), product.manage("setup")
    assert "admin" in first.stdout
    assert "password" in first.stdout
    assert "password" not in second.stdout


@pytest.mark.contract("setup never overwrites")
def test_setup_does_not_overwrite(tmp_path: Path) -> None:
    """An admin's edits stay; values from the environment follow it; empty values are not set."""
    servers.migrated_sqlite(tmp_path)
    product = Product(tmp_path, OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_MODELS="m", WORKERS="", TIME_ZONE="")
    assert product.manage("setup").returncode == 0
    product.sql("UPDATE quotas_quota SET daily_limit = 7 WHERE slug = 'standard'")
    product.sql("UPDATE providers_upstream SET proxy = 'http://127.0.0.1:8' WHERE slug = 'openai'")
    assert product.manage("setup", OPENAI_BASE_URL="http://127.0.0.1:10/v1", DAILY_LIMIT_STANDARD="5").returncode == 0
    assert product.sql("SELECT daily_limit FROM quotas_quota WHERE slug = 'standard'") == [(7,)]
    row = product.sql("SELECT base_url, proxy FROM providers_upstream WHERE slug = 'openai'")
    assert row == [("http://127.0.0.1:10/v1", "http://127.0.0.1:8")]
