"""A fake Azure OpenAI resource: OpenAI's scenarios behind deployments, dated versions and the header `api-key`.

The deployment's name chooses the scenario, `upstream.keys["..."] = scenario` overrides it for a key. Names that begin
with `gone` are not deployed. A request that the vendor would refuse is refused here. Nothing of the product is imported
here.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.loopback import Exchange
from tests.model_lists import run_list
from tests.scenarios import ChatExchange, event_bytes, run_scenario
from tests.upstreams import FakeOpenAI

KEY = "azurekey0123456789abcdef0123456789"
LIST_VERSION = "2023-03-15-preview"
BAD_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
GONE = "The API deployment for this resource does not exist. If you created it within the last 5 minutes, please wait."
SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/chat/completions")


class FakeAzure(FakeOpenAI):
    """One resource. It knows `KEY` and the keys of `key`."""

    @property
    def base_url(self) -> str:
        return self.origin

    @property
    def v1_url(self) -> str:
        return f"{self.origin}/openai/v1"

    def exchange(self, *args: Any) -> Exchange:
        return AzureExchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        assert isinstance(exchange, AzureExchange)
        request = exchange.request
        path, _, query = request.path.partition("?")
        versions = parse_qs(query).get("api-version", [])
        secret = request.headers.get("api-key", "")
        request.user = secret
        deployed = _DEPLOYMENT.fullmatch(path)
        v1 = path == "/openai/v1/chat/completions"
        if secret != KEY and secret not in self.keys:
            await exchange.fail(401, "401", BAD_KEY)
        elif path == "/openai/deployments" and versions == [LIST_VERSION]:
            await run_list(exchange, self.keys.get(secret, ""))
        elif not (deployed or v1) or (deployed and not versions):
            await exchange.fail(404, "404", "Resource not found")
        elif deployed and not _VERSION.fullmatch(versions[0]):
            await exchange.fail(400, "BadRequest", "API version not supported")
        else:
            await self._complete(exchange, unquote(deployed[1]) if deployed else request.body["model"], secret)

    async def _complete(self, exchange: "AzureExchange", deployment: str, secret: str) -> None:
        if deployment.startswith("gone"):
            await exchange.fail(404, "DeploymentNotFound", GONE)
            return
        exchange.request.scenario = self.keys.get(secret, deployment)
        await exchange.run(exchange.request.scenario)


class AzureExchange(ChatExchange):
    """A stream that begins with the verdict about the prompt."""

    async def run(self, name: str) -> None:
        word, *arguments = name.split(":")
        if word in SCENARIOS:
            await SCENARIOS[word](self, *arguments)
        else:
            await run_scenario(self, name)

    async def start(self, content_type: str = "text/event-stream; charset=utf-8") -> None:
        await super().start(content_type)
        verdict = [{"prompt_index": 0, "content_filter_results": SAFE}]
        await self.send(event_bytes(id="", model="", choices=[], prompt_filter_results=verdict))

    async def stop(self, *args: Any) -> None:
        """Annotate the text, in a choice without a delta, before the usual end."""
        offsets = {"check_offset": 44, "start_offset": 44, "end_offset": 198}
        choice = {"index": 0, "finish_reason": None, "content_filter_results": SAFE, "content_filter_offsets": offsets}
        await self.send(event_bytes(id="", model="", choices=[choice], usage=None))
        await super().stop(*args)

    async def fail(self, status: int, code: str, message: str, **more: Any) -> None:
        headers = more.pop("headers", {})
        await self.respond(
            status, json.dumps({"error": {"code": code, "message": message, **more}}).encode(), **headers
        )


Scenario = Callable[..., Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(run: Scenario) -> Scenario:
    """Register a scenario under its function's name; arguments follow it, separated by colons."""
    SCENARIOS[run.__name__] = run
    return run


@scenario
async def error(x: AzureExchange, status: str, code: str, *message: str) -> None:
    """error:<status>:<code>[:<message>]: that refusal."""
    await x.fail(int(status), code, ":".join(message) or "no")


@scenario
async def filtered(x: AzureExchange) -> None:
    """The prompt is refused by the content filter."""
    found = {**SAFE, "violence": {"filtered": True, "severity": "medium"}}
    await x.fail(
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        param="prompt",
        type=None,
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": found},
    )


@scenario
async def filtered_later(x: AzureExchange) -> None:
    """Text, then the finish reason of the content filter."""
    await x.start()
    await x.texts(["one ", "two ", "three "])
    await x.delta("content_filter")
    await x.send(b"data: [DONE]\n\n")


@scenario
async def limited(x: AzureExchange, seconds: str) -> None:
    """limited:<seconds>: 429 with that hint."""
    message = (
        "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded "
        f"token rate limit of your current OpenAI S0 pricing tier. Please retry after {seconds} seconds."
    )
    await x.fail(429, "429", message, headers={"retry-after": seconds})


def listing() -> str:
    """Return the names of the scenarios with the first lines of their docstrings."""
    return "\n".join(f"{name:24} {run.__doc__}" for name, run in SCENARIOS.items())
