"""A fake receiver of webhooks on a loopback socket."""

import json

from tests.loopback import Exchange, FakeServer


class Receiver(FakeServer):
    """Replies to every message with `status` and `reply`, and records it in `requests`."""

    status = 200
    reply: bytes = b'{"errcode":0,"errmsg":"ok"}'

    async def handle(self, exchange: Exchange) -> None:
        await exchange.respond(self.status, self.reply)

    def texts(self) -> list[str]:
        """Return all received bodies as text."""
        return [json.dumps(request.body, ensure_ascii=False) for request in self.requests]
