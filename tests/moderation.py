"""A fake moderation service on a loopback socket, of OpenAI's shape, with named scenarios."""

import asyncio
import json
from typing import Any

from tests.loopback import Exchange, FakeServer


class FakeModeration(FakeServer):
    """Judges texts by words in them: `knife` is violence, `rude` is harassment that it does not flag.

    `scenario` is how it behaves: `judges`, `slow` (until the client leaves), `dead` (cuts connections), `garbage`,
    `huge`, `short` (a result too few), or `status_…`.
    """

    scenario = "judges"

    async def handle(self, exchange: Exchange) -> None:
        assert exchange.request.path == "/v1/moderations"
        given = exchange.request.body["input"]
        results = [_result(text) for text in ([given] if isinstance(given, str) else given)]
        match self.scenario:
            case "slow":
                await asyncio.Future()
            case "dead":
                exchange.reset()
            case "garbage":
                await exchange.respond(200, b"<html>gateway</html>")
            case "huge":
                await exchange.respond(200, _reply(results)[:-1] + b" " * 2**21 + b"}")
            case "short":
                await exchange.respond(200, _reply(results[1:]))
            case "judges":
                await exchange.respond(200, _reply(results))
            case status:
                await exchange.respond(int(status.removeprefix("status_")), b'{"error":{"message":"no"}}')

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def texts(self) -> list[Any]:
        """Return the inputs of all requests."""
        return [request.body["input"] for request in self.requests]


def _result(text: str) -> dict[str, Any]:
    scores = {"violence": 0.9 if "knife" in text else 0.1, "harassment": 0.4 if "rude" in text else 0.0}
    categories = {"violence": "knife" in text, "harassment": False}
    return {"flagged": any(categories.values()), "categories": categories, "category_scores": scores}


def _reply(results: list[dict[str, Any]]) -> bytes:
    return json.dumps({"id": "modr-1", "model": "fake", "results": results}).encode()
