"""The systemd units, the image and compose.yaml: they name what exists, and keep to what they promise."""

import fnmatch
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import conftest
from tests.product import Product
from tests.readers import wait_until
from tests.servers import ROOT

DEPLOY = ROOT / "deploy"
UNITS = ("rivulet.service", "rivulet@.service")


def test_the_units_and_the_image_name_what_exists() -> None:
    """The commands and files that the units, the Dockerfile and compose name are there."""
    image = (DEPLOY / "Dockerfile").read_text()
    for text in (image, *((DEPLOY / unit).read_text() for unit in UNITS)):
        assert "manage.py setup" in text
        assert "manage.py serve" in text
    assert "--require-hashes -r requirements.txt" in image
    for path in re.findall(r'"python", "(deploy/\S+?)"', image):
        assert (ROOT / path).exists()
    compose = (DEPLOY / "compose.yaml").read_text()
    for path in re.findall(r"\./(nginx/\S+?):", compose):
        assert (DEPLOY / path).exists()


def test_the_template_differs_in_its_port_only() -> None:
    """An instance runs as the single service does, except for its port."""
    single, template = ((DEPLOY / unit).read_text().splitlines() for unit in UNITS)
    changed = [line for line in template if line not in single and not line.startswith(("#", "Description="))]
    assert changed == ["ExecStart=/usr/bin/env PORT=%i /srv/rivulet/.venv/bin/python manage.py serve"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_units_are_hardened(unit: str, tmp_path: Path) -> None:
    """systemd rates the exposure of each unit below 4."""
    if shutil.which("systemd-analyze") is None:
        conftest._missing("systemd-analyze is not installed: apt-get install systemd")
    shutil.copy(DEPLOY / unit, tmp_path / unit.replace("@", "@8001"))
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=40",
        str(tmp_path / unit.replace("@", "@8001")),
    ]
    rated = subprocess.run(command, capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr


def services() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"])


def test_compose_bounds_each_service() -> None:
    """Each service has a health check, limits and a bounded log; only nginx is published, and shares one network."""
    found = services()
    for name, service in found.items():
        assert service["logging"]["options"]["max-size"], name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert name == "app" or service["healthcheck"], name
    assert [name for name, service in found.items() if "ports" in service] == ["nginx"]
    assert set(found["nginx"]["networks"]) & set(found["app"]["networks"]) == {"front"}
    assert found["app"]["environment"]["TRUSTED_PROXIES"] == found["nginx"]["networks"]["front"]["ipv4_address"]
    user = re.search(r"^USER (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert re.fullmatch(r"\d+:\d+", user[1])


def test_containers_do_not_take_the_address_of_nginx() -> None:
    """Those that start first get addresses of a part of the network in which nginx's is not."""
    (places,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["networks"]["front"]["ipam"]["config"]
    network, others = ip_network(places["subnet"]), ip_network(places["ip_range"])
    address = ip_address(services()["nginx"]["networks"]["front"]["ipv4_address"])
    assert others.subnet_of(network)
    assert address in network
    assert address not in others


@pytest.mark.parametrize(
    "secret",
    [
        "deploy/.env",
        "deploy/kubernetes/secrets.env",
        "deploy/tls/rivulet.key",
        "deploy/tls/rivulet.pem",
        "var/secret_key",
        "rivulet.sqlite3",
    ],
)
def test_secrets_stay_out_of_the_image(secret: str) -> None:
    """.dockerignore leaves out the files that hold secrets."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    parts = Path(secret).parts
    names = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    assert any(
        fnmatch.fnmatch(name, pattern.removeprefix("**/")) or fnmatch.fnmatch(name.rpartition("/")[2], pattern[3:])
        for name in names
        for pattern in patterns
    )


@pytest.mark.server
def test_the_health_check_passes(product: Product) -> None:
    """The image's health check passes under a host name that the product accepts, and fails without a process."""

    def check(**environment: str) -> int:
        command = [sys.executable, "-S", str(DEPLOY / "healthcheck.py")]
        return subprocess.run(command, env=environment, capture_output=True).returncode

    port = product.url.rpartition(":")[2]
    for hosts in ("localhost,chat.example.org", "*"):  # a process that stands still for two seconds passes later
        wait_until(lambda hosts=hosts: check(PORT=port, ALLOWED_HOSTS=hosts) == 0)
    assert check(PORT=port, ALLOWED_HOSTS="chat.example.org") == 1
    assert check(PORT="1") == 1
