"""The addresses at which upstreams may be reached that an admin added."""

from typing import Any

import pytest

from providers import snapshot
from providers.addresses import admitting
from tests import factories


@pytest.mark.contract("setting: ALLOWED_PRIVATE_UPSTREAMS")
@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_admitted(address: str) -> None:
    """Public addresses are admitted."""
    assert admitting()("api.example.org", address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::", "224.0.0.1", "ff02::1"),
    ],
)
def test_private_addresses_are_refused(address: str) -> None:
    """Loopback, private, link-local, shared and multicast addresses are refused, in any notation."""
    assert not admitting()("api.example.org", address)


def test_allowed_networks_and_hosts(settings: Any) -> None:
    """Allowed networks and host names are admitted, and no other private address."""
    settings.ALLOWED_PRIVATE_UPSTREAMS = ["10.1.0.0/16", "ollama.internal"]
    admits = admitting()
    assert (admits("somewhere", "10.1.2.3"), admits("somewhere", "10.2.2.3")) == (True, False)
    assert admits("ollama.internal", "192.168.1.1")


@pytest.mark.django_db
def test_only_what_the_environment_named_is_trusted() -> None:
    """An upstream whose address an admin changed is checked like any other."""
    named = {"base_url": "http://127.0.0.1:9/v1", "proxy": ""}
    upstream = factories.upstream("o", kind="openai", **named, environment={"values": named})
    assert snapshot.upstream_config(upstream).trusted
    upstream.base_url = "http://127.0.0.1:10/v1"
    assert not snapshot.upstream_config(upstream).trusted
    added = factories.upstream("x", kind="openai", base_url="http://127.0.0.1:9/v1")
    assert not snapshot.upstream_config(added).trusted
