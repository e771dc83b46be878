"""Fake upstreams on loopback sockets: real HTTP, scripted behaviour, a record of every request.

The model's name chooses the scenario, `upstream.keys["sk-..."] = scenario` overrides it for a key. Use one in one of
three ways: `async with FakeOpenAI() as upstream`, `with FakeOpenAI.in_thread() as upstream`, or by hand, together with
the other vendors' fakes, with `python -m tests.upstreams` (`--list` prints the scenarios). Nothing of the product is
imported here.
"""

import argparse
import asyncio
import contextlib
import ssl
import time
from typing import Any

from tests.loopback import Exchange, FakeServer, Recorded
from tests.model_lists import run_list
from tests.scenarios import SCENARIOS, ChatExchange, listing


class FakeOpenAI(FakeServer):
    """An OpenAI-compatible upstream under `/v1`."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.keys: dict[str, str] = {}

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def asked(self, prompt: str) -> list[Recorded]:
        """Return the questions that ended with this prompt."""
        questions = [request for request in self.requests if request.body.get("messages")]
        return [question for question in questions if question.body["messages"][-1]["content"] == prompt]

    def closed_at(self, prompt: str) -> float:
        """Wait until the product closes the last request with this prompt; return when it did."""
        deadline = time.monotonic() + 60
        while True:
            asked = self.asked(prompt)
            if asked and asked[-1].closed_by_peer_at:
                return asked[-1].closed_by_peer_at
            assert time.monotonic() < deadline, "the upstream's connection was not closed"
            time.sleep(0.001)

    def key(self, scenario: str) -> str:
        """Return a new key that always gets this scenario."""
        secret = f"sk-planted-{len(self.keys):04}-0123456789abcdef"
        self.keys[secret] = scenario
        return secret

    def exchange(self, *args: Any) -> Exchange:
        return ChatExchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        assert isinstance(exchange, ChatExchange)
        if request.method == "GET" and request.path == "/v1/models":
            await run_list(exchange, self.keys.get(request.key or "", ""), SCENARIOS)
        elif request.method == "POST" and request.path == "/v1/embeddings":
            request.scenario = self.keys.get(request.key or "", request.body["model"])
            await exchange.embed()
        elif request.method != "POST" or request.path != "/v1/chat/completions":
            await exchange.respond(404, b"<html>nothing here</html>", "text/html")
        else:
            request.scenario = self.keys.get(request.key or "", request.body["model"])
            await exchange.run(request.scenario)


def _listing() -> str:
    """Return the scenarios of all fake vendors."""
    return "\n\n".join(f"{title}\n{scenarios}" for title, scenarios in _vendors().items())


def _vendors() -> dict[str, str]:
    from tests import (
        anthropic_scenarios,
        azure,
        gemini_scenarios,
        spark_http,
        spark_scenarios,
        zhipu_scenarios,
    )  # they build on this module

    return {
        "OpenAI-compatible, chosen by the model's name; Spark over HTTP and Zhipu v4 know these too:": listing(),
        "Azure OpenAI, chosen by the deployment, which knows those of OpenAI too:": azure.listing(),
        "Gemini, chosen by the model's name:": gemini_scenarios.listing(),
        "Anthropic, chosen by the model's name:": anthropic_scenarios.listing(),
        "Spark, chosen by the domain:": spark_scenarios.listing(),
        "Spark over HTTP, chosen by the model's name:": spark_http.listing(),
        "Zhipu, chosen by the model's name; chatglm_turbo=<name> is v3 where that model is:": zhipu_scenarios.listing(),
    }


async def _serve(port: int) -> None:
    """Serve all fake vendors on neighbouring ports, and say with which settings the product reaches them."""
    from tests import anthropic, azure, gemini, spark, spark_http, zhipu  # they build on this module

    ports = [port + place if port else 0 for place in range(7)]
    async with (
        FakeOpenAI(ports[0]) as openai,
        spark.FakeSpark(ports[1]) as websocket,
        spark_http.FakeSparkHTTP(ports[2]) as over_http,
        zhipu.FakeZhipu(ports[3]) as bigmodel,
        azure.FakeAzure(ports[4]) as microsoft,
        gemini.FakeGemini(ports[5]) as google,
        anthropic.FakeAnthropic(ports[6]) as messages,
    ):
        settings = {
            "OPENAI_BASE_URL": openai.base_url,
            "OPENAI_API_KEYS": "sk-anything",
            "OPENAI_MODELS": "plain,reasoning,slow",
            "ANTHROPIC_BASE_URL": messages.base_url,
            "ANTHROPIC_API_KEYS": anthropic.KEY,
            "ANTHROPIC_MODELS": "claude=thinking",
            "SPARK_URL": websocket.base_url,
            "SPARK_APP_ID": spark.APP_ID,
            "SPARK_API_KEY": spark.API_KEY,
            "SPARK_API_SECRET": spark.API_SECRET,
            "SPARK_DOMAIN": "plain",
            "ZHIPU_BASE_URL": bigmodel.base_url,
            "ZHIPU_API_KEYS": zhipu.KEY,
            "ZHIPU_MODELS": "glm=plain,chatglm_turbo",
            "AZURE_OPENAI_ENDPOINT": microsoft.base_url,
            "AZURE_OPENAI_API_KEYS": azure.KEY,
            "AZURE_OPENAI_MODELS": "azure=plain",
            "GEMINI_BASE_URL": google.base_url,
            "GEMINI_API_KEYS": gemini.KEY,
            "GEMINI_MODELS": "gemini=thoughts",
        }
        print("\n".join(f"{name}={value}" for name, value in settings.items()))
        print(f"# Spark over HTTP, for an upstream made in the admin: {over_http.base_url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve by hand until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstreams",
        description="Fake vendors on neighbouring ports; prints the settings that connect the product to them.",
    )
    parser.add_argument("--port", type=int, default=9001, help="the first port; 0: any that are free")
    parser.add_argument("--list", action="store_true", help="print the scenarios and leave")
    options = parser.parse_args()
    if options.list:
        print(_listing())
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.port))


if __name__ == "__main__":
    main()
