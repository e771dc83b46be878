"""The moderation service of the operator (MODERATION_URL), which judges prompts after the words.

It gets the new texts of a prompt as the upstream would, with words masked. While it fails, MODERATION_ON_FAILURE
decides: `open` lets prompts pass, `closed` refuses them. After some failures in a row it is left out for a while, so
that prompts do not wait for a service that is away; then one prompt tries it again.
"""

import time
from typing import Any

import structlog
from django.conf import settings
from prometheus_client import Counter, Histogram

from chat.errors import NotModerated, PromptTooLong
from chat.screening.found import Found
from chat.screening.incoming import Screened
from providers.alerts.conditions import Condition, Kind, Source, host
from providers.wire.moderation import Judgement, ModerationFailed, ModerationService

log = structlog.get_logger("screening")

# Failures in a row after which the service is left out, and seconds until it is tried again.
OPENS_AFTER = 3
OPEN_SECONDS = 30.0
# Characters of one text of a request to the service; a longer prompt is sent as several texts.
PIECE_CHARS = 32_000
# Characters of a prompt that the service judges at most; for a longer one MODERATION_ON_FAILURE decides.
MOST_CHARS = 1_000_000
# The beginning of an alert's subject.
SUBJECT = "moderation"

MODERATIONS = Counter("rivulet_moderations", "Prompts for the moderation service", ["result"])
SECONDS = Histogram("rivulet_moderation_seconds", "Waits for the moderation service")


class Moderation:
    """The connections to the service, and how it did lately; one per process."""

    def __init__(self) -> None:
        self._service: ModerationService | None = None
        # Failures in a row of the service, and texts in a row that it did not judge for whatever reason.
        self._failures = self._unjudged = 0
        self._reason = ""
        # The monotonic time of the next trial, and whether one runs.
        self._next_at = 0.0
        self._is_tried = False

    async def screen(self, text: str) -> Screened:
        """Return what the service finds in a text, as hits without texts.

        Raises NotModerated or PromptTooLong when it cannot judge and the operator wants such prompts refused.
        """
        if not text.strip():
            return Screened(())
        if len(text) > MOST_CHARS:
            MODERATIONS.labels("failed").inc()
            if settings.MODERATION_ON_FAILURE == "closed":
                raise PromptTooLong(details={"max_chars": MOST_CHARS})
            return Screened(())
        if self._is_left_out():
            MODERATIONS.labels("skipped").inc()
            return self._without()
        try:
            judgement = await self._judged(text)
        except ModerationFailed as failure:
            MODERATIONS.labels("failed").inc()
            log.warning("moderation failed", reason=failure.reason, policy=settings.MODERATION_ON_FAILURE)
            return self._without()
        found = _found(judgement)
        blocking = sorted(each.category for each in found if each.action == "block")
        MODERATIONS.labels("blocked" if blocking else "flagged" if found else "passed").inc()
        # Staff may have written a text of refusals for the category.
        return Screened((), found, bool(blocking), next(iter(blocking), ""))

    async def aclose(self) -> None:
        if self._service is not None:
            await self._service.aclose()

    def source(self) -> Source:
        """Return what alerts ask: each process reports a service that does not judge its prompts."""
        prefix = f"{SUBJECT} {host()}"
        return Source((Kind.CIRCUIT_OPEN,), self._conditions, 5.0, everywhere=True, prefix=prefix)

    def _conditions(self) -> list[Condition]:
        if self._unjudged < OPENS_AFTER:
            return []
        details: dict[str, Any] = {"reason": self._reason, "policy": settings.MODERATION_ON_FAILURE}
        return [Condition(Kind.CIRCUIT_OPEN, f"{SUBJECT} {host()}", {"upstream": SUBJECT, "model": "", **details})]

    def _is_left_out(self) -> bool:
        return self._failures >= OPENS_AFTER and (self._is_tried or time.monotonic() < self._next_at)

    def _without(self) -> Screened:
        if settings.MODERATION_ON_FAILURE == "closed":
            raise NotModerated(retry_after=max(1.0, self._next_at - time.monotonic()))
        return Screened(())

    async def _judged(self, text: str) -> Judgement:
        """Ask the service, and note how it did."""
        if self._service is None:
            key = settings.MODERATION_KEY
            self._service = ModerationService(
                settings.MODERATION_URL, key, settings.MODERATION_MODEL, settings.MODERATION_TIMEOUT
            )
        pieces = [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]
        self._is_tried = self._failures >= OPENS_AFTER
        try:
            with SECONDS.time():
                judgement = await self._service.judge(pieces)
        except ModerationFailed as failure:
            self._unjudged, self._reason = self._unjudged + 1, failure.reason
            if not failure.is_about_text:
                self._failed(failure.reason)
            raise
        else:
            self._failures, self._unjudged, self._next_at = 0, 0, 0.0
            return judgement
        finally:
            self._is_tried = False

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= OPENS_AFTER:
            self._next_at = time.monotonic() + OPEN_SECONDS
            log.error("moderation service left out", reason=reason, seconds=OPEN_SECONDS)


def _found(judgement: Judgement) -> frozenset[Found]:
    """Return the categories of the texts, by the operator's rules, else by the service."""
    rules = settings.MODERATION_CATEGORIES
    found = set()
    for name in judgement.categories | {name for name in judgement.scores if name in rules}:
        action, least = rules.get(name, (settings.MODERATION_ACTION, None))
        if name in judgement.categories if least is None else judgement.scores.get(name, 0.0) >= least:
            found.add(Found("service", 0, name, action))
    if judgement.is_flagged and not judgement.categories:
        found.add(Found("service", 0, "", settings.MODERATION_ACTION))
    return frozenset(found)
