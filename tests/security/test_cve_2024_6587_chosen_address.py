"""CVE-2024-6587: no request chooses the address that gets the operator's key."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.product import ApiUser, Product
from tests.upstreams import FakeOpenAI

pytestmark = pytest.mark.server

NAMES = [
    "api_base",
    "base_url",
    "api_url",
    "endpoint",
    "proxy",
    "host",
    "upstream",
    "azure_endpoint",
    "custom_llm_provider",
]
ANOTHER_KEY = "sk-of-the-caller"


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A server of the attacker on this machine, which waits for a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def owner(product: Product) -> ApiUser:
    return product.register("chooser")


def wishes(trap: socket.socket) -> dict[str, Any]:
    """Return fields by which other gateways let a request choose its address or key."""
    url = f"http://127.0.0.1:{trap.getsockname()[1]}/v1"
    inner = dict.fromkeys(NAMES, url) | {"api_key": ANOTHER_KEY}
    return inner | {"extra_body": inner, "litellm_params": inner, "metadata": inner, "user_config": inner}


def test_fields_choose_nothing_on_v1(owner: ApiUser, upstream: FakeOpenAI, trap: socket.socket) -> None:
    """On /v1 such fields and headers are ignored: the request goes to the configured upstream, with its key."""
    messages = [{"role": "user", "content": "Hello"}]
    headers = {
        f"X-{name.replace('_', '-')}": str(value) for name, value in wishes(trap).items() if isinstance(value, str)
    }
    body = {"model": "plain", "messages": messages, **wishes(trap)}
    assert owner.client.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    sent = upstream.requests[-1]
    assert sent.headers["authorization"].startswith("Bearer sk-")
    text = json.dumps(sent.body) + json.dumps(dict(sent.headers))
    assert str(trap.getsockname()[1]) not in text
    assert ANOTHER_KEY not in text
    assert owner.access not in text
    with pytest.raises(BlockingIOError):
        trap.accept()


def test_fields_are_refused_in_the_chat(owner: ApiUser, trap: socket.socket) -> None:
    """`/api/chat/` refuses each of them by name."""
    body = {"model": "plain", "prompt": "Hello", **wishes(trap)}
    response = owner.client.post("/api/chat/", json=body)
    assert response.status_code == 400
    assert set(response.json()["error"]["details"]) == set(wishes(trap))


@pytest.mark.parametrize("model", ["http://127.0.0.1:9/v1", "openai/plain@127.0.0.1", "../plain", "plain?api_base=x"])
def test_a_models_name_is_no_address(owner: ApiUser, model: str) -> None:
    """A model is one of the list, or unknown."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    assert owner.client.post("/v1/chat/completions", json=body).status_code == 404


def test_users_change_no_upstream(owner: ApiUser, trap: socket.socket) -> None:
    """Only staff change the address of an upstream."""
    url = f"http://127.0.0.1:{trap.getsockname()[1]}/v1"
    body = {"slug": "mine", "kind": "openai", "base_url": url}
    assert owner.client.post("/api/admin/upstreams/", json=body).status_code == 403
    assert owner.client.patch("/api/admin/upstreams/1/", json={"base_url": url}).status_code == 403
