"""Lists of models from upstreams: tolerant reading, bounds, and typed failures without secrets."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from providers.wire.base import Endpoint, ModelList, OfferedModel
from providers.wire.errors import ProviderError, UpstreamFailed, UpstreamTimeout
from providers.wire.openai import model_list
from providers.wire.openai.adapter import OpenAICompatible
from providers.wire.openai.model_list import MAX_BYTES, MAX_MODELS
from providers.wire.zhipu.adapter import Zhipu
from tests.model_lists import CONTEXT_TOKENS, MODELS
from tests.providers.streams import until
from tests.readers import until_below
from tests.upstreams import FakeOpenAI
from tests.zhipu import KEY, KEY_ID, FakeZhipu

SECRET = "sk-planted-0123456789abcdef"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as server:
        yield server


async def ask(provider: OpenAICompatible, key: str | None = SECRET) -> ModelList:
    try:
        return await provider.list_models(key)
    finally:
        await provider.aclose()


async def failing(fake: FakeOpenAI, scenario: str) -> ProviderError:
    """Ask, expect a failure, and return it once it has shown that it holds nothing secret."""
    fake.keys[SECRET] = scenario
    with pytest.raises(ProviderError) as caught:
        await ask(OpenAICompatible(Endpoint(fake.base_url)))
    text = f"{caught.value!r} {caught.value} {caught.value.vendor_code}"
    assert not [secret for secret in (SECRET, "sk-secret", "127.0.0.1", "<html", "login") if secret in text]
    return caught.value


async def test_models_are_listed_by_name(fake: FakeOpenAI) -> None:
    """Names are sorted, with the context size where the upstream gives it."""
    fake.keys[SECRET] = "few"
    listing = await ask(OpenAICompatible(Endpoint(f"{fake.base_url}/chat/completions/")))
    assert [model.name for model in listing.models] == sorted(MODELS, key=str.casefold)
    assert OfferedModel("echo", CONTEXT_TOKENS) in listing.models
    assert listing.complete
    request = fake.requests[-1]
    assert (request.method, request.path, request.key) == ("GET", "/v1/models", SECRET)
    assert request.headers["accept"] == "application/json"


async def test_without_a_key(fake: FakeOpenAI) -> None:
    """A request to a server without keys carries none."""
    await ask(OpenAICompatible(Endpoint(fake.base_url)), None)
    assert "authorization" not in fake.requests[-1].headers


@pytest.mark.parametrize(
    ("scenario", "names"), [("bare", ["a", "b"]), ("odd", ["good"]), ("empty", [])], ids=lambda value: str(value)
)
async def test_other_forms(fake: FakeOpenAI, scenario: str, names: list[str]) -> None:
    """Bare arrays are read, and odd entries are skipped."""
    fake.keys[SECRET] = scenario
    assert [model.name for model in (await ask(OpenAICompatible(Endpoint(fake.base_url)))).models] == names


async def test_long_lists_are_cut(fake: FakeOpenAI) -> None:
    """Of thousands of models the first are taken, and the list says that it is not complete."""
    fake.keys[SECRET] = "many"
    listing = await ask(OpenAICompatible(Endpoint(fake.base_url)))
    assert (len(listing.models), listing.models[0].name, listing.complete) == (MAX_MODELS, "m0000", False)


@pytest.mark.parametrize(
    ("scenario", "code", "expected"),
    [
        ("refused", "invalid_api_key", "refused the key"),
        ("failed", "invalid_api_key", "refused the key"),
        ("missing", "", "has no list"),
        ("moved", "", "address"),
        ("html", "not_a_list", "not a list"),
        ("no_list", "not_a_list", "not a list"),
        ("cut", "connection_lost", "broken"),
    ],
)
async def test_failures(fake: FakeOpenAI, scenario: str, code: str, expected: str) -> None:
    """Every refusal and every malformed reply is a typed failure."""
    error = await failing(fake, scenario)
    assert isinstance(error, UpstreamFailed)
    assert error.vendor_code == code
    assert expected in str(error)


async def test_huge_lists(fake: FakeOpenAI) -> None:
    """An endless list is given up at the limit, and the connection closed."""
    error = await failing(fake, "huge")
    assert error.vendor_code == "too_large"
    await until(lambda: not fake.open_streams)
    assert MAX_BYTES == 2**20


@pytest.mark.parametrize("scenario", ["hang", "drip"])
async def test_hanging(fake: FakeOpenAI, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence and an endless drip end when the time is up."""
    assert model_list.SECONDS == 10
    monkeypatch.setattr(model_list, "SECONDS", 0.3)
    waits: list[float] = []
    for _ in until_below(5, waits):
        began = time.monotonic()
        error = await failing(fake, scenario)
        waits.append(time.monotonic() - began)
        assert isinstance(error, UpstreamTimeout)
    assert min(waits) < 5


async def test_a_closed_port_is_a_typed_failure() -> None:
    """A refused connection is a typed failure."""
    with pytest.raises(UpstreamFailed, match="could not be reached"):
        await ask(OpenAICompatible(Endpoint("http://127.0.0.1:9/v1")))


async def test_addresses_are_checked(fake: FakeOpenAI) -> None:
    """The list is fetched under the same address rules as completions."""
    with pytest.raises(UpstreamFailed) as caught:
        await ask(OpenAICompatible(Endpoint(fake.base_url, admits=lambda _host, _address: False)))
    assert caught.value.vendor_code == "address_refused"
    assert not fake.requests


@pytest.mark.parametrize("raw_key", [False, True])
async def test_zhipu(raw_key: bool) -> None:
    """Zhipu gets a token or the key itself; a malformed key is refused."""
    async with FakeZhipu() as server:
        listing = await ask(Zhipu(Endpoint(server.base_url, raw_key=raw_key)), KEY)
        assert len(listing.models) == len(MODELS)
        assert (server.requests[-1].key == KEY) == raw_key
        with pytest.raises(UpstreamFailed) as caught:
            await ask(Zhipu(Endpoint(server.base_url, raw_key=raw_key)), f"{KEY_ID}.wrong")
        assert caught.value.action == "disable"


def test_words_of_vendors() -> None:
    """Context sizes are read under all vendors' names; malformed ones are ignored."""
    rows: list[Any] = [
        {"id": "v", "max_model_len": 32},
        {"id": "g", "context_window": -1},
        {"id": "b", "context_length": True},
    ]
    assert list(model_list.offered(rows)) == [OfferedModel("v", 32), OfferedModel("g"), OfferedModel("b")]
