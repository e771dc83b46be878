"""/v1/embeddings: passed through to OpenAI-compatible upstreams, and charged like a completion."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import OpenAI

from tests.chat.programs import error
from tests.product import ApiUser, Product, connected
from tests.upstreams import FakeOpenAI

URL = "/v1/embeddings"
MODELS = {
    "embed": "embed",
    "embed-listed": "embed",
    "embed-gone": "http_500",
    "embed-odd": "json_200",
    "embed-blocked": "http_400:content_filter",
}


@pytest.fixture(scope="module")
def product(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product with models that embed."""
    with Product(tmp_path_factory.mktemp("embeddings"), **connected(upstream, **MODELS)) as running:
        yield running


@pytest.fixture
def api_user(product: Product, request: pytest.FixtureRequest) -> ApiUser:
    return product.register(f"embedder{abs(hash(request.node.name)) % 10**8}")


def ask(caller: httpx.Client, given: Any, model: str = "embed", **body: Any) -> httpx.Response:
    return caller.post(URL, json={"model": model, "input": given, **body})


@pytest.mark.contract("POST /v1/embeddings")
def test_embeddings(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """Texts are passed through under the upstream's name for the model, and cost one unit together."""
    answer = ask(api_user.client, ["one", "three"], dimensions=2, encoding_format="float")
    assert answer.json() == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [5, 0.5]},
        ],
        "model": "embed",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    sent = upstream.requests[-1]
    assert sent.path == "/v1/embeddings"
    assert sent.body == {"input": ["one", "three"], "model": "embed", "dimensions": 2, "encoding_format": "float"}
    assert int(answer.headers["x-quota-remaining"]) > 0
    assert api_user.quota()["used_today"] == 1


def test_openais_client(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """OpenAI's own client reads them; one text and lists of tokens may be given too."""
    with OpenAI(base_url=f"{api_user.product.url}/v1", api_key=api_user.access) as client:
        found = client.embeddings.create(model="embed", input="one", encoding_format="float")
        assert found.data[0].embedding == [3, 0.5]
        found = client.embeddings.create(model="embed", input=[[1, 2], [3]], encoding_format="float")
        assert [each.embedding[0] for each in found.data] == [2, 1]
    assert upstream.requests[-1].body["input"] == [[1, 2], [3]]


def test_failures(api_user: ApiUser) -> None:
    """The upstream's failures have the statuses of completions, and cost nothing."""
    assert error(ask(api_user.client, "x", "embed-gone"))[:2] == (502, "server_error")
    assert error(ask(api_user.client, "x", "embed-odd"))[:2] == (502, "server_error")
    assert error(ask(api_user.client, "x", "embed-blocked"))[:3] == (
        400,
        "invalid_request_error",
        "content_policy_violation",
    )
    assert error(ask(api_user.client, "x", "nope"))[2] == "model_not_found"
    assert error(ask(api_user.client, "x", "demo")) == (400, "invalid_request_error", "unsupported_parameter", "model")
    for given in (None, "", [], [""], " ", 7, [1.5], [["x"]], {"a": 1}):
        assert error(ask(api_user.client, given))[3] == "input", given
    assert api_user.quota()["used_today"] == 0


def test_a_model_with_its_own_list(api_user: ApiUser) -> None:
    """What a model's row lists of completions does not keep it from embedding; `/v1/models` shows the list."""
    admin = api_user.product.admin()
    rows = admin.client.get("/api/admin/models/").json()
    row = next(row for row in rows if row["slug"] == "embed-listed")
    changed = admin.client.patch(f"/api/admin/models/{row['id']}/", json={"takes": ["stop"]})
    assert changed.status_code == 200, changed.text
    assert api_user.client.get("/v1/models/embed-listed").json()["capabilities"] == ["stop"]
    assert ask(api_user.client, "one", "embed-listed").status_code == 200


def test_words(api_user: ApiUser, upstream: FakeOpenAI) -> None:
    """A blocked word in any of the texts refuses the request; a masked one goes on masked."""
    admin = api_user.product.admin()
    for word, action in (("embedblock", "block"), ("embedmask", "mask")):
        body = {"word": word, "action": action, "scope": "input", "category": "", "enabled": True}
        assert admin.client.post("/api/admin/sensitive-words/", json=body).status_code == 201
    before = len(upstream.requests)
    assert error(ask(api_user.client, ["embedblock", "fine"]))[2] == "content_policy_violation"
    assert len(upstream.requests) == before
    assert ask(api_user.client, ["an embedmask", "fine"]).status_code == 200
    assert upstream.requests[-1].body["input"] == ["an *********", "fine"]
    # Tokens have no words to compare.
    before = len(upstream.requests)
    for tokens in ([1, 2], [[1, 2], [3]]):
        assert error(ask(api_user.client, tokens))[:4:3] == (400, "input")
    assert len(upstream.requests) == before
    assert api_user.quota()["used_today"] == 1
