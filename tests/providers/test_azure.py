"""The adapter for Azure OpenAI against a fake resource on a real socket, beside OpenAI's own SDK."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest

from providers.wire.base import Endpoint, Event, Finished, FirstRun, PromptMessage, ToolCallDelta, Usage
from providers.wire.errors import ContentBlocked, ProviderError
from providers.wire.openai.azure import API_VERSION, Azure
from tests.azure import KEY, FakeAzure
from tests.model_lists import MODELS
from tests.providers.streams import PATIENT, collect, request, text, until
from tests.scenarios import PLAIN


@pytest.fixture
async def upstream() -> AsyncIterator[FakeAzure]:
    """A fake resource in this event loop."""
    async with FakeAzure() as server:
        yield server


async def events_of(base_url: str, model: str, query: tuple[tuple[str, str], ...] = (), **fields: Any) -> list[Event]:
    """Return the events of one stream of an adapter that lives as long."""
    provider = Azure(Endpoint(base_url, clocks=PATIENT, query=query))
    try:
        return await collect(provider.stream(request(model, **fields), KEY))
    finally:
        await provider.aclose()


async def failure_of(base_url: str, model: str, **fields: Any) -> ProviderError:
    with pytest.raises(ProviderError) as failed:
        await events_of(base_url, model, **fields)
    return failed.value


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/", "/openai/deployments/other/chat/completions"])
async def test_deployments_are_in_the_path(upstream: FakeAzure, ending: str) -> None:
    """Whatever part of the address operators copy, the request goes to the route's deployment with a version."""
    events = await events_of(upstream.base_url + ending, "my deployment/1")

    sent = upstream.requests[0]
    assert text(events) == PLAIN
    assert events[-1] == Finished("stop")
    assert sent.path == f"/openai/deployments/my%20deployment%2F1/chat/completions?api-version={API_VERSION}"
    assert sent.headers["api-key"] == KEY
    assert "authorization" not in sent.headers


async def test_the_operators_version_wins(upstream: FakeAzure) -> None:
    """The query of the upstream replaces the default version and adds what else it holds."""
    await events_of(upstream.base_url, "plain", (("api-version", "2025-04-01-preview"), ("tier", "a b")))

    assert upstream.requests[0].path.partition("?")[2] == "api-version=2025-04-01-preview&tier=a+b"


async def test_the_newer_form_needs_no_version(upstream: FakeAzure) -> None:
    """A base URL that ends with /openai/v1 gets the deployment as the model, without a version."""
    events = await events_of(upstream.v1_url, "plain")

    sent = upstream.requests[0]
    assert text(events) == PLAIN
    assert (sent.path, sent.body["model"]) == ("/openai/v1/chat/completions", "plain")
    assert sent.headers["api-key"] == KEY


@pytest.mark.parametrize(
    ("does", "action", "scope", "vendor_code"),
    [
        ("gone", "ops", "key_model", "DeploymentNotFound"),
        ("error:400:OperationNotSupported:The chatCompletion operation does not work with o1.", "ops", "key_model", ""),
        ("error:404:404:Resource not found", "ops", "all", "404"),
        ("error:403:403:Access denied due to Virtual Network/Firewall rules.", "ops", "all", "NetworkDenied"),
        (
            "error:403:AccessDenied:Public access is disabled. Please configure private endpoint.",
            "ops",
            "all",
            "NetworkDenied",
        ),
        ("error:403:403:A Virtual Network is configured for this resource.", "ops", "all", "NetworkDenied"),
        ("error:401:PermissionDenied:Principal does not have access", "disable", "key", "PermissionDenied"),
        ("error:500:InternalServerError:The server had an error.", "wait", "key_model", "InternalServerError"),
        ("limited:20", "switch", "key_model", "429"),
    ],
)
async def test_refusals(upstream: FakeAzure, does: str, action: str, scope: str, vendor_code: str) -> None:
    """Each refusal in Azure's words gets its action."""
    failed = await failure_of(upstream.base_url, does)

    assert (failed.action, failed.scope) == (action, scope)
    assert failed.vendor_code == (vendor_code or does.split(":")[2])
    if does.startswith("limited"):
        assert failed.cooldown_s == 20


async def test_a_wrong_key(upstream: FakeAzure) -> None:
    """A key of another resource is out of use, and no part of it is shown."""
    upstream.keys.clear()
    provider = Azure(Endpoint(upstream.base_url, clocks=PATIENT))
    with pytest.raises(ProviderError) as failed:
        await collect(provider.stream(request(), "other-key"))
    await provider.aclose()

    assert (failed.value.action, failed.value.blame, failed.value.status) == ("disable", "key", 401)
    assert "other-key" not in str(failed.value)


async def test_a_missing_version_is_the_operators_fault(upstream: FakeAzure) -> None:
    """An address whose query has an impossible version fails for all, not as the caller's request."""
    with pytest.raises(ProviderError) as failed:
        await events_of(upstream.base_url, "plain", (("api-version", "soon"),))

    assert failed.value.action == "ops"


