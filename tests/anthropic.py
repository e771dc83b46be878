"""A fake Anthropic: the Messages API on a loopback socket, with the vendor's checks of requests.

The model's name chooses the scenario, `upstream.keys["<key>"] = scenario` overrides it for a key. Nothing of the
product is imported here.
"""

import json
import ssl
from typing import Any

from tests.anthropic_rules import complaint, key_of
from tests.anthropic_scenarios import SCENARIOS, MessagesExchange
from tests.loopback import Exchange, FakeServer

KEY = "sk-ant-api03-planted-0123456789abcdef"
CONTEXT_TOKENS = 1_000_000


class FakeAnthropic(FakeServer):
    """Anthropic's API; every key that begins with `sk-ant-` is good."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.keys: dict[str, str] = {}

    @property
    def base_url(self) -> str:
        return self.origin

    def key(self, scenario: str) -> str:
        """Return a new key that always gets this scenario."""
        secret = f"sk-ant-planted-{len(self.keys):04}-0123456789abcdef"
        self.keys[secret] = scenario
        return secret

    def exchange(self, *args: Any) -> Exchange:
        return MessagesExchange(*args)

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        assert isinstance(exchange, MessagesExchange)
        path, _mark, query = request.path.partition("?")
        request.user = key_of(request.headers)
        if request.user and not request.user.startswith("sk-ant-"):
            await exchange.refuse("authentication_error", "invalid x-api-key")
        elif request.method == "GET" and path == "/v1/models":
            await self._list_models(exchange, query)
        elif request.method != "POST" or path != "/v1/messages":
            await exchange.refuse("not_found_error", "Not Found")
        elif found := complaint(request.headers, request.body):
            await exchange.refuse(*found)
        else:
            request.scenario = self.keys.get(request.user, request.body["model"])
            await exchange.run(request.scenario)

    async def _list_models(self, exchange: MessagesExchange, query: str) -> None:
        """List the models; the vendor sends 20 unless more are asked for."""
        most = 1000 if "limit=1000" in query else 20
        names = [*SCENARIOS, *(f"claude-{n:03}" for n in range(30))]
        rows = [
            {"type": "model", "id": name, "display_name": name.title(), "max_input_tokens": CONTEXT_TOKENS}
            for name in names
        ]
        page = {"data": rows[:most], "has_more": len(rows) > most, "first_id": names[0], "last_id": names[-1]}
        await exchange.respond(200, json.dumps(page).encode())
