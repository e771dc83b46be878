"""The fake upstreams themselves, because other tests trust them."""

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

from chatproject.environment import Environment
from providers.wire.base import Endpoint
from providers.wire.openai.adapter import OpenAICompatible
from tests import anthropic_scenarios, azure, gemini_scenarios, scenarios, spark_http, spark_scenarios, zhipu_scenarios
from tests.providers.streams import collect, request, text
from tests.scenarios import PLAIN, SCENARIOS
from tests.upstreams import FakeOpenAI


async def test_a_request_is_recorded() -> None:
    """A request is recorded with its key, body and scenario, and everything is closed in the end."""
    async with FakeOpenAI() as upstream:
        provider = OpenAICompatible(Endpoint(upstream.base_url))
        assert text(await collect(provider.stream(request("gpt-4"), "sk-1"))) == PLAIN
        await provider.aclose()
        await asyncio.sleep(0.02)

    recorded = upstream.requests[0]
    assert (recorded.key, recorded.body["model"], recorded.scenario) == ("sk-1", "gpt-4", "gpt-4")
    assert recorded.ended_at is not None
    assert recorded.closed_by_peer_at is None
    assert (upstream.open_connections, upstream.open_streams) == (0, 0)


async def test_a_key_overrides_the_model() -> None:
    """A scenario set for a key wins over the model's name."""
    async with FakeOpenAI() as upstream:
        upstream.keys["sk-2"] = "pieces"
        provider = OpenAICompatible(Endpoint(upstream.base_url))
        events = await collect(provider.stream(request("plain"), "sk-2"))
        await provider.aclose()

    assert text(events) == "hello"


def test_in_a_thread() -> None:
    """Synchronous tests get a server in a thread, models and all."""
    with FakeOpenAI.in_thread() as upstream, urllib.request.urlopen(f"{upstream.base_url}/models") as response:
        models = [model["id"] for model in json.load(response)["data"]]

    assert models == list(SCENARIOS)


def test_listing() -> None:
    """Every scenario of every fake vendor is listed with one line of explanation."""
    shown = subprocess.run(
        [sys.executable, "-m", "tests.upstreams", "--list"], capture_output=True, text=True, check=True
    ).stdout

    tables = (
        *(scenarios.SCENARIOS, azure.SCENARIOS, gemini_scenarios.SCENARIOS, anthropic_scenarios.SCENARIOS),
        *(spark_scenarios.SCENARIOS, spark_http.SCENARIOS),
    )
    named = [(name, run) for table in tables for name, run in table.items()]
    named += [(f"v4 {name}", run) for name, run in zhipu_scenarios.V4.items()]
    named += [(f"v3 {name}", run) for name, run in zhipu_scenarios.V3.items()]
    assert [line for line in shown.splitlines() if line and not line.endswith(":")] == [
        f"{name:{24 + name.count(' ') * 3}} {run.__doc__}" for name, run in named
    ]
    assert all(run.__doc__ and "\n" not in run.__doc__ for _name, run in named)


def test_serving_by_hand() -> None:
    """Without `--list` all fakes serve, and the settings that connect the product to them are printed."""
    command = [sys.executable, "-m", "tests.upstreams", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout
        try:
            printed = list(itertools.takewhile(lambda line: not line.startswith("#"), serving.stdout))
            addresses = [urlsplit(line.partition("=")[2]) for line in printed if "://" in line]
            for address in addresses:
                socket.create_connection((address.hostname, address.port), 5).close()
        finally:
            serving.kill()

    assert [address.scheme for address in addresses] == ["http", "http", "ws", "http", "http", "http"]
    assert {line.partition("=")[0] for line in printed} <= set(Environment.model_fields)
