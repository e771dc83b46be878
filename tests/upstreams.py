"""Fake upstreams on loopback sockets: real HTTP, scripted behaviour, a record of every request.

The model's name chooses the scenario, `upstream.keys["sk-..."] = scenario` overrides it for a key. Use one in one of
three ways: `async with FakeOpenAI() as upstream`, `with FakeOpenAI.in_thread() as upstream`, or by hand with
`python -m tests.upstreams --port 9001` (`--list` prints the scenarios). Nothing of the product is imported here.
"""

import argparse
import asyncio
import ssl
from typing import Any

from tests.loopback import Exchange, FakeServer
from tests.model_lists import run_list
from tests.scenarios import SCENARIOS, ChatExchange, listing, run_scenario


class FakeOpenAI(FakeServer):
    """An OpenAI-compatible upstream under `/v1`."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.keys: dict[str, str] = {}

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def exchange(self, *args: Any) -> Exchange:
        return ChatExchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.method == "GET" and request.path == "/v1/models":
            await run_list(exchange, self.keys.get(request.key or "", ""), SCENARIOS)
        elif request.method != "POST" or request.path != "/v1/chat/completions":
            await exchange.respond(404, b"<html>nothing here</html>", "text/html")
        else:
            request.scenario = self.keys.get(request.key or "", request.body["model"])
            await run_scenario(exchange, request.scenario)


async def _serve(port: int) -> None:
    async with FakeOpenAI(port) as upstream:
        print(f"OPENAI_BASE_URL={upstream.base_url}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve by hand until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstreams",
        description="A fake OpenAI-compatible upstream; the model's name chooses the scenario:",
        epilog=listing(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--list", action="store_true", help="print the scenarios and leave")
    options = parser.parse_args()
    if options.list:
        print(listing())
    else:
        asyncio.run(_serve(options.port))


if __name__ == "__main__":
    main()