async def test_the_content_filter(upstream: FakeAzure) -> None:
    """A refused prompt is moderation; a filtered completion keeps its text."""
    assert isinstance(await failure_of(upstream.base_url, "filtered"), ContentBlocked)
    events = await events_of(upstream.base_url, "filtered_later")

    assert (text(events), events[-1]) == ("one two three ", Finished("content_filter"))


async def test_deployments_are_listed(upstream: FakeAzure) -> None:
    """Both forms of the address list the deployments of the resource, with the version that can."""
    for base_url in (upstream.base_url, upstream.v1_url):
        provider = Azure(Endpoint(base_url, clocks=PATIENT, query=(("api-version", "2024-10-21"),)))
        found = await provider.list_models(KEY)
        await provider.aclose()

        assert {model.name for model in found.models} == set(MODELS)


def test_first_run() -> None:
    """The endpoint of the environment makes an upstream, its version a query."""
    settings: dict[str, Any] = {
        "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
        "AZURE_OPENAI_API_KEYS": (KEY,),
        "AZURE_OPENAI_API_VERSION": "2025-01-01-preview",
        "AZURE_OPENAI_PROXY": None,
        "AZURE_OPENAI_MODELS": (("gpt", "my-gpt"),),
    }

    (found,) = Azure.first_run(settings)
    assert found == FirstRun(
        "azure",
        "https://r.openai.azure.com",
        "",
        (KEY,),
        (("gpt", "my-gpt"),),
        {"api-version": "2025-01-01-preview"},
    )
    assert not list(Azure.first_run({**settings, "AZURE_OPENAI_ENDPOINT": None}))


# --- OpenAI's SDK, which speaks to the same fake ----------------------------------------------------------------------


class Said:
    """The completion as the SDK reads it."""

    def __init__(self) -> None:
        self.text = self.finish = ""
        self.calls: list[tuple[str, str]] = []
        self.usage: tuple[int, int] | None = None


def sdk(upstream: FakeAzure, key: str = KEY) -> openai.AsyncAzureOpenAI:
    http = httpx.AsyncClient(trust_env=False, verify=False)
    return openai.AsyncAzureOpenAI(
        azure_endpoint=upstream.base_url, api_key=key, api_version=API_VERSION, max_retries=0, http_client=http
    )


async def said_by_sdk(upstream: FakeAzure, model: str) -> Said:
    said = Said()
    async with sdk(upstream) as client:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                # Annotations come in choices without a delta, which the types of the SDK do not know.
                delta = getattr(choice, "delta", None)
                said.text += (delta.content or "") if delta else ""
                said.finish = choice.finish_reason or said.finish
                for call in (delta.tool_calls or []) if delta else []:
                    assert call.function
                    said.calls.append((call.id or "", call.function.name or ""))
            if chunk.usage:
                said.usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    return said


@pytest.mark.parametrize("model", ["plain", "long:20", "filtered_later", "tools", "finish:length"])
async def test_the_adapter_says_what_the_sdk_says(upstream: FakeAzure, model: str) -> None:
    """OpenAI's own client for Azure and the adapter read the same text, calls, usage and finish reason."""
    said = await said_by_sdk(upstream, model)
    events = await events_of(upstream.base_url, model, extras={"tools": [{"type": "function"}]})

    last = events[-1]
    assert isinstance(last, Finished)
    assert (text(events), last.reason) == (said.text, said.finish)
    assert [(event.input_tokens, event.output_tokens) for event in events if isinstance(event, Usage)] == (
        [said.usage] if said.usage else []
    )
    assert sum(isinstance(event, ToolCallDelta) for event in events) == len(said.calls)
    theirs, ours = upstream.requests
    assert unquote(theirs.path) == unquote(ours.path)
    assert theirs.headers["api-key"] == ours.headers["api-key"]


async def test_the_sdk_is_refused_as_we_are(upstream: FakeAzure) -> None:
    """The fake refuses the SDK's requests as it refuses ours."""
    for model, key, expected in (("gone", KEY, 404), ("filtered", KEY, 400), ("plain", "other", 401)):
        async with sdk(upstream, key) as client:
            with pytest.raises(openai.APIStatusError) as failed:
                await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
        assert failed.value.status_code == expected


async def test_a_stop_closes_the_connection(upstream: FakeAzure) -> None:
    """Closing the stream closes the connection, as with every adapter."""
    provider = Azure(Endpoint(upstream.base_url, clocks=PATIENT))
    stream = provider.stream(request("paced:1000:20", PromptMessage("user", "hello")), KEY)
    await anext(stream)
    assert upstream.open_streams == 1
    await stream.aclose()  # type: ignore[attr-defined]
    await until(lambda: not upstream.open_streams)
    await provider.aclose()
