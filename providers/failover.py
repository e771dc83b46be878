"""Report the routes that requests pass over, because another route serves them.

No user notices a misconfigured route, so its operator must be informed. The log has one line for each reason, a metric
counts, and the route's row shows the admin why, how often and since when. A route that serves again is cleared.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.db.models import F
from django.utils import timezone
from prometheus_client import Counter

from providers.models import Route
from providers.verdicts import store
from providers.wire.errors import ProviderError

if TYPE_CHECKING:
    from providers.snapshot import Configuration, ModelConfig, RouteConfig
    from runtime.tasks import TaskSet

log = structlog.get_logger("providers")

FAILED_ATTEMPTS = Counter(
    "rivulet_attempt_failures", "Calls of an upstream that failed, of the class `blame`", ["upstream", "blame"]
)
PASSED_OVER = Counter(
    "rivulet_routes_passed_over",
    "Requests that a route did not serve although it was their turn",
    ["model", "upstream"],
)

# Seconds after which the log repeats the line about a route that is still passed over for the same reason.
REPEAT_SECONDS = 600.0
# Seconds between two changes of a route's row, however many requests pass it over.
SPACING_SECONDS = 1.0


def note_failed_attempt(upstream: str, error: ProviderError, **origin: object) -> None:
    """Count and log a failed call of an upstream; `origin` names its generation."""
    FAILED_ATTEMPTS.labels(upstream, error.blame).inc()
    log.warning(
        "attempt failed",
        **origin,
        upstream=upstream,
        blame=error.blame,
        status=error.status,
        vendor_code=error.vendor_code,
        vendor_request_id=error.vendor_request_id,
    )


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A route that did not serve a request.

    `is_certain`: the request itself was not at fault. Otherwise only another route that serves it shows that.
    """

    route: "RouteConfig"
    reason: str
    is_certain: bool = True


@dataclass(slots=True)
class _News:
    """Changes of a route's row that are not stored yet; `served` comes before the rest."""

    served: bool = False
    requests: int = 0
    reason: str = ""


class Failovers:
    """Counts requests that passed routes over; changes a row once a second at most."""

    def __init__(self, configuration: "Configuration", tasks: "TaskSet") -> None:
        self._configuration, self._tasks = configuration, tasks
        self._news: dict[int, _News] = {}
        # When the row of a route was last changed, and the timers of the next changes, by the route's id.
        self._stored_at: dict[int, float] = {}
        self._waiting: dict[int, asyncio.TimerHandle] = {}
        # The last reason in the log, and when it was written, by the route's id.
        self._logged: dict[int, tuple[str, float]] = {}
        # The ids of routes that this process found out of use.
        self._out: set[int] = set()

    def note(self, model: "ModelConfig", passed_over: Sequence[PassedOver], served: "RouteConfig | None") -> None:
        """Note how a request went through the routes; `served` is the one that completed it."""
        for each in passed_over:
            if served is not None or each.is_certain:
                self._pass_over(model, each, served)
        if served is not None and served.id and (served.passed_over or served.id in self._out):
            self._out.discard(served.id)
            self._news[served.id] = _News(served=True)
            self._store_soon(served.id)

    def _pass_over(self, model: "ModelConfig", each: PassedOver, served: "RouteConfig | None") -> None:
        route = each.route
        PASSED_OVER.labels(model.slug, route.upstream.slug).inc()
        reason, at = self._logged.get(route.id, ("", 0.0))
        if reason != each.reason or time.monotonic() - at > REPEAT_SECONDS:
            self._logged[route.id] = (each.reason, time.monotonic())
            log.warning(
                "route passed over",
                model=model.slug,
                upstream=route.upstream.slug,
                upstream_model=route.upstream_model,
                reason=each.reason,
                served_by=served.upstream.slug if served else None,
            )
        if route.id:
            self._out.add(route.id)
            news = self._news.setdefault(route.id, _News())
            news.requests, news.reason = news.requests + 1, each.reason
            self._store_soon(route.id)

    def _store_soon(self, route_id: int) -> None:
        if route_id in self._waiting:
            return
        loop = asyncio.get_running_loop()
        rest = self._stored_at.get(route_id, float("-inf")) + SPACING_SECONDS - loop.time()
        self._waiting[route_id] = loop.call_later(max(rest, 0.0), self._start, route_id)

    def _start(self, route_id: int) -> None:
        self._waiting.pop(route_id).cancel()
        self._stored_at[route_id] = asyncio.get_running_loop().time()
        self._tasks.start(self._store(route_id, self._news.pop(route_id)))

    def flush(self) -> None:
        """Store now what waits."""
        for route_id in list(self._waiting):
            self._start(route_id)

    async def _store(self, route_id: int, news: _News) -> None:
        # Only a change between in use and passed over matters to requests; the counts are for operators.
        if await store(_record, route_id, news):
            self._configuration.forget()


def _record(route_id: int, news: _News) -> bool:
    """Store news of a route; return whether its use began or ended."""
    rows, changed = Route.objects.filter(pk=route_id), 0
    if news.served:
        changed += rows.exclude(passed_over_since=None).update(
            passed_over_since=None, passed_over=0, passed_over_reason=""
        )
    if news.requests:
        values = {"passed_over": F("passed_over") + news.requests, "passed_over_reason": news.reason[:200]}
        out = rows.filter(passed_over_since=None).update(passed_over_since=timezone.now(), **values)
        if not out:
            rows.update(**values)
        changed += out
    return changed > 0
