"""Make the spans of generations: start, run, attempts and end.

Only imported when traces are on. No delta makes a span. A generation's span belongs to the trace of the request that
started it, and may end after it.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from chat.generations.finish import End
from chat.generations.request import GenerationRequest, Started
from chat.generations.run import Run
from chat.models import Generation
from providers.observer import AttemptObserver
from providers.routing import Attempts
from providers.snapshot import RouteConfig
from providers.wire.base import ChatRequest
from providers.wire.errors import ProviderError
from runtime.tracing import Tracing, headers_of
from web.refusals import Refusal

# In the list of upstreams that continue traces: all of them.
ALL = "*"
# The outcome of a start that ended with an exception which is no refusal.
FAILED = "failed"

Start = Callable[[], Coroutine[Any, Any, Started]]


class Traces:
    """Makes the spans of this process's generations; `upstreams` get the trace's id."""

    def __init__(self, tracing: Tracing, upstreams: Collection[str]) -> None:
        self._tracer, self._upstreams = tracing.tracer, frozenset(upstreams)

    def start(self, request: GenerationRequest, start: Start) -> Coroutine[Any, Any, Started]:
        """Return the start in a span.

        Call this in the context of the request, because tasks have their own.
        """
        return self._start(request, start, get_current())

    async def _start(self, request: GenerationRequest, start: Start, parent: Context) -> Started:
        attach(parent)  # for what begins in this task
        # Not the requested model: a caller may send any text as its name.
        span = self._tracer.start_span("start", attributes=_named(request.origin, {}))
        outcome = FAILED
        try:
            started = await start()
            outcome = "started" if started.reservation else "known"
            span.set_attributes({"rivulet.generation": started.row.id, "gen_ai.request.model": started.row.model})
            return started
        except Refusal as refusal:
            outcome = refusal.code
            raise
        finally:
            span.set_attribute("rivulet.outcome", outcome)
            if outcome == FAILED:
                span.set_status(StatusCode.ERROR)
            span.end()

    def run(self, row: Generation, attempts: Attempts, *rest: Any, **named: Any) -> "TracedRun":
        """Return a run with spans; call this in the task that started it."""
        trace = attempts.observer = GenerationTrace(self._tracer, row, attempts.origin, self._upstreams)
        return TracedRun(row, attempts, *rest, trace=trace, **named)


class TracedRun(Run):
    """A run whose generation, attempts and end are spans."""

    def __init__(self, *arguments: Any, trace: "GenerationTrace", **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._trace = trace

    async def go(self) -> None:
        try:
            await super().go()
        finally:
            self._trace.close(is_stored=self.completed)

    async def _store(self, end: End) -> Generation:
        self._trace.finish(end, self._times.first_delta)
        return await super()._store(end)


class GenerationTrace(AttemptObserver):
    """The spans of one generation. At most one attempt is open."""

    def __init__(
        self, tracer: Tracer, row: Generation, origin: Mapping[str, object], upstreams: Collection[str]
    ) -> None:
        self._tracer, self._upstreams = tracer, upstreams
        names = {"rivulet.generation": row.id, "gen_ai.request.model": row.model}
        self._names = _named(origin, names)
        self._span = tracer.start_span("generation", attributes=self._names)
        self._within = set_span_in_context(self._span)
        self._attempt: Span | None = None
        self._finish: Span | None = None
        self._attempts = 0

    def began(self, route: RouteConfig, request: ChatRequest) -> ChatRequest:
        """Begin the span of an attempt; some upstreams get its id."""
        self._end_attempt()
        self._attempts += 1
        upstream = route.upstream.slug
        about: dict[str, str | int] = {"gen_ai.provider.name": upstream, "rivulet.attempt": self._attempts}
        self._attempt = self._tracer.start_span(
            "attempt", self._within, kind=SpanKind.CLIENT, attributes={**self._names, **about}
        )
        shared = upstream in self._upstreams or ALL in self._upstreams
        return replace(request, trace_headers=headers_of(self._attempt)) if shared else request

    def failed(self, error: ProviderError) -> None:
        """End the span of the attempt with the failure's code and class."""
        if self._attempt:
            self._attempt.set_attributes({"error.type": error.code, "rivulet.blame": error.blame})
            if error.status:
                self._attempt.set_attribute("http.response.status_code", error.status)
            self._attempt.set_status(StatusCode.ERROR)
        self._end_attempt()

    def finish(self, end: End, first_delta_seconds: float | None) -> None:
        """Begin the span of storing the end, which says what came out."""
        self._end_attempt()
        about: dict[str, Any] = {"rivulet.outcome": end.status, "rivulet.charged": end.charged}
        optional = {
            "gen_ai.provider.name": end.upstream or None,
            "gen_ai.usage.input_tokens": end.input_tokens,
            "gen_ai.usage.output_tokens": end.output_tokens,
            "gen_ai.response.finish_reasons": end.finish_reason and [end.finish_reason],
            "error.type": end.error and end.error["code"],
            "rivulet.time_to_first_delta_ms": first_delta_seconds and round(first_delta_seconds * 1000, 1),
        }
        self._span.set_attributes({**about, **{name: value for name, value in optional.items() if value is not None}})
        if end.error:
            self._span.set_status(StatusCode.ERROR)
        self._finish = self._tracer.start_span("finish", self._within, attributes={**self._names, **about})

    def close(self, *, is_stored: bool) -> None:
        """End all spans; an end that was not stored is an error."""
        self._end_attempt()
        for span in (self._finish, self._span):
            if span and not is_stored:
                span.set_status(StatusCode.ERROR)
            if span:
                span.end()

    def _end_attempt(self) -> None:
        if self._attempt:
            self._attempt.end()
            self._attempt = None


def _named(origin: Mapping[str, object], names: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of all spans of a request's generation."""
    return {**names, "request_id": str(origin.get("request_id", ""))}
