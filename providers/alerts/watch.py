"""Look at the conditions again and again, and send what there is to say."""

import asyncio
from time import monotonic

import structlog
from django.conf import settings
from django.utils import translation

from providers.alerts import rounds, targets
from providers.alerts.conditions import Source, sources
from providers.alerts.models import AlertMessage
from providers.alerts.targets import Notice, Target
from runtime import database
from runtime.process import ServingProcess

# Seconds between two looks.
CHECK_SECONDS = 5.0
# Seconds between two looks for alerts of hosts that are gone.
LAPSED_SECONDS = 600.0

log = structlog.get_logger("alerts")


class Alerts:
    """The sources of conditions, and when this process asked each of them."""

    def __init__(self, process: ServingProcess) -> None:
        self._process = process
        self._sources: list[Source] = sources()
        self._next_at: dict[object, float] = {}

    def watch(self, source: Source) -> None:
        """Ask this source too."""
        self._sources.append(source)

    async def check(self) -> None:
        """Ask all sources that are due, then send the messages that are."""
        known = targets.configured()
        await database.run(self._ask, set(known))
        claimed = await database.run(rounds.claim, set(known)) if known else []
        await asyncio.gather(*(self._send(known[message.target], message) for message in claimed))

    def _ask(self, names: set[str]) -> None:
        # One process asks for all of them. Should two do so for a moment, the database still opens each alert once.
        is_first = self._process.id == min(self._process.alive())
        for source in self._sources:
            if (source.everywhere or is_first) and self._is_due(source, source.seconds):
                self._ask_one(source, names)
        if is_first and self._is_due("lapsed", LAPSED_SECONDS):
            rounds.end_lapsed(names)

    def _ask_one(self, source: Source, names: set[str]) -> None:
        """Ask a source, which stops nothing else when it fails."""
        try:
            found = source.find()
        except Exception as error:
            log.exception("alerts not checked", kinds=list(map(str, source.kinds)), error=type(error).__name__)
        else:
            rounds.note(source, found, names)

    def _is_due(self, what: object, seconds: float) -> bool:
        now = monotonic()
        if now < self._next_at.get(what, now):
            return False
        # A little less, because the timer that comes next may be a moment early.
        self._next_at[what] = now + seconds - CHECK_SECONDS / 2
        return True

    async def _send(self, target: Target, message: AlertMessage) -> None:
        with translation.override(settings.LANGUAGE_CODE):
            notice = Notice.about(message)
        error = await target.send(notice)
        if error:
            log.error("alert not sent", target=target.shown, attempt=message.attempts + 1, error=error)
        await database.run(rounds.settle, message, error)
