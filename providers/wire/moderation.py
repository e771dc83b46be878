"""A moderation service as OpenAI defined it: https://platform.openai.com/docs/api-reference/moderations.

Many programs offer the same interface. The service is the operator's choice, so its address may be private.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from providers.wire.base import Clocks, Endpoint
from providers.wire.errors import ProviderError, UpstreamTimeout
from providers.wire.net.deadline import Deadline
from providers.wire.net.exchange import Exchange, send
from providers.wire.net.transport import Transport

# Bytes of a reply that are read; one with a result for each of fifty texts has about 100 KiB.
MAX_REPLY_BYTES = 2**20
# Categories of a result that are looked at, and characters of their names.
MOST_CATEGORIES, MOST_NAME_CHARS = 64, 50
# Statuses by which a service refuses this text and not all of them.
_OF_THE_TEXT = frozenset({400, 413, 422})


class ModerationFailed(Exception):  # noqa: N818
    """The service did not judge; `reason` is a code of ours.

    Another text may be judged all the same when `is_about_text`.
    """

    def __init__(self, reason: str, *, is_about_text: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.is_about_text = reason, is_about_text


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judgement of a service about some texts together: the worst of each category."""

    is_flagged: bool
    # The categories that it flagged, and the scores from 0 to 1 of all.
    categories: frozenset[str]
    scores: Mapping[str, float]


class ModerationService:
    """One service; its connections are kept for further texts."""

    def __init__(self, url: str, key: str, model: str, seconds: float) -> None:
        self._url, self._model = f"{url}/moderations", model
        self._clocks = Clocks(connect=seconds, first=seconds, idle=seconds, total=seconds)
        self._transport = Transport(Endpoint(url, clocks=self._clocks))
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    async def judge(self, texts: Sequence[str]) -> Judgement:
        """Return what the service thinks of these texts; raise ModerationFailed, in time."""
        given: str | list[str] = texts[0] if len(texts) == 1 else list(texts)
        body = orjson.dumps({"model": self._model, "input": given})
        deadline = Deadline(self._clocks)
        try:
            try:
                return _judgement(await self._posted(body, deadline), len(texts))
            except ProviderError as error:
                # A connection that was kept may have ended at the other side; a new one has not.
                if isinstance(error, UpstreamTimeout):
                    raise
                return _judgement(await self._posted(body, deadline), len(texts))
        except ProviderError as error:
            raise ModerationFailed(error.vendor_code or error.code) from error
        finally:
            deadline.close()

    async def _posted(self, body: bytes, deadline: Deadline) -> bytes:
        exchange: Exchange | None = None
        is_whole = False
        try:
            exchange = await send(self._transport, "POST", self._url, self._headers, deadline, body)
            if exchange.status != 200:
                raise ModerationFailed(f"status_{exchange.status}", is_about_text=exchange.status in _OF_THE_TEXT)
            reply = await exchange.read_up_to(MAX_REPLY_BYTES)
            if len(reply) > MAX_REPLY_BYTES:
                raise ModerationFailed("too_large")
            is_whole = True
            return reply
        finally:
            if exchange is not None:
                await exchange.close(finished=is_whole)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _judgement(reply: bytes, count: int) -> Judgement:
    """Read a reply with so many results; raise ModerationFailed for any other."""
    try:
        results: Any = orjson.loads(reply)["results"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ModerationFailed("not_a_judgement") from error
    if not isinstance(results, list) or len(results) != count:
        raise ModerationFailed("not_a_judgement")
    is_flagged, categories, scores = False, set[str](), dict[str, float]()
    for result in results:
        if not isinstance(result, dict) or not isinstance(result.get("flagged"), bool):
            raise ModerationFailed("not_a_judgement")
        is_flagged |= result["flagged"]
        categories |= {name for name, value in _named(result.get("categories")) if value is True}
        for name, value in _named(result.get("category_scores")):
            if isinstance(value, int | float) and math.isfinite(value):
                scores[name] = max(scores.get(name, 0.0), float(value))
    return Judgement(is_flagged, frozenset(categories), scores)


def _named(given: Any) -> list[tuple[str, Any]]:
    """Return the first categories of an object, with names that can be stored."""
    items = list(given.items())[:MOST_CATEGORIES] if isinstance(given, dict) else []
    return [(name.replace("\0", "")[:MOST_NAME_CHARS], value) for name, value in items]
