"""REDIS_URL: one server, sentinels, a cluster."""

import pytest

from runtime import redis_urls
from runtime.redis_urls import Address


def test_sentinels_with_a_service() -> None:
    """User, password, number and options hold for the primary; sentinels have their own user and password."""
    url = redis_urls.parse(
        "rediss+sentinel://me:a%40b@s1,s2:2,[::1]:3/chat/4?ssl_ca_certs=/ca.pem&sentinel_password=x%2Fy"
    )
    assert (url.kind, url.service) == ("sentinel", "chat")
    assert url.addresses == (Address("s1", 26379), Address("s2", 2), Address("::1", 3))
    assert url.server(Address("10.0.0.1", 6380)) == "rediss://me:a%40b@10.0.0.1:6380/4?ssl_ca_certs=%2Fca.pem"
    assert url.sentinel(Address("::1", 3)) == "rediss://:x%2Fy@[::1]:3?ssl_ca_certs=%2Fca.pem"


def test_nodes_of_a_cluster() -> None:
    """A few nodes are enough; each is reached with the same user, password and options."""
    url = redis_urls.parse("redis+cluster://:secret@n1:7000,n2")
    assert (url.kind, url.addresses) == ("cluster", (Address("n1", 7000), Address("n2", 6379)))
    assert url.server(Address("n3", 7000)) == "redis://:secret@n3:7000/0"
    for url in ("rediss+cluster://n1?ssl_ca_certs=/etc/ca.pem", "rediss+cluster://n1/?ssl_ca_certs=/etc/ca.pem"):
        node = redis_urls.parse(url).server(Address("n2", 1))
        assert node == "rediss://n2:1/0?ssl_ca_certs=%2Fetc%2Fca.pem"
    assert redis_urls.parse("rediss+cluster://n1/0?ssl_cert_reqs=none").server(Address("n1", 1)).startswith("rediss://")


@pytest.mark.parametrize("url", ["redis://", "redis://:pass@h:1/2", "unix:///run/redis.sock?db=1", "rediss://h"])
def test_one_server(url: str) -> None:
    """redis-py reads such a URL as it is."""
    assert redis_urls.parse(url).kind == "server"


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis",
        "redis://h:0",
        "redis://h:port",
        "redis+other://h",
        "unix+cluster:///run/redis.sock",
        "redis+sentinel://h:1",
        "redis+sentinel://h:1/chat/0/more",
        "redis+sentinel://h:1/chat/zero",
        "redis+sentinel://h:1,/chat",
        "redis+cluster://h:1,h:99999",
        "redis+cluster://h:1/1",
        "redis+cluster://h:1/chat",
    ],
)
def test_invalid_urls(url: str) -> None:
    """A missing service, a number that a cluster does not have, and mistyped addresses are refused."""
    with pytest.raises(ValueError, match="redis\\+cluster"):
        redis_urls.parse(url)
